"""A corpus that the model writes itself, for models whose training text is not at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from circuitlab.model import Model
from circuitlab.training.tokens import SAMPLING_BATCH, ended, first_token, sample_batch


@dataclass(frozen=True)
class Generated:
    """About `n_tokens` tokens in texts of at most `length`, from BOS on; the same every time it is read."""

    model: Model
    n_tokens: int
    length: int = 256
    temperature: float | int = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tokens < 1 or self.length < 2:
            raise ValueError(f"n_tokens={self.n_tokens} and length={self.length} must be at least 1 and 2")

    def __len__(self) -> int:
        """How many texts."""
        return -(-self.n_tokens // self._length)

    @property
    def _length(self) -> int:
        return min(self.length, self.model.n_ctx)

    def __iter__(self) -> Iterator[list[int]]:
        start = first_token(self.model)
        generator = torch.Generator().manual_seed(self.seed)
        for at in range(0, len(self), SAMPLING_BATCH):
            rows = min(SAMPLING_BATCH, len(self) - at)
            with tqdm(disable=True) as bar:
                tokens = sample_batch(self.model, rows, self._length, start, self.temperature, generator, bar)
            lengths = (~ended(self.model, tokens)).sum(1)
            yield from (row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True))
