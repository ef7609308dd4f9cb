"""Hashes by which a harvest samples: a function of seed and content alone, so that every worker draws the same.

`mix` is the finaliser of splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"): a
bijection of 64-bit words whose output looks uniform.
"""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words: np.ndarray) -> np.ndarray:
    """Each 64-bit word scrambled; shape and uint64 kept."""
    words = words.astype(np.uint64) + GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def combine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One word for each ordered pair of words."""
    return mix(mix(first) ^ (second.astype(np.uint64) * GOLDEN))


def prefix_hashes(tokens: np.ndarray, seed: int) -> np.ndarray:
    """[row, pos] → for every position a hash of the row's tokens up to and including it."""
    places = np.arange(tokens.shape[1], dtype=np.uint64)[None] + seed_word(seed)
    return np.cumsum(combine(places, tokens), axis=1, dtype=np.uint64)


def seed_word(seed: int) -> np.ndarray:
    """A seed as one scrambled word, shape [1]."""
    return mix(np.array([seed % 2**64], np.uint64))
