"""One claim of a case study, measured: the share of runs with the outcome described, and that of random features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from circuitlab.interventions.contrast import Node, answers, random_matched
from circuitlab.interventions.result import InterventionRun

MARK, CHANCE = 0.8, 0.05


@dataclass(frozen=True)
class Row:
    """A claim, the share of `n` runs that bear it out, and the share among `n_random` runs of random matched features.

    `random` is missing where a claim is a count and not an intervention. `mark` is what we want of the share at least.
    """

    case: str
    claim: str
    share: float
    n: int
    random: float | None = None
    n_random: int = 0
    mark: float = MARK
    note: str = ""

    def __str__(self) -> str:
        chance = "" if self.random is None else f"random {self.random:6.1%} of {self.n_random}"
        met = self.share >= self.mark and (self.random is None or self.random < CHANCE)
        found = f"{self.share:6.1%} of {self.n:4}"
        return f"{self.case:<12}{self.claim:<58}{found}   {chance:<22}{'' if met else 'SHORT  '}{self.note}"


def trial(
    case: str,
    claim: str,
    runs: Sequence[InterventionRun],
    hit: Callable[[int, str], bool],
    *,
    group: Collection[Node] = (),
    read: Callable[[Iterable[InterventionRun]], list[str]] = answers,
    mark: float = MARK,
    note: str = "",
) -> Row:
    """A row of runs; `hit(number, answer)` says whether the run of this number came out as described.

    Random features are drawn from the same positions, none of them of `group`; `read` gives what a run answers.
    """
    ours = [hit(number, answer) for number, answer in enumerate(read(runs))]
    chance = [hit(number, answer) for number, answer in enumerate(read(random_matched(runs, group)))]
    return Row(case, claim, float(np.mean(ours)), len(ours), float(np.mean(chance)), len(chance), mark, note)
