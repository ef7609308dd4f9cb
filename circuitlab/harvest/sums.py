"""Sums that do not depend on the order: fixed point in two 64-bit words.

A number x is rounded to a multiple of 2^-40 and kept as high · 2^-8 + low · 2^-40. Integers add up the same in every
order, so that blocks, shards and workers give one sum to the last bit; the error is at most 2^-41 per number, and sums
up to 2^55 fit.
"""

from __future__ import annotations

import numpy as np

HIGH, LOW = 8, 40
LARGEST = 2.0**54
"""What a sum may reach."""


class FixedSums:
    """One sum per feature."""

    def __init__(self, n: int) -> None:
        self.words = np.zeros((n, 2), np.int64)

    def add(self, features: np.ndarray, starts: np.ndarray, values: np.ndarray) -> None:
        """Add positive float64 `values[starts[i]:starts[i + 1]]` to `features[i]`, which are all different.

        ValueError where a sum gets larger than `LARGEST`.
        """
        if not values.max() * len(values) < LARGEST:
            self._require(features, np.add.reduceat(values, starts))
        scaled = values * 2.0**HIGH
        high = np.floor(scaled)
        low = np.rint((scaled - high) * 2.0 ** (LOW - HIGH))
        self.words[features, 0] += np.add.reduceat(high.astype(np.int64), starts)
        self.words[features, 1] += np.add.reduceat(low.astype(np.int64), starts)
        self._carry()
        self._require(features, self.words[features, 0] * 2.0**-HIGH)

    def merge(self, words: np.ndarray) -> None:
        self.words += words
        self._carry()
        self._require(np.arange(len(self.words)), self.words[:, 0] * 2.0**-HIGH)

    @staticmethod
    def _require(features: np.ndarray, sums: np.ndarray) -> None:
        beyond = np.flatnonzero(~((sums >= 0) & (sums < LARGEST)))
        if len(beyond):
            raise ValueError(
                f"the activations of feature {features[beyond[0]]} (counted over all layers) or their squares add up "
                f"to more than can be kept, {LARGEST:.2g}: is the transcoder made for this model?"
            )

    def _carry(self) -> None:
        carry = self.words[:, 1] >> (LOW - HIGH)
        self.words[:, 0] += carry
        self.words[:, 1] -= carry << (LOW - HIGH)

    @property
    def values(self) -> np.ndarray:
        """The sums in float64."""
        return self.words[:, 0] * 2.0**-HIGH + self.words[:, 1] * 2.0**-LOW
