"""A bounded pool of examples: of each group the `k` best contexts, every context once with the number of its copies.

What it keeps is a function of everything that was ever offered, not of the order in which it came or of how it was
parted and merged: a context that is among the k best of all was among the k best of what had come whenever one looked,
so none of its copies was missed. (By peak, copies of one context may differ in the last bit where batches had other
shapes; pools by peak keep more contexts than are shown, so that the shown ones stand clear of that.)

An example is a window of tokens with the activations of its feature, the peak at index `before`; -1 pads the window
where the text does not reach.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Candidates:
    """Examples, one per row: feature, hash of the tokens up to the peak, peak activation, where it is, its window."""

    feature: np.ndarray  # int64
    context: np.ndarray  # uint64
    peak: np.ndarray  # float32
    record: np.ndarray  # int64
    position: np.ndarray  # int64
    copies: np.ndarray  # int64
    tokens: np.ndarray  # int32 [row, window]
    activations: np.ndarray  # float32 [row, window]

    def __len__(self) -> int:
        return len(self.feature)

    def __getitem__(self, chosen: np.ndarray | slice) -> Candidates:
        return Candidates(*(getattr(self, entry.name)[chosen] for entry in fields(self)))

    @staticmethod
    def of(parts: list[Candidates]) -> Candidates:
        return Candidates(*(np.concatenate([getattr(p, entry.name) for p in parts]) for entry in fields(Candidates)))


class Pool:
    """The k best examples of each group, by largest peak or by smallest hash; empty slots have no copies."""

    def __init__(self, n_groups: int, k: int, window: int, by: Literal["peak", "hash"]) -> None:
        self.k, self.by = k, by
        self.n_held = np.zeros(n_groups, np.int64)
        self.feature = np.zeros((n_groups, k), np.int64)
        self.context = np.zeros((n_groups, k), np.uint64)
        self.peak = np.zeros((n_groups, k), np.float32)
        self.record = np.zeros((n_groups, k), np.int64)
        self.position = np.zeros((n_groups, k), np.int64)
        self.copies = np.zeros((n_groups, k), np.int64)
        self.tokens = np.full((n_groups, k, window), -1, np.int32)
        self.activations = np.full((n_groups, k, window), 0, np.float32)
        worst = -np.inf if by == "peak" else np.iinfo(np.uint64).max
        self.bar = np.full(n_groups, worst, np.float32 if by == "peak" else np.uint64)
        """What a newcomer must reach to be kept."""

    def wants(self, group: np.ndarray, peak: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Which candidates may be kept; a look at what stood at the last flush, so some of them will not be."""
        return peak >= self.bar[group] if self.by == "peak" else context <= self.bar[group]

    def add(self, group: np.ndarray, new: Candidates) -> None:
        """Keep what belongs among the k best of its group."""
        if not len(new):
            return
        groups, at = np.unique(group, return_inverse=True)
        old, old_at, _ = self._held(groups)
        both = Candidates.of([old, new]) if len(old) else new
        at = np.concatenate([old_at, at])
        order, copies = _folded(at, both)
        order, rank, copies = self._ranked(at, both, order, copies)
        self._store(groups[at[order]], rank, both, order, copies)
        self.n_held[groups] = np.bincount(at[order], minlength=len(groups))
        full = groups[self.n_held[groups] == self.k]
        self.raise_bar(full, (self.peak if self.by == "peak" else self.context)[full, self.k - 1])

    def raise_bar(self, groups: np.ndarray, bar: np.ndarray) -> None:
        """Want only what reaches this too."""
        self.bar[groups] = (np.maximum if self.by == "peak" else np.minimum)(self.bar[groups], bar)

    def take(self, groups: np.ndarray) -> Candidates:
        """Remove and return all examples of some groups."""
        taken, _, _ = self._held(groups)
        self.copies[groups] = 0
        self.n_held[groups] = 0
        self.bar[groups] = -np.inf if self.by == "peak" else np.iinfo(np.uint64).max
        return taken

    def everything(self) -> Candidates:
        """All examples in the order of group and rank."""
        return self._held(np.arange(len(self.n_held)))[0]

    def of(self, groups: np.ndarray) -> tuple[Candidates, np.ndarray]:
        """The examples of some groups, and the rank of each in its group."""
        found, _, rank = self._held(groups)
        return found, rank

    def _held(self, groups: np.ndarray) -> tuple[Candidates, np.ndarray, np.ndarray]:
        """The examples of some groups; of each, which of these groups it is in and its slot."""
        at, slot = np.nonzero(self.copies[groups])
        rows = groups[at]
        return Candidates(*(getattr(self, entry.name)[rows, slot] for entry in fields(Candidates))), at, slot

    def _ranked(
        self, at: np.ndarray, both: Candidates, order: np.ndarray, copies: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is kept, best first in each group: rows of `both`, their rank, their copies."""
        if self.by == "peak":
            again = np.lexsort((both.context[order], -both.peak[order], at[order]))
            order, copies = order[again], copies[again]
        group = at[order]
        first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        rank = np.arange(len(group)) - np.repeat(first, np.diff(np.r_[first, len(group)]))
        kept = rank < self.k
        return order[kept], rank[kept], copies[kept]

    def _store(self, group: np.ndarray, rank: np.ndarray, both: Candidates, order: np.ndarray, copies: np.ndarray):
        self.copies[np.unique(group)] = 0
        for entry in fields(Candidates):
            getattr(self, entry.name)[group, rank] = getattr(both, entry.name)[order]
        self.copies[group, rank] = copies


def _folded(at: np.ndarray, both: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """One row for all copies of a context in a group, that with the highest peak, else the earliest; sorted by group
    and hash; and the number of copies."""
    order = np.lexsort((both.context, at))
    group, context = at[order], both.context[order]
    first = np.r_[True, (group[1:] != group[:-1]) | (context[1:] != context[:-1])]
    if first.all():
        return order, both.copies[order]
    order = np.lexsort((both.position, both.record, -both.peak, both.context, at))
    starts = np.flatnonzero(first)
    return order[starts], np.add.reduceat(both.copies[order], starts)
