"""Records → blocks → batches of token ids.

A block is a fixed number of consecutive records; batches are formed inside it only, so that the numbers of a block do
not depend on who runs it, what ran before, or where a killed run went on. Within a block:

    record   →  token ids, BOS first where the tokenizer has one
    pieces   →  at most `piece` tokens, BOS first in each: a longer record is split, nothing of it is left out
    batches  →  pieces by length, padded on the right

What cannot be read is counted by reason: empty, undecodable, unknown words, no such token. A record longer than
`corpus.LONGEST` bytes is truncated there, and counted too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from circuitlab import corpus
from circuitlab.corpus import Record
from circuitlab.model import Model

UNKNOWN_WORDS = "words the model does not know"
NO_SUCH_TOKEN = "token ids outside the vocabulary"
SPLIT = "split: longer than one piece"
TRUNCATED = "truncated: longer than 4,000,000 bytes"
NOT_SKIPPED = (SPLIT, TRUNCATED)


@dataclass(frozen=True)
class Block:
    """Consecutive records; `first` is the number of the first in the corpus, `digest` of all up to the last."""

    number: int
    first: int
    records: tuple[Record, ...]
    digest: str
    size: int


@dataclass(frozen=True)
class Batch:
    """Pieces of records, padded on the right with 0: `tokens` [row, pos]; of each row its length, its record and the
    position of its first token in it."""

    tokens: np.ndarray
    lengths: np.ndarray
    record: np.ndarray
    start: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """[row, pos], True where a position counts: all but the first and the pads."""
        places = np.arange(self.tokens.shape[1])
        return (places > 0) & (places < self.lengths[:, None])


@dataclass
class Pieces:
    """The pieces of a block, and what could not be read."""

    rows: list[list[int]] = field(default_factory=list)
    record: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    n_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def blocks(records: Iterable[Record], size: int, limit: int | None = None) -> Iterator[Block]:
    """The records in blocks of `size`, at most `limit` records in all; each block's digest chains the one before."""
    left = islice(iter(records), limit)
    number, digest = 0, ""
    while chunk := tuple(islice(left, size)):
        digest = _digest(digest, chunk)
        yield Block(number, number * size, chunk, digest, sum(record.size for record in chunk))
        number += 1


def _digest(before: str, chunk: Sequence[Record]) -> str:
    content = hashlib.blake2b(before.encode(), digest_size=16)
    for record in chunk:
        text = record.content
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else np.array(text, np.int64).tobytes()
        content.update(f"{len(raw)} {record.problem} ".encode() + raw)
    return content.hexdigest()


def read_block(model: Model, block: Block, piece: int) -> Pieces:
    """Token ids of a block's records, cut into pieces of at most `piece` tokens."""
    found = Pieces()
    contents: list[tuple[int, str | Sequence[int]]] = []
    for number, record in enumerate(block.records, block.first):
        problem = record.problem or _text_problem(record.content)
        if problem:
            found.skipped[problem] += 1
        else:
            contents.append((number, record.content))
            found.skipped[TRUNCATED] += record.cut
    bos = getattr(model.tokenizer, "bos_token_id", None)
    for number, ids in _token_ids(model, contents):
        problem = _token_problem(model, ids, bos)
        if problem:
            found.skipped[problem] += 1
            continue
        _cut(found, number, ids, piece, bos)
    found.skipped = +found.skipped
    return found


def _text_problem(content: str | Sequence[int]) -> str:
    if not isinstance(content, str):
        return "" if len(content) else corpus.EMPTY
    if not content.strip():
        return corpus.EMPTY
    if not content.isascii() and any("\ud800" <= character <= "\udfff" for character in content):
        return corpus.UNDECODABLE
    return ""


def _token_ids(
    model: Model, contents: Sequence[tuple[int, str | Sequence[int]]]
) -> Iterator[tuple[int, list[int] | None]]:
    """Token ids of each record in order; None where the vocabulary lacks a word."""
    texts = [content for _, content in contents if isinstance(content, str)]
    if texts and model.tokenizer is None:
        raise ValueError(f"{model.name} has no tokenizer: give a corpus of token ids, or load it with tokenizer=")
    encoded = iter(model.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    for number, content in contents:
        if isinstance(content, str):
            ids = next(encoded)
            lacks = unknown is not None and unknown in ids and model.tokenizer.unk_token not in content
            yield number, None if lacks else ids
        else:
            yield number, list(content)


def _token_problem(model: Model, ids: list[int] | None, bos: int | None) -> str:
    if ids is None:
        return UNKNOWN_WORDS
    if ids and (min(ids) < 0 or max(ids) >= model.d_vocab):
        return NO_SUCH_TOKEN
    own = len(ids) - (ids[:1] == [bos])
    return corpus.EMPTY if own < (1 if bos is not None else 2) else ""


def _cut(found: Pieces, number: int, ids: list[int] | None, piece: int, bos: int | None) -> None:
    """Append a record's pieces; positions count from the record's first token, its BOS where there is one."""
    assert ids is not None
    if bos is None:
        step, chunks = piece, [ids[at : at + piece] for at in range(0, len(ids), piece)]
    else:
        ids = ids[1:] if ids[:1] == [bos] else ids
        step = piece - 1
        chunks = [[bos, *ids[at : at + step]] for at in range(0, len(ids), step)]
    found.n_read += 1
    found.skipped[SPLIT] += len(chunks) > 1
    for at, chunk in enumerate(chunks):
        if len(chunk) > 1:
            found.rows.append(chunk)
            found.record.append(number)
            found.start.append(at * step)


def batches(pieces: Pieces, tokens_per_batch: int) -> Iterator[Batch]:
    """Pieces of like length together, at most `tokens_per_batch` tokens with pads, at least one piece."""
    order = sorted(range(len(pieces.rows)), key=lambda row: len(pieces.rows[row]))
    begin = 0
    for end in range(1, len(order) + 1):
        fits = end < len(order) and (end + 1 - begin) * len(pieces.rows[order[end]]) <= tokens_per_batch
        if not fits:
            yield _batch(pieces, order[begin:end])
            begin = end


def _batch(pieces: Pieces, chosen: list[int]) -> Batch:
    rows = [pieces.rows[row] for row in chosen]
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), np.int64)
    for at, row in enumerate(rows):
        tokens[at, : len(row)] = row
    return Batch(
        tokens,
        lengths,
        np.array([pieces.record[row] for row in chosen], np.int64),
        np.array([pieces.start[row] for row in chosen], np.int64),
    )
