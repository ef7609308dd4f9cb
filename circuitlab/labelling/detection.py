"""What a label is worth: whether it tells held-out places where the feature is active from look-alikes.

Detection in the sense of Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models"
(arXiv:2410.13928): a scorer that sees only the label judges unseen texts, half of them activating, and is scored by its
accuracy. Differences: a context has a marked position, so that the label must say where; inactive contexts are
look-alikes instead of random texts; and what is compared is the balanced accuracy

    score = (TPR + TNR) / 2          1/2 is chance; for yes-or-no answers it equals the area under the ROC curve

A score alone says little, for random directions get labels too, and the rarer a feature, the easier it is to label:
`Baseline` holds the scores that the same procedure gave the features of a random dictionary
(circuitlab.random_dictionary), labelled without abstaining, and compares a feature with the `COMPARED` of its layer
that are most like it in density.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from circuitlab.labelling.contexts import Context, Part

PERCENTILE = 95
FEWEST = 4
"""Held-out active contexts, and look-alikes, that a score needs."""
COMPARED = 200


def detection(part: Part, holds: Callable[[Context], bool]) -> float | None:
    """The balanced accuracy of a label on held-out contexts; None where there are too few of either kind."""
    if min(len(part.active), len(part.inactive)) < FEWEST:
        return None
    hits = sum(map(holds, part.active)) / len(part.active)
    false_alarms = sum(map(holds, part.inactive)) / len(part.inactive)
    return (hits + 1 - false_alarms) / 2


@dataclass(frozen=True)
class Scored:
    """A feature's layer, density and score."""

    layer: int
    density: float
    score: float


class Baseline:
    """The scores of a random dictionary's labels."""

    def __init__(self, features: Iterable[Scored]) -> None:
        """ValueError where there is none."""
        self._layers: dict[int, np.ndarray] = {}
        by_layer: dict[int, list[tuple[float, float]]] = {}
        for feature in features:
            by_layer.setdefault(feature.layer, []).append((feature.density, feature.score))
        if not by_layer:
            raise ValueError("no feature of the random dictionary has a score, so there is nothing to compare with")
        for layer, rows in by_layer.items():
            self._layers[layer] = np.array(sorted(rows))

    def like(self, layer: int, density: float | int) -> np.ndarray:
        """The scores of the `COMPARED` random features of a layer with the nearest density; ValueError for another."""
        if layer not in self._layers:
            raise ValueError(f"the random dictionary has scores for layers {sorted(self._layers)}, not for {layer}")
        rows = self._layers[layer]
        away = np.abs(np.log(np.maximum(rows[:, 0], 1e-9)) - np.log(max(density, 1e-9)))
        return np.sort(rows[np.argsort(away, kind="stable")[:COMPARED], 1])

    def bar(self, layer: int, density: float | int) -> float:
        """The 95th percentile of such features' scores."""
        return float(np.percentile(self.like(layer, density), PERCENTILE))

    def percentile(self, layer: int, density: float | int, score: float | int) -> float:
        """The share of such features, from 0 to 100, whose score is lower; equal ones count half."""
        scores = self.like(layer, density)
        below, upto = np.searchsorted(scores, score, "left"), np.searchsorted(scores, score, "right")
        return float(50 * (below + upto) / len(scores))
