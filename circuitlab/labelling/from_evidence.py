"""Labels from the evidence alone: the simplest rule that tells a feature's active places from look-alikes.

Of every attribute (circuitlab.labelling.predicates) the value is taken that best separates the shown contexts by the
balanced accuracy (TPR + TNR) / 2; a second attribute is added as a condition where both together separate better by
`CONDITION_GAIN`. "say X" also needs X among the tokens that the feature promotes. An attribute that is harder to read
must separate better by its `COST`. A label names one thing: any set of tokens can be listed, of random directions too.

    confidence = max(0, TPR + TNR - 1),  TPR = (hits + 1/2) / (active + 1),  TNR = (rejections + 1/2) / (inactive + 1)

0 is chance, 1 certainty; few contexts cannot give much of it. Below `CLEAR`, or with fewer than `FEWEST` active
contexts, there is no label. It is the confidence in the rule on what it was made from; what it is worth is the score
on held-out contexts (circuitlab.labelling.detection).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuitlab.evidence import Evidence
from circuitlab.labelling.contexts import Contexts, Part, contexts_of
from circuitlab.labelling.predicates import ATTRIBUTES, Predicate, Rule, attributes

CLEAR = 0.8
"""Chosen on half of atlas's features, so that the labels of the other half are better than chance: bench/labels.py."""
FEWEST = 4
CONDITION_GAIN = 0.04
COST = {"token": 0.0, "word": 0.005, "next": 0.01, "form": 0.01, "previous": 0.02, "seen": 0.02, "seen form": 0.03}


@dataclass(frozen=True)
class Proposal:
    """A label with what it claims; `label` is empty, and `why_none` says why, where the labeller abstains."""

    name: str
    label: str = ""
    predicate: Predicate | None = None
    confidence: float = 0.0
    why_none: str = ""


def label_evidence(evidence: Evidence, clear: float | int = CLEAR) -> Proposal:
    """A label from one feature's examples and promoted tokens; an empty one where they say too little."""
    return propose(contexts_of(evidence), clear)


def propose(contexts: Contexts, clear: float | int = CLEAR) -> Proposal:
    """A label from the shown contexts."""
    shown = contexts.shown
    if len(shown.active) < FEWEST:
        why = f"it is clearly active in {len(shown.active)} of the examples shown; expected at least {FEWEST}"
        return Proposal(contexts.name, why_none=why)
    if not shown.inactive:
        return Proposal(contexts.name, why_none="nothing is known of where it is not active")
    found = best_predicate(shown, contexts.promoted)
    if found is None:
        return Proposal(contexts.name, why_none="its examples share nothing")
    predicate, holds = found
    confidence = _confidence(holds[: len(shown.active)], holds[len(shown.active) :])
    if confidence < clear:
        why = f"the best rule, {predicate}, has a confidence of {confidence:.2f}; expected at least {clear}"
        return Proposal(contexts.name, "", predicate, confidence, why)
    return Proposal(contexts.name, str(predicate), predicate, confidence)


def best_predicate(shown: Part, promoted: Sequence[str] = ()) -> tuple[Predicate, np.ndarray] | None:
    """The rule, or pair of rules, that best separates the shown contexts, and where it holds: active, then inactive.

    None where no value occurs twice among the active contexts.
    """
    table = _Table.of(shown, promoted)
    singles = [found for attribute in ATTRIBUTES if (found := table.best(attribute, table.everywhere))]
    if not singles:
        return None
    singles.sort(key=lambda found: -found[2])
    rule, holds, most = singles[0]
    best, bar = Predicate((rule,)), most + CONDITION_GAIN
    for first, where, _ in singles[:3]:
        for attribute in ATTRIBUTES:
            second = table.best(attribute, where) if attribute != first.attribute else None
            if second and second[2] - COST[first.attribute] > bar:
                best, holds, bar = Predicate((first, second[0])), second[1], second[2] - COST[first.attribute]
    return best, holds


@dataclass(frozen=True)
class _Table:
    """The values of each attribute and a matrix [context, value] of where they occur; active contexts come first."""

    active: np.ndarray
    values: dict[str, list[str]]
    occurs: dict[str, np.ndarray]

    @staticmethod
    def of(part: Part, promoted: Sequence[str]) -> _Table:
        """Of values that occur in two active contexts at least."""
        rows = [attributes(context) for context in part.active + part.inactive]
        known = {token.strip() for token in promoted}
        values, occurs = {}, {}
        for attribute in ATTRIBUTES:
            counts = Counter(value for row in rows[: len(part.active)] for value in row[attribute])
            kept = sorted(v for v, n in counts.items() if n > 1 and (attribute != "next" or v in known))
            number = {value: at for at, value in enumerate(kept)}
            matrix = np.zeros((len(rows), len(kept)), bool)
            for at, row in enumerate(rows):
                matrix[at, [number[value] for value in row[attribute] if value in number]] = True
            values[attribute], occurs[attribute] = kept, matrix
        return _Table(np.arange(len(rows)) < len(part.active), values, occurs)

    @property
    def everywhere(self) -> np.ndarray:
        return np.ones(len(self.active), bool)

    def best(self, attribute: str, within: np.ndarray) -> tuple[Rule, np.ndarray, float] | None:
        """The value that separates best among the contexts `within`, where it holds, and its worth less the cost."""
        holds = self.occurs[attribute] & within[:, None]
        if not holds.shape[1]:
            return None
        worth = (holds[self.active].mean(0) + 1 - holds[~self.active].mean(0)) / 2
        at = int(worth.argmax())
        return Rule(attribute, self.values[attribute][at]), holds[:, at], float(worth[at]) - COST[attribute]


def _confidence(active: np.ndarray, inactive: np.ndarray) -> float:
    hits = (active.sum() + 0.5) / (len(active) + 1)
    rejections = (len(inactive) - inactive.sum() + 0.5) / (len(inactive) + 1)
    return float(max(0.0, hits + rejections - 1))
