"""Sums that do not depend on the order: fixed point in two 64-bit words.

A number x is rounded to a multiple of 2^-40 and kept as high · 2^-8 + low · 2^-40. Integers add up the same in every
order, so that blocks, shards and workers give one sum to the last bit; the error is at most 2^-41 per number, and sums
up to 2^55 fit.
"""

from __future__ import annotations

import numpy as np

HIGH, LOW = 8, 40


class FixedSums:
    """One sum per feature."""

    def __init__(self, n: int) -> None:
        self.words = np.zeros((n, 2), np.int64)

    def add(self, features: np.ndarray, starts: np.ndarray, values: np.ndarray) -> None:
        """Add float64 `values[starts[i]:starts[i + 1]]` to `features[i]`, which are all different."""
        scaled = values * 2.0**HIGH
        high = np.floor(scaled)
        low = np.rint((scaled - high) * 2.0 ** (LOW - HIGH))
        self.words[features, 0] += np.add.reduceat(high.astype(np.int64), starts)
        self.words[features, 1] += np.add.reduceat(low.astype(np.int64), starts)
        self._carry()

    def merge(self, words: np.ndarray) -> None:
        self.words += words
        self._carry()

    def _carry(self) -> None:
        carry = self.words[:, 1] >> (LOW - HIGH)
        self.words[:, 0] += carry
        self.words[:, 1] -= carry << (LOW - HIGH)

    @property
    def values(self) -> np.ndarray:
        """The sums in float64."""
        return self.words[:, 0] * 2.0**-HIGH + self.words[:, 1] * 2.0**-LOW
