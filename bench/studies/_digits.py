"""What the studies of sums share: which pairs of numbers are for what, and the features of last digits.

Concepts are found in `calc` on pairs that training had; what is free is chosen on other such pairs; pairs that training
never saw are reported. Places in `calc : a + b =`, from the end: "=" −1, b −2, "+" −3, a −4.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from circuitlab.atlas import world
from circuitlab.interventions.contrast import Concept, Means, Node, answers, contrast, means, random_matched
from circuitlab.interventions.result import InterventionRun

CALC = "calc : {a} + {b} ="
JOURNAL = "journal : founded 19 {a} , volume {b} , year 19"
PLACE = {"a": -4, "b": -2}
LOOKUP_LAYERS = (3,)

Pair = tuple[int, int]


class Pairs(NamedTuple):
    found: list[Pair]
    chosen: list[Pair]
    tested: list[Pair]


def pairs(n: int, largest: int = 198, seed: int = 0) -> Pairs:
    """Pairs of two-digit numbers, `n` of them to be tested; no sum above `largest`."""
    rng = np.random.default_rng(seed)
    held_out = world.held_out_sums(0)
    every = [(a, b) for a in range(10, 100) for b in range(10, 100) if a + b <= largest]
    every = [every[row] for row in rng.permutation(len(every))]
    known = [pair for pair in every if frozenset(pair) not in held_out]
    unseen = [pair for pair in every if frozenset(pair) in held_out]
    return Pairs(known[200:], known[:200], unseen[:n])


def prompts(form: str, some: Iterable[Pair]) -> list[str]:
    return [form.format(a=a, b=b) for a, b in some]


class Seen(NamedTuple):
    """What is active in sums where a, or b, ends in each digit, and in 400 sums of all kinds."""

    a: dict[int, Means]
    b: dict[int, Means]
    whole: Means


def seen(model, found: Sequence[Pair], form: str = CALC) -> Seen:
    def by_digit(side: int) -> dict[int, Means]:
        return {d: means(model, prompts(form, [p for p in found if p[side] % 10 == d][:40])) for d in range(10)}

    return Seen(by_digit(0), by_digit(1), means(model, prompts(form, found[:400])))


def digits(model, known: Seen, side: str, clearer: float = 5.0) -> dict[int, Concept]:
    """The features of each last digit of a (or b) in `calc`, where that operand stands."""
    table = known.a if side == "a" else known.b
    places = [PLACE[side]]
    return {digit: contrast(model, of, known.whole, clearer=clearer, places=places) for digit, of in table.items()}


def last_digits(pair: Pair) -> Pair:
    return pair[0] % 10, pair[1] % 10


def pair_means(model, found: Sequence[Pair], wanted: Iterable[Pair]) -> dict[Pair, Means]:
    """By last digits of the pairs wanted: what is active in a dozen sums that end so."""
    alike = {ends: [pair for pair in found if last_digits(pair) == ends][:12] for ends in map(last_digits, wanted)}
    return {ends: means(model, prompts(CALC, some)) for ends, some in sorted(alike.items())}


def lookups(model, of: dict[Pair, Means], known: Seen, clearer: float) -> dict[Pair, Concept]:
    """The features of pairs of last digits, at b: clearer there than where only one of the two digits is the same."""
    table = {}
    for (a, b), active in of.items():
        first, second = (
            contrast(model, active, one, clearer=clearer, places=[PLACE["b"]]) for one in (known.a[a], known.b[b])
        )
        both = {node: value for node, value in first.nodes.items() if node in second.nodes}
        table[a, b] = Concept(both).within(layers=LOOKUP_LAYERS)
    return table


def moved(concept: Concept, place: int) -> Concept:
    """The same features at another place of another form."""
    return Concept({(layer, feature, place): value for (layer, feature, _), value in concept.nodes.items()})


def nodes_of(concepts: Collection[Concept]) -> set:
    return {node for concept in concepts for node in concept.nodes}


def ahead(runs: Sequence[InterventionRun], hit: Callable[[int, str], bool], group: Collection[Node]) -> float:
    """The share of runs that come out as `hit` says, less that of random matched features, drawn twice."""
    sides = [runs, *(random_matched(runs, group, seed) for seed in (0, 1000))]
    ours, *chance = (float(np.mean([hit(*one) for one in enumerate(answers(side))])) for side in sides)
    return ours - float(np.mean(chance))


def size(runs: Sequence[InterventionRun]) -> int:
    """Nodes set in a run, on average."""
    return round(float(np.mean([len(run.edits.features) for run in runs])))


def digit_is(answer: str, digit: int, right: int) -> bool:
    """A number that ends in `digit`, its tens within one of the right ones."""
    return answer.isdigit() and int(answer) % 10 == digit % 10 and abs(int(answer) // 10 - right // 10) <= 1
