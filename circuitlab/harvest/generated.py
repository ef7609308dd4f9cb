"""A corpus that the model writes itself, for models whose training text is not at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from circuitlab.model import Model
from circuitlab.training.tokens import SAMPLING_BATCH, ended, first_token, sample_batch


@dataclass(frozen=True)
class Generated:
    """Texts of at most `length` tokens, from BOS on, until they have `n_tokens` together; the same every time."""

    model: Model
    n_tokens: int
    length: int = 256
    temperature: float | int = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tokens < 1 or self.length < 2:
            raise ValueError(f"n_tokens={self.n_tokens} and length={self.length} must be at least 1 and 2")

    def __length_hint__(self) -> int:
        """How many texts there are at least: where the model ends them early, more are needed."""
        return -(-self.n_tokens // self._length)

    @property
    def _length(self) -> int:
        return min(self.length, self.model.n_ctx)

    def __iter__(self) -> Iterator[list[int]]:
        start = first_token(self.model)
        generator = torch.Generator().manual_seed(self.seed)
        written, n_texts = 0, 0
        while written < self.n_tokens:
            usual = written / n_texts if n_texts else self._length
            rows = min(SAMPLING_BATCH, math.ceil((self.n_tokens - written) / usual))
            with tqdm(disable=True) as bar:
                tokens = sample_batch(self.model, rows, self._length, start, self.temperature, generator, bar)
            lengths = (~ended(self.model, tokens)).sum(1).tolist()
            for row, length in zip(tokens.tolist(), lengths, strict=True):
                yield row[:length]
            written, n_texts = written + sum(lengths), n_texts + rows
