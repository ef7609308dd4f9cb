"""Where each feature is most active in each piece of text, and the window of text around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuitlab.harvest.activity import Active
from circuitlab.harvest.blocks import Batch
from circuitlab.harvest.coactivity import ranges
from circuitlab.harvest.hashing import combine, prefix_hashes
from circuitlab.harvest.pool import Candidates

_LAST = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Peaks:
    """One row per feature and piece in which it is active: the earliest of its highest activations.

    `context` hashes feature and tokens up to the peak; `first` and `length` are its run in the active entries.
    """

    feature: np.ndarray
    row: np.ndarray
    pos: np.ndarray
    value: np.ndarray
    context: np.ndarray
    first: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.feature)


def find_peaks(batch: Batch, active: Active, seed: int) -> Peaks:
    """The peaks of all features in all pieces of a batch; at least one entry must be active."""
    row = active.row[active.token]
    new = np.r_[True, (active.feature[1:] != active.feature[:-1]) | (row[1:] != row[:-1])]
    first = np.flatnonzero(new)
    pos = active.pos[active.token].astype(np.uint64)
    # Positive floats compare like their bits: one word orders by activation, then by earliest position.
    word = (active.value.view(np.uint32).astype(np.uint64) << np.uint64(32)) | (_LAST - pos)
    best = np.maximum.reduceat(word, first)
    value = (best >> np.uint64(32)).astype(np.uint32).view(np.float32)
    peak_pos = (_LAST - (best & _LAST)).astype(np.int64)
    feature, row = active.feature[first], row[first]
    context = combine(prefix_hashes(batch.tokens, seed)[row, peak_pos], feature)
    return Peaks(feature, row, peak_pos, value, context, first, np.diff(np.r_[first, len(active.feature)]))


def examples_at(batch: Batch, active: Active, peaks: Peaks, chosen: np.ndarray, before: int, after: int) -> Candidates:
    """The chosen peaks as examples with their windows."""
    row, pos = peaks.row[chosen], peaks.pos[chosen]
    width = before + 1 + after
    places = pos[:, None] + np.arange(-before, after + 1)
    inside = (places >= 0) & (places < batch.lengths[row][:, None])
    tokens = np.where(inside, batch.tokens[row[:, None], np.where(inside, places, 0)], -1).astype(np.int32)
    activations = np.zeros((len(row), width), np.float32)
    entries = ranges(peaks.first[chosen], peaks.length[chosen])
    number = np.repeat(np.arange(len(row)), peaks.length[chosen])
    offset = active.pos[active.token[entries]] - pos[number] + before
    near = (offset >= 0) & (offset < width)
    activations[number[near], offset[near]] = active.value[entries[near]]
    return Candidates(
        feature=peaks.feature[chosen].astype(np.int64),
        context=peaks.context[chosen],
        peak=peaks.value[chosen],
        record=batch.record[row],
        position=batch.start[row] + pos,
        copies=np.ones(len(row), np.int64),
        tokens=tokens,
        activations=activations,
    )
