"""What a harvest knows of every feature so far: bounded, and the same whatever the order in which it came.

    counts, Σ a, Σ a²      integers (sums.py)
    histogram              64 even bins from 0 to 2^e, the smallest power of two above the largest activation; when that
                           grows, neighbouring bins are added up, so no activation is counted in a wrong bin
    top examples           the contexts with the highest peaks
    lower examples         of each eighth of 0 to 2^e, the contexts with the smallest hashes: a uniform sample of the
                           distinct contexts whose peak lies there
    co-activations         a uniform sample of positions (coactivity.py)

An example of a feature is a piece of text in which it is active, at its peak there; pieces that agree up to the peak
are one context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from circuitlab.harvest.activity import Active
from circuitlab.harvest.blocks import Batch, Pieces
from circuitlab.harvest.coactivity import PositionSample, Vectors
from circuitlab.harvest.peaks import examples_at, find_peaks
from circuitlab.harvest.pool import Candidates, Pool
from circuitlab.harvest.settings import HarvestSettings
from circuitlab.harvest.sums import FixedSums

BIN_BITS, RANGE_BITS = 6, 3
BINS, RANGES = 2**BIN_BITS, 2**RANGE_BITS
SPARE = 6
"""Top examples kept beyond those shown."""
NEVER = -10_000
"""The exponent of a feature that was never active."""
FLUSH_AT = 16_384


class Tally:
    """The accumulators of `n_features` features; `add` a batch, `merge` another's arrays, `arrays` to keep."""

    def __init__(self, n_features: int, settings: HarvestSettings) -> None:
        self.n_features, self.settings = n_features, settings
        self.n_records, self.n_tokens = 0, 0
        self.skipped: Counter[str] = Counter()
        self.n_active = np.full(n_features, 0, np.int64)
        self.sums, self.squares = FixedSums(n_features), FixedSums(n_features)
        self.largest = np.full(n_features, 0, np.float32)
        self.exponent = np.full(n_features, NEVER, np.int64)
        self.histogram = np.full((n_features, BINS), 0, np.int64)
        window = settings.before + 1 + settings.after
        self.top = Pool(n_features, settings.n_top + SPARE, window, "peak")
        self.lower = Pool(n_features * RANGES, settings.n_lower, window, "hash") if settings.n_lower else None
        self.sample = PositionSample(settings.coactivation_positions, settings.seed)
        self._waiting: tuple[list[Candidates], list[Candidates]] = ([], [])
        self._n_waiting = 0
        self._flush_at = max(FLUSH_AT, n_features * (settings.n_top + SPARE) // 3)

    def count_records(self, pieces: Pieces) -> None:
        """Count what was read of a block and what was not."""
        self.n_records += pieces.n_read
        self.skipped.update(pieces.skipped)

    def add(self, batch: Batch, active: Active) -> None:
        """Count one batch."""
        self.n_tokens += len(active.row)
        record, position = batch.record[active.row], batch.start[active.row] + active.pos
        self.sample.add(record, position, active.feature, active.token, active.value)
        if len(active.feature):
            self._count(active)
            self._offer(batch, active)

    def _count(self, active: Active) -> None:
        starts = np.flatnonzero(np.r_[True, active.feature[1:] != active.feature[:-1]])
        features = active.feature[starts]
        largest = np.maximum.reduceat(active.value, starts)
        self._raise_largest(features, largest)
        self.n_active[features] += np.diff(np.r_[starts, len(active.feature)])
        values = active.value.astype(np.float64)
        self.sums.add(features, starts, values)
        self.squares.add(features, starts, values * values)
        bins = self._part(active.feature, values, BIN_BITS)
        np.add.at(self.histogram.reshape(-1), active.feature * BINS + bins, 1)

    def _part(self, features: np.ndarray, values: np.ndarray, bits: int) -> np.ndarray:
        """In which of the 2^bits even parts of 0 to 2^exponent a value lies."""
        return np.ldexp(values.astype(np.float64), bits - self.exponent[features]).astype(np.int64)

    def _raise_largest(self, features: np.ndarray, largest: np.ndarray) -> None:
        """Take larger activations into account, halving the resolution where the range doubles."""
        self.largest[features] = np.maximum(self.largest[features], largest)
        exponent = _exponents(self.largest[features])
        shift = exponent - self.exponent[features]
        widened = (shift > 0) & (self.exponent[features] > NEVER)
        grown, shift = features[widened], shift[widened]
        moved = [] if self.lower is None or not len(grown) else [self.lower.take(_ranges_of(grown))]
        self.exponent[features] = exponent
        if len(grown):
            self.histogram[grown] = _coarser(self.histogram[grown], shift)
        for examples in moved:
            self._add_lower(examples)

    def _offer(self, batch: Batch, active: Active) -> None:
        """Let each feature's peak in each piece stand for the pools."""
        peaks = find_peaks(batch, active, self.settings.seed)
        top = self.top.wants(peaks.feature, peaks.value, peaks.context)
        lower = np.zeros_like(top)
        if self.lower is not None:
            group = peaks.feature * RANGES + self._part(peaks.feature, peaks.value, RANGE_BITS)
            lower = self.lower.wants(group, peaks.value, peaks.context)
        chosen = np.flatnonzero(top | lower)
        if not len(chosen):
            return
        examples = examples_at(batch, active, peaks, chosen, self.settings.before, self.settings.after)
        for waiting, wanted in zip(self._waiting, (top, lower), strict=True):
            waiting.append(examples[wanted[chosen]])
            self._n_waiting += len(waiting[-1])
        if self._n_waiting >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Put what waits into the pools."""
        top, lower = self._waiting
        if top:
            examples = Candidates.of(top)
            self.top.add(examples.feature, examples)
        if lower:
            self._add_lower(Candidates.of(lower))
        self._waiting, self._n_waiting = ([], []), 0

    def _add_lower(self, examples: Candidates) -> None:
        if self.lower is not None:
            part = self._part(examples.feature, examples.peak, RANGE_BITS)
            self.lower.add(examples.feature * RANGES + part, examples)

    # ---- as arrays: to keep, to send, to merge ----

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything counted, in an order that depends on nothing else."""
        self.flush()
        vectors = self.sample.vectors()
        found = {
            "counts": np.array([self.n_records, self.n_tokens], np.int64),
            "n_active": self.n_active,
            "sums": self.sums.words,
            "squares": self.squares.words,
            "largest": self.largest,
            "histogram": self.histogram,
        }
        found |= {f"sample.{entry.name}": getattr(vectors, entry.name) for entry in fields(Vectors)}
        for name, pool in (("top", self.top), ("lower", self.lower)):
            if pool is not None:
                examples = pool.everything()
                found |= {f"{name}.{entry.name}": getattr(examples, entry.name) for entry in fields(Candidates)}
        return found

    def bars(self) -> dict[str, np.ndarray]:
        """What a worker may leave out, since it cannot be among the best any more: for `expect`."""
        lower = {} if self.lower is None else {"lower": self.lower.bar.copy()}
        return {"largest": self.largest.copy(), "top": self.top.bar.copy()} | lower

    def expect(self, bars: Mapping[str, np.ndarray]) -> None:
        """Begin, while empty, where another tally stands, without its counts: what is merged into it stays the same."""
        self._raise_largest(np.arange(self.n_features), bars["largest"])
        for name, pool in (("top", self.top), ("lower", self.lower)):
            if pool is not None:
                pool.raise_bar(np.arange(len(bars[name])), bars[name])

    def merge(self, arrays: Mapping[str, np.ndarray], skipped: Mapping[str, int]) -> None:
        """Add what another tally with the same settings counted on other records."""
        self._raise_largest(np.arange(self.n_features), arrays["largest"])
        self.n_records += int(arrays["counts"][0])
        self.n_tokens += int(arrays["counts"][1])
        self.skipped.update(skipped)
        self.n_active += arrays["n_active"]
        self.sums.merge(arrays["sums"])
        self.squares.merge(arrays["squares"])
        self.histogram += _coarser(arrays["histogram"], self.exponent - _exponents(arrays["largest"]))
        self.sample.offer(Vectors(*(arrays[f"sample.{entry.name}"] for entry in fields(Vectors))))
        for name in ("top", "lower"):
            if f"{name}.feature" in arrays:
                examples = Candidates(*(arrays[f"{name}.{entry.name}"] for entry in fields(Candidates)))
                self._add_lower(examples) if name == "lower" else self.top.add(examples.feature, examples)


def _ranges_of(features: np.ndarray) -> np.ndarray:
    return (features[:, None] * RANGES + np.arange(RANGES)).reshape(-1)


def _exponents(largest: np.ndarray) -> np.ndarray:
    """The smallest e with largest < 2^e."""
    return np.where(largest > 0, np.frexp(largest)[1].astype(np.int64), NEVER)


def _coarser(histogram: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Histograms [feat, bin] over a range 2^shift times as wide."""
    target = np.arange(BINS) >> np.clip(shift, 0, BIN_BITS)[:, None]
    coarse = np.zeros_like(histogram)
    np.add.at(coarse, (np.arange(len(histogram))[:, None], target), histogram)
    return coarse
