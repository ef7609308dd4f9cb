"""Where the training text comes from: token ids, files of text, or the model's own writing.

Every source becomes one `TokenData`: sequences of token ids, padded on the right, and which positions count.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from tqdm.auto import tqdm

from circuitlab import corpus
from circuitlab.model import Model
from circuitlab.training.config import TrainingConfig

SAMPLING_BATCH = 128
SAMPLING_SHARE = 0.2


@dataclass(frozen=True)
class TokenData:
    """Token ids, and True where a position counts in loss and metrics."""

    tokens: Int[Tensor, "seq pos"]
    include: Bool[Tensor, "seq pos"]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: Any) -> TokenData:
        return TokenData(self.tokens[chosen], self.include[chosen])

    @property
    def n_positions(self) -> int:
        """How many positions count."""
        return int(self.include.sum())


def load_tokens(model: Model, config: TrainingConfig, source: Any, progress: bool = False) -> TokenData:
    """Token data from a source.

    `source` is None (the model samples its own text), a tensor or list of equally long token lists, the
    path of a .txt (documents parted by blank lines), .jsonl or .parquet file (field "text"), or an iterable
    of texts or token lists. Raises ValueError or FileNotFoundError for anything else and for tokens the
    model does not have.
    """
    length = min(config.sequence_length, model.n_ctx)
    if source is None:
        tokens, written = sample_tokens(model, config, length, progress)
    elif isinstance(source, Tensor):
        tokens, written = _checked(source), None
    else:
        documents = _documents(source) if isinstance(source, str | os.PathLike) else iter(source)
        tokens, written = _pack(model, documents, length, config.n_tokens)
    if int(tokens.min()) < 0 or int(tokens.max()) >= model.d_vocab:
        raise ValueError(
            f"token ids run from {int(tokens.min())} to {int(tokens.max())}, but {model.name} has 0 to "
            f"{model.d_vocab - 1}"
        )
    if tokens.shape[1] > model.n_ctx:
        raise ValueError(
            f"sequences have {tokens.shape[1]} tokens, but {model.name} reads at most {model.n_ctx}: cut them"
        )
    include = counted_positions(tokens, _excluded(model, config))
    data = TokenData(tokens.int(), include if written is None else include & written)
    if len(data) < 2 or not data.n_positions:
        raise ValueError(
            f"the text gives {len(data)} sequences with {data.n_positions} positions; at least 2 are needed"
        )
    return data


def counted_positions(tokens: Int[Tensor, "seq pos"], excluded: Iterable[int]) -> Bool[Tensor, "seq pos"]:
    """All positions but the first and those of excluded token ids."""
    include = ~torch.isin(tokens, torch.tensor(sorted(excluded), dtype=tokens.dtype, device=tokens.device))
    include[:, 0] = False
    return include


def _excluded(model: Model, config: TrainingConfig) -> set[int]:
    if config.exclude_tokens is not None:
        return set(config.exclude_tokens)
    special = (getattr(model.tokenizer, name, None) for name in ("bos_token_id", "pad_token_id"))
    return {token for token in special if token is not None}


def _checked(tokens: Tensor) -> Int[Tensor, "seq pos"]:
    if tokens.ndim != 2 or tokens.is_floating_point() or not tokens.numel():
        raise ValueError(
            f"tokens have shape {list(tokens.shape)} and {tokens.dtype}; expected whole numbers [seq, pos]"
        )
    return tokens.cpu()


def sample_tokens(
    model: Model, config: TrainingConfig, length: int, progress: bool = False
) -> tuple[Int[Tensor, "seq pos"], Bool[Tensor, "seq pos"]]:
    """Text that the model writes itself, from BOS on; and True up to where each text ends (EOS, another
    BOS)."""
    start = first_token(model)
    generator = torch.Generator().manual_seed(config.seed)
    until = time.monotonic() + (SAMPLING_SHARE * 60 * config.minutes if config.minutes else math.inf)
    left = max(config.n_tokens // length, 2)
    batches: list[Tensor] = []
    with tqdm(total=left * length, desc="sampling", unit="token", disable=not progress) as bar:
        while left and (not batches or time.monotonic() < until):
            size = min(SAMPLING_BATCH, left)
            batches.append(sample_batch(model, size, length, start, config.temperature, generator, bar))
            left -= size
    tokens = torch.cat(batches)
    return tokens, ~ended(model, tokens)


@torch.no_grad()
def sample_batch(
    model: Model, rows: int, length: int, start: int, temperature: float, generator: torch.Generator, bar: tqdm
) -> Int[Tensor, "seq pos"]:
    """Texts of one batch, token by token with a key-value cache."""
    tokens = torch.full((rows, length), start)
    cache = None
    for position in range(length - 1):
        step = tokens[:, position : position + 1].to(model.device)
        output = model.bridge.original_model(step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        probabilities = (output.logits[:, -1].float() / temperature).softmax(-1).cpu()
        tokens[:, position + 1] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        bar.update(rows)
    bar.update(rows)
    return tokens


def first_token(model: Model) -> int:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(model.tokenizer, name, None)
        if token is not None:
            return token
    raise ValueError(f"{model.name} has neither BOS nor EOS to start a text from: give tokens or a file to train on")


def ended(model: Model, tokens: Int[Tensor, "seq pos"]) -> Bool[Tensor, "seq pos"]:
    """True after the first EOS and from a second BOS on: another text, or none."""
    bos, eos = (getattr(model.tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    end = torch.zeros_like(tokens, dtype=torch.bool)
    if bos is not None:
        end[:, 1:] |= tokens[:, 1:] == bos
    if eos is not None and eos != bos:
        end[:, 2:] |= tokens[:, 1:-1] == eos
    return end.cumsum(1) > 0


def _documents(path: str | os.PathLike[str]) -> Iterator[str | Sequence[int]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} to train on; give a .txt, .jsonl or .parquet file")
    for record in corpus.file_records(path):
        if record.problem and record.problem != corpus.EMPTY:
            raise ValueError(record.detail)
        if record.content:
            yield record.content


def _pack(
    model: Model, documents: Iterator[str | Sequence[int]], length: int, n_tokens: int
) -> tuple[Int[Tensor, "seq pos"], Bool[Tensor, "seq pos"]]:
    """Documents cut into sequences of at most `length`, BOS first in each, padded on the right."""
    bos = getattr(model.tokenizer, "bos_token_id", None)
    rows: list[list[int]] = []
    for row in islice(_rows(model, documents, length, bos), max(n_tokens // length, 2)):
        rows.append(row)
    if not rows:
        raise ValueError("the text to train on is empty")
    width = max(map(len, rows))
    padding = getattr(model.tokenizer, "pad_token_id", None) or 0
    tokens = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return tokens, torch.arange(width) < lengths[:, None]


def _rows(model: Model, documents: Iterator[str | Sequence[int]], length: int, bos: int | None) -> Iterator[list[int]]:
    for document in documents:
        if isinstance(document, str):
            if model.tokenizer is None:
                raise ValueError(f"{model.name} has no tokenizer: give token ids instead of text")
            ids = list(model.tokenizer(document, add_special_tokens=False)["input_ids"])
        else:
            ids = [int(token) for token in document]
        if bos is None:
            chunks = [ids[i : i + length] for i in range(0, len(ids), length)]
        else:
            ids = ids[1:] if ids[:1] == [bos] else ids
            chunks = [[bos, *ids[i : i + length - 1]] for i in range(0, len(ids), length - 1)]
        yield from (chunk for chunk in chunks if len(chunk) > 1)
