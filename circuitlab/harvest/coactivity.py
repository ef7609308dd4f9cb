"""Which features are active together: exact counts and products over a seeded sample of positions.

All pairs over all positions would be features² numbers and active² work per position. Kept instead are the whole
activation vectors of the positions with the smallest hashes of (record, position), as many as fit: a uniform sample
without replacement that does not depend on order or workers, and everything while the corpus has no more positions.
For a pair seen together c times in the sample, the standard error of its count is at most √c; estimates for the corpus
are the sample's times n_tokens / sampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuitlab.harvest.hashing import combine, mix, seed_word

CHUNK = 16
"""Features whose partners are counted at once."""


@dataclass(frozen=True)
class Vectors:
    """Activation vectors of positions: hash [position], length [position], and feature and value of all entries."""

    hash: np.ndarray
    length: np.ndarray
    feature: np.ndarray
    value: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return np.r_[0, np.cumsum(self.length)]


class PositionSample:
    """The activation vectors at up to `size` positions."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.bar = np.uint64(np.iinfo(np.uint64).max)
        self.parts: list[Vectors] = []
        self.n_waiting = 0

    def add(self, record: np.ndarray, position: np.ndarray, feature: np.ndarray, token: np.ndarray, value: np.ndarray):
        """Offer positions (record and position of each) with their entries (`token` the n-th position)."""
        hashes = combine(mix(record.astype(np.uint64) + seed_word(self.seed)), position)
        chosen = hashes <= self.bar
        if not self.size or not chosen.any():
            return
        inside = chosen[token]
        number = np.cumsum(chosen) - 1
        at = number[token[inside]]
        order = np.argsort(at, kind="stable")
        n_chosen = int(chosen.sum())
        length = np.bincount(at, minlength=n_chosen)
        self.offer(Vectors(hashes[chosen], length, feature[inside][order].astype(np.int32), value[inside][order]))

    def offer(self, vectors: Vectors) -> None:
        self.parts.append(vectors)
        self.n_waiting += len(vectors.hash)
        if self.n_waiting > 2 * self.size:
            self.vectors()

    def vectors(self) -> Vectors:
        """The sample, by rising hash."""
        if not self.parts:
            return Vectors(*(np.zeros(0, dtype) for dtype in (np.uint64, np.int64, np.int32, np.float32)))
        hashes, length, feature, value = (
            np.concatenate([getattr(part, name) for part in self.parts])
            for name in ("hash", "length", "feature", "value")
        )
        order = np.argsort(hashes, kind="stable")[: self.size]
        starts = np.r_[0, np.cumsum(length)]
        entries = ranges(starts[order], length[order])
        kept = Vectors(hashes[order], length[order], feature[entries], value[entries])
        self.parts, self.n_waiting = [kept], len(kept.hash)
        if len(kept.hash) == self.size:
            self.bar = kept.hash[-1]
        return kept


def partners(
    vectors: Vectors, n_features: int, first: int, last: int, n: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """For each feature from `first` up to `last`: it, its `n` partners by falling Σ a_i a_j, their counts, products."""
    position = np.repeat(np.arange(len(vectors.length)), vectors.length)
    order = np.argsort(vectors.feature, kind="stable")
    bounds = np.searchsorted(vectors.feature[order], np.arange(first, last + 1))
    starts = vectors.starts
    for begin in range(first, last, CHUNK):
        end = min(begin + CHUNK, last)
        entries = order[bounds[begin - first] : bounds[end - first]]
        where = position[entries]
        length = vectors.length[where]
        others = ranges(starts[where], length)
        pair = np.repeat((vectors.feature[entries].astype(np.int64) - begin) * n_features, length)
        pair += vectors.feature[others]
        products = np.repeat(vectors.value[entries].astype(np.float64), length) * vectors.value[others]
        yield from _strongest(pair, products, n_features, begin, end, n)


def _strongest(pair: np.ndarray, products: np.ndarray, n_features: int, begin: int, end: int, n: int):
    size = (end - begin) * n_features
    count = np.bincount(pair, minlength=size).reshape(-1, n_features)
    product = np.bincount(pair, products, size).reshape(-1, n_features)
    for row, feature in enumerate(range(begin, end)):
        count[row, feature] = 0
        seen = np.flatnonzero(count[row])
        best = seen[np.argsort(-product[row, seen], kind="stable")[:n]]
        yield feature, best, count[row, best], product[row, best]


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], …, starts[0] + lengths[0] - 1, starts[1], … one after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
