"""One claim of a case study, measured: the share of runs with the outcome described, and that of random features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from circuitlab.interventions.contrast import Node, answers, random_matched, share_matched
from circuitlab.interventions.result import InterventionRun

MARK, CHANCE = 0.8, 0.05


@dataclass(frozen=True)
class Row:
    """A claim, the share of `n` runs that bear it out, and the share among `n_random` runs of random matched features.

    `random` is missing where a claim is a count and not an intervention. `mark` is what we want of the share at least.
    `matched` is how much of what the interventions write the random features write: where few others are active at a
    place, less than all, and the control says less.
    """

    case: str
    claim: str
    share: float
    n: int
    random: float | None = None
    n_random: int = 0
    mark: float = MARK
    note: str = ""
    matched: float = 1.0

    def __str__(self) -> str:
        chance = (
            "" if self.random is None else f"random {self.random:6.1%} of {self.n_random}, writes {self.matched:.0%}"
        )
        met = self.share >= self.mark and (self.random is None or self.random < CHANCE)
        found = f"{self.share:6.1%} of {self.n:4}"
        return f"{self.case:<12}{self.claim:<58}{found}   {chance:<35}{'' if met else 'SHORT  '}{self.note}"


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
    controls = random_matched(runs, group)
    ours, chance = ([hit(number, answer) for number, answer in enumerate(read(some))] for some in (runs, controls))
    return Row(
        case, claim, float(np.mean(ours)), len(ours), float(np.mean(chance)), len(chance), mark, note,
        share_matched(runs, controls),
    )  # fmt: skip
