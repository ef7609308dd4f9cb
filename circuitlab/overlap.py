"""Which features two texts share: the same sentence in two languages, say, and by layer.

    shared_features(model, [['the opposite of "hot" is "', 'le contraire de "chaud" est "'], …])

The active features of a text at layer l are a set F_l (active at any of its tokens but the first). Two texts share

    IoU_l(a, b) = |F_l(a) ∩ F_l(b)| / |F_l(a) ∪ F_l(b)|

A group of texts counts with the mean over its pairs; intervals are bootstraps over groups (percentiles 2.5 and 97.5).
The number says something beside a second one, of groups whose texts have nothing to do with one another.

Source: Lindsey et al. 2025, "On the Biology of a Large Language Model", section on multilingual circuits;
https://transformer-circuits.pub/2025/attribution-graphs/biology.html. Differences: groups of more than two texts, and
`places`, which counts only some tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuitlab.texts import show

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel


def shared_features(
    model: ReplacementModel,
    groups: Sequence[Sequence[str]],
    *,
    places: Collection[int] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean share of features that the texts of a group have in common: `layer`, `share`, `low`, `high`.

    `places` counts tokens from the end (−1 is the last) and leaves the others out. Raises ValueError where a group
    has fewer than two texts.
    """
    shares = shares_by_group(model, groups, places=places)
    rng = np.random.default_rng(seed)
    drawn = shares[rng.integers(len(shares), size=(n_bootstrap, len(shares)))].mean(1)
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    columns = {"layer": np.arange(shares.shape[1]), "share": shares.mean(0), "low": low, "high": high}
    return pd.DataFrame(columns)


def shares_by_group(
    model: ReplacementModel, groups: Sequence[Sequence[str]], *, places: Collection[int] | None = None
) -> Float[np.ndarray, "group layer"]:
    """IoU_l of each group, the mean over its pairs of texts; 0 where neither of two texts has a feature."""
    if not groups or min(map(len, groups)) < 2:
        raise ValueError("shared_features compares texts within groups: give at least one group, each of two texts")
    shown = show(model.model, model.transcoder, [text for group in groups for text in group])
    lengths = np.array([len(tokens) for tokens in shown.tokens])
    shares = np.zeros((len(groups), len(shown.layers)))
    for layer, hits in enumerate(shown.layers):
        feature = np.repeat(np.arange(len(hits.starts) - 1), np.diff(hits.starts))
        counted = np.ones(len(feature), bool) if places is None else np.isin(hits.pos - lengths[hits.text], [*places])
        active: list[set[int]] = [set() for _ in lengths]
        for text, index in zip(hits.text[counted].tolist(), feature[counted].tolist(), strict=True):
            active[text].add(index)
        first = 0
        for number, group in enumerate(groups):
            pairs = combinations(active[first : first + len(group)], 2)
            shares[number, layer] = np.mean([len(a & b) / max(len(a | b), 1) for a, b in pairs])
            first += len(group)
    return shares
