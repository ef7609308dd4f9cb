"""Two hops: the capital of the state containing Dallas.

A region is what stands at the last piece of its cities' names and not at those of other regions; a relation what stands
at the end of its questions and not of others. Of each only the nodes that write most are taken. Regions are found on
six cities each, relations on one city each; how many nodes and how strong is chosen on other cities; reported are the
three of each region that training never saw in a two-hop sentence. Attention and norms are live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.studies.table import CHANCE, Row, trial
from circuitlab.atlas import facts, world
from circuitlab.interventions.contrast import (
    Concept,
    Node,
    answers,
    contrast,
    intervene_each,
    means,
    random_matched,
    swapped,
)

if TYPE_CHECKING:
    from circuitlab.interventions.result import InterventionRun
    from circuitlab.replacement import ReplacementModel

CASE = "two_hop"
CLEARER = 4.0
CLEARER_RELATION = 2.0
"""Relations share features with each other, so they are told apart by less."""
GOOD = 0.95
REGIONS = tuple(facts.CITIES)
COUNTRIES = REGIONS[REGIONS.index("Byzantium") + 1 :]
STATES = REGIONS[: REGIONS.index("Byzantium")]
CAPITALS = {region: world.values_of(region)["capital"] for region in REGIONS}
HELD_OUT = world.held_out_cities(0)
BLUR = "(nothing above 50%)"

Prompt = tuple[str, str]
"""A prompt, and the region that its city is in."""


def cities(region: str, held_out: bool) -> list[str]:
    return [city for city in facts.CITIES[region].split() if (city in HELD_OUT) == held_out]


def ask(city: str, form: int = 0, relation: str = "capital") -> str:
    return facts.TWO_HOP_FORMS[form].format(city=city, relation=relation)


def place(form: int) -> int:
    """Where a city's last piece stands, from the end of a sentence of this form."""
    return -1 - len(facts.TWO_HOP_FORMS[form].split("{city}")[1].split())


def regions(model: ReplacementModel, form: int) -> dict[str, Concept]:
    """Of each region what its first six cities have at their last piece, and those of all others have not."""
    prompts = {region: [ask(city, form) for city in cities(region, False)[:6]] for region in REGIONS}
    whole = means(model, [prompt for some in prompts.values() for prompt in some])
    return {
        # a region's own prompts are one in 24 of `whole`, which so is at least 1/24 of them
        region: contrast(model, some, whole, clearer=CLEARER, places=[place(form)])
        for region, some in prompts.items()
    }


def relations(model: ReplacementModel) -> dict[str, Concept]:
    """Of each relation what its questions have at their last token, and those of all others have not."""
    prompts = {name: [ask(cities(r, False)[0], relation=name) for r in REGIONS] for name in facts.RELATIONS}
    whole = means(model, [prompt for some in prompts.values() for prompt in some])
    return {name: contrast(model, some, whole, clearer=CLEARER_RELATION, places=[-1]) for name, some in prompts.items()}


def first_good(scores: Iterable[tuple[tuple[int, float], float]]) -> tuple[int, float]:
    """The first choice that reaches `GOOD`, else the best: fewer nodes and less strength come first."""
    best: tuple[tuple[int, float], float] | None = None
    for choice, score in scores:
        if score >= GOOD:
            return choice
        if best is None or score > best[1]:
            best = choice, score
    assert best is not None
    return best[0]


def nodes_of(concepts: Iterable[Concept]) -> set[Node]:
    return {node for concept in concepts for node in concept.nodes}


def or_blur(runs: Iterable[InterventionRun]) -> list[str]:
    """The likeliest next tokens; `BLUR` where none is above one half."""
    runs = list(runs)
    sure = [run.probabilities()[1].max() > 0.5 for run in runs]
    return [answer if clear else BLUR for answer, clear in zip(answers(runs), sure, strict=True)]


def rows(model: ReplacementModel) -> list[Row]:
    by_form = {form: regions(model, form) for form in range(len(facts.TWO_HOP_FORMS))}
    return [*state_swapped(model, by_form), state_off(model, by_form[0]), *relation_rows(model)]


# ---- regions ----


def state_swapped(model: ReplacementModel, by_form: dict[int, dict[str, Concept]]) -> list[Row]:
    """One region for another: the new one's value is the answer, whatever the relation, the words, the new region."""

    def runs(pairs: Sequence[tuple[str, str, str]], n: int, strength: float, form: int) -> list[InterventionRun]:
        """For (prompt, region of its city, region put in)."""
        of = by_form[form]
        values = [swapped(of[a].strongest(model, n), of[b].strongest(model, n), strength) for _, a, b in pairs]
        return intervene_each(model, [prompt for prompt, _, _ in pairs], values)

    def score(choice: tuple[int, float]) -> float:
        ahead = list(zip(REGIONS, (*REGIONS[5:], *REGIONS[:5]), strict=True))
        pairs = [(ask(cities(a, False)[7]), a, b) for a, b in ahead]
        found = answers(runs(pairs, *choice, 0))
        return float(np.mean([answer == CAPITALS[b] for answer, (_, b) in zip(found, ahead, strict=True)]))

    grid = [(n, strength) for n in (4, 8, 16) for strength in (1.0, 1.5, 2.0)]
    n, strength = first_good((choice, score(choice)) for choice in grid)

    def row(claim: str, triples: Sequence[tuple[str, str, str]], right: Sequence[str], form: int = 0) -> Row:
        group, note = nodes_of(by_form[form].values()), f"{n} nodes out, {n} in, at {strength:g} times their value"
        done = runs(triples, n, strength, form)
        return trial(CASE, claim, done, lambda at, answer: answer == right[at], group=group, note=note)

    def to(targets: Callable[[str, int], Sequence[str]]) -> list[tuple[str, str, str]]:
        """From every state, its held-out cities taking turns, to each of its targets."""
        return [
            (ask(cities(a, True)[(row + column) % 3]), a, b)
            for row, a in enumerate(STATES)
            for column, b in enumerate(targets(a, row))
        ]

    def others(_: str, row: int) -> list[str]:
        return [STATES[(row + step) % len(STATES)] for step in (1, 2, 4, 7, 8, 11, 13, 16)]

    def capital_row(claim: str, triples: list[tuple[str, str, str]]) -> Row:
        return row(claim, triples, [CAPITALS[b] for _, _, b in triples])

    across = [(a, REGIONS[(at + 7) % len(REGIONS)]) for at, a in enumerate(REGIONS)]
    found = [
        capital_row("Texas for California, each state for 8: its capital", to(others)),
        capital_row("a state for each of 5 countries: its capital", to(lambda *_: COUNTRIES)),
        capital_row("a state for Byzantium: Constantinople", to(lambda *_: ["Byzantium"] * 3)),
    ]
    told_apart = [
        (a, b, name)
        for a, b in across
        for name in facts.RELATIONS[1:]
        if world.values_of(a)[name] != world.values_of(b)[name]
    ]
    triples = [(ask(cities(a, True)[1], 0, name), a, b) for a, b, name in told_apart]
    right = [world.values_of(b)[name] for _, b, name in told_apart]
    found.append(row("a region for another, asked for governor, river, ...", triples, right))
    capitals = [CAPITALS[b] for _, b in across]
    for form in range(1, len(facts.TWO_HOP_FORMS)):
        triples = [(ask(cities(a, True)[form % 3], form), a, b) for a, b in across]
        found.append(row(f"the same in words {form}, region found there", triples, capitals, form))
    return found


def state_off(model: ReplacementModel, of: dict[str, Concept]) -> Row:
    """A region turned around: the answer is the capital of another."""

    def runs(prompts: Sequence[Prompt], n: int, strength: float) -> list[InterventionRun]:
        values = [of[region].strongest(model, n).times(strength) for _, region in prompts]
        return intervene_each(model, [prompt for prompt, _ in prompts], values)

    def lost(region: str, answer: str) -> bool:
        return answer != CAPITALS[region] and answer in CAPITALS.values()

    group = nodes_of(of.values())

    def score(choice: tuple[int, float]) -> float:
        """The share of hits; below 0 where random nodes, drawn twice, do as much too often."""
        prompts = [(ask(cities(region, False)[at]), region) for region in REGIONS for at in (6, 7)]
        done = runs(prompts, *choice)
        sides = [answers(side) for side in (done, *(random_matched(done, group, seed) for seed in (0, 1)))]
        ours, *chance = (
            float(np.mean([lost(region, x) for (_, region), x in zip(prompts, side, strict=True)])) for side in sides
        )
        return ours if np.mean(chance) < CHANCE else ours - 1

    n, strength = first_good(((n, s), score((n, s))) for n, s in ((4, -1.0), (6, -0.75), (6, -1.0), (8, -0.5)))
    prompts = [(ask(city), region) for region in REGIONS for city in cities(region, True)]
    return trial(
        CASE,
        "state inhibited: another's capital",
        runs(prompts, n, strength),
        lambda at, answer: lost(prompts[at][1], answer),
        group=group,
        note=f"{n} nodes at {strength:g} times their value",
    )


# ---- relations ----


def relation_rows(model: ReplacementModel) -> list[Row]:
    """Capital off: another value of the same state, or none is sure. Capital for another relation: its value."""
    of = relations(model)
    group = nodes_of(of.values())

    def off(prompts: Sequence[Prompt], n: int, strength: float) -> list[InterventionRun]:
        return intervene_each(
            model, [prompt for prompt, _ in prompts], of["capital"].strongest(model, n).times(strength)
        )

    def lost(region: str, answer: str) -> bool:
        values = set(world.values_of(region).values()) - {CAPITALS[region]}
        return answer == BLUR or answer in values

    def score(choice: tuple[int, float]) -> float:
        prompts = [(ask(cities(region, False)[7]), region) for region in REGIONS]
        done = off(prompts, *choice)
        both = [or_blur(done), or_blur(random_matched(done, group))]
        ours, chance = (np.mean([lost(r, x) for (_, r), x in zip(prompts, side, strict=True)]) for side in both)
        return float(ours - chance)

    n, strength = first_good(((n, s), score((n, s))) for n in (16, 24, 40) for s in (0.0, -0.5, -1.0))
    prompts = [(ask(city), region) for region in REGIONS for city in cities(region, True)]
    found = trial(
        CASE,
        "capital inhibited: another value of it, or none sure",
        off(prompts, n, strength),
        lambda at, answer: lost(prompts[at][1], answer),
        group=group,
        read=or_blur,
        note=f"{min(n, len(of['capital']))} nodes at {strength:g} times their value",
    )
    return [found, relation_swapped(model, of, group)]


def relation_swapped(model: ReplacementModel, of: dict[str, Concept], group: set[Node]) -> Row:
    """Capital out, another relation in: the same state's governor, river, bird, flower, tree or colour."""

    def runs(asked: Sequence[tuple[str, str]], n: int, strength: float) -> list[InterventionRun]:
        """For (city, relation put in)."""
        out = of["capital"].strongest(model, n)
        values = [swapped(out, of[name].strongest(model, n), strength) for _, name in asked]
        return intervene_each(model, [ask(city) for city, _ in asked], values)

    def score(choice: tuple[int, float]) -> float:
        asked = [(cities(r, False)[7], facts.RELATIONS[1 + at % 6]) for at, r in enumerate(REGIONS)]
        found = answers(runs(asked, *choice))
        right = [world.values_of(r)[name] for r, (_, name) in zip(REGIONS, asked, strict=True)]
        return float(np.mean([a == b for a, b in zip(found, right, strict=True)]))

    n, strength = first_good(((n, s), score((n, s))) for n in (16, 24, 40) for s in (1.0, 1.5, 2.0))
    pairs = [(region, name) for region in REGIONS for name in facts.RELATIONS[1:]]
    asked = [(cities(region, True)[2], name) for region, name in pairs]
    right = [world.values_of(region)[name] for region, name in pairs]
    return trial(
        CASE,
        "capital for another relation: its value of the state",
        runs(asked, n, strength),
        lambda at, answer: answer == right[at],
        group=group,
        note=f"up to {n} nodes out, {n} in, at {strength:g} times their value",
    )
