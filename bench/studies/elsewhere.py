"""The same circuit elsewhere: `journal : founded 19 36 , volume 59 , year 19`. Features found in `calc`, nowhere else.

- the lookup of both last digits fires again at the volume: at least `AGAIN` of its features do; by chance, those of the
  lookup of a pair of which neither digit is there;
- the volume's last digit swapped for another's: the year's last digit follows, its tens within one.
"""

import numpy as np

from bench.studies._digits import (
    JOURNAL,
    Pair,
    Seen,
    digit_is,
    digits,
    last_digits,
    lookups,
    moved,
    nodes_of,
    pair_means,
    pairs,
    prompts,
    seen,
    size,
)
from bench.studies.table import Row, trial
from circuitlab.interventions.contrast import answers, intervene_each, means, swapped
from circuitlab.interventions.result import InterventionRun

TESTED = 60
VOLUME = -4
AGAIN = 0.75


def rows(model) -> list[Row]:
    found = pairs(1).found
    _, chosen, tested = pairs(TESTED, largest=99)
    known = seen(model, found)
    return [again(model, known, found, tested), swap(model, known, chosen[:20], tested)]


def other(pair: Pair) -> int:
    """The last digit that the second operand is given: each of the nine others has its turn."""
    a, b = pair
    return (b + 1 + a % 9) % 10


def again(model, known: Seen, found: list[Pair], tested: list[Pair]) -> Row:
    concepts = lookups(model, pair_means(model, found, tested), known, 1.2)
    ours, others = [], []
    for a, b in tested:
        active = {node[:2] for node in means(model, prompts(JOURNAL, [(a, b)])).activation if node[2] == VOLUME}

        def share(pair: Pair, active=active) -> float:
            return float(np.mean([node[:2] in active for node in concepts[pair].nodes]))

        ours.append(share(last_digits((a, b))))
        others += [share(pair) for pair in concepts if pair[0] != a % 10 and pair[1] != b % 10]
    hit, chance = (float(np.mean(np.array(some) >= AGAIN)) for some in (ours, others))
    note = f"on average {np.mean(ours):.0%} of its features, {np.mean(others):.0%} of another pair's"
    return Row("elsewhere", "_6+_9 lookup of calc fires at the volume", hit, len(ours), chance, len(others), note=note)


def swap(model, known: Seen, chosen: list[Pair], tested: list[Pair]) -> Row:
    """The strength is chosen on journals that training had."""
    concepts = {digit: moved(one, VOLUME) for digit, one in digits(model, known, "b").items()}

    def run(some, strength: float) -> list[InterventionRun]:
        values = [swapped(concepts[pair[1] % 10], concepts[other(pair)], strength) for pair in some]
        return intervene_each(model, prompts(JOURNAL, some), values)

    def follows(pair: Pair, answer: str) -> bool:
        return digit_is(answer, pair[0] + other(pair), sum(pair))

    def score(strength: float) -> float:
        return float(np.mean([follows(*one) for one in zip(chosen, answers(run(chosen, strength)), strict=True)]))

    runs = run(tested, max((1.5, 1.0, 2.0), key=score))
    return trial(
        "elsewhere",
        "_9 of the volume swapped: the last digit follows",
        runs,
        lambda number, answer: follows(tested[number], answer),
        group=nodes_of(concepts.values()),
        note=f"{size(runs)} nodes",
    )
