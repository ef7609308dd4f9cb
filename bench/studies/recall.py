"""Acronyms and factual recall: `The National Digital Analytics Group ( N` and `fact : the sport of Michael Jordan is`.

Acronyms: the features of a letter, at the word that it begins, turned down: the letter is lost. Swapped for another's:
that one is written. Found on names that training had, reported on names that it never saw, for the second, third and
fourth word. How clear and how far down is chosen on names that training had: what stands out most from chance there.

Facts: the person's features stand at the names, the relation's at the last word, where the two meet. Found on a third
of the people, strengths chosen on a third, reported on a third; a person turned down is found on other relations of
the same person.

- the relation swapped for another: the answer is what holds of the same person there;
- the relation turned down: the answer is another (a value of another relation, or not known);
- the person turned down: the answer is another.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bench.studies._digits import ahead, nodes_of, size
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import initials, people
from circuitlab.atlas.sentence import Sentence
from circuitlab.interventions.contrast import Concept, answers, contrast, intervene_each, means, swapped
from circuitlab.interventions.result import InterventionRun

ACRONYM, FACT = initials.ACRONYM_FORMS[0], people.FORMS[0]
TESTED = 40
STRENGTHS = (0.0, -1.0)
LESS = (-0.25, -0.5, -0.75, -1.0)
DOWN = ((2.0, -0.75), (2.0, -1.0), (3.0, -0.75), (3.0, -1.0), (5.0, -1.0))
"""How clear a letter must be, and how far it is turned down."""
CLEARER = 5.0
FAINT = 1.5
"""What is so much clearer at one letter than on average is no control."""
NAME = (-3, -2)
RELATION, READ = (-1,), range(3)  # where the relation is read: the last word, up to layer 2


def rows(model) -> list[Row]:
    return [*letters(model), *facts(model)]


def best(strengths: Sequence[float], run: Callable[[float], Sequence[bool]]) -> float:
    """The strength with most hits, the first of equals."""
    return max(strengths, key=lambda strength: float(np.mean(run(strength))))


class Told(NamedTuple):
    """A name, the letter to be written next, another one, and the features of all letters there by their clearness."""

    prompt: str
    letter: str
    other: str
    of: dict[float, dict[str, Concept]]


def letters(model) -> list[Row]:
    rng = np.random.default_rng(0)
    every = [one for one in initials.acronym_world(0) if one.form == ACRONYM]
    chosen: list[Told] = []
    tested: list[Told] = []
    group: set = set()
    for slot in (1, 2, 3):
        here = [every[row] for row in rng.permutation(len(every)) if int(every[row].about[4]) == slot]
        known = [one for one in here if one.split == "train"]
        unseen = [one for one in here if one.split == "held_out"]
        of = by_letter(model, known[:-20], slot)
        group |= nodes_of(of[FAINT].values())
        names = list(of[FAINT])
        for some, into in ((known[-20:], chosen), (unseen[:TESTED], tested)):
            for number, one in enumerate(some):
                other = names[(names.index(one.answer) + 1 + number % (len(names) - 1)) % len(names)]
                into.append(Told(one.prompt, one.answer, other, of))

    def down(some: list[Told], clearer: float, strength: float) -> list[InterventionRun]:
        values = [one.of[clearer][one.letter].times(strength) for one in some]
        return intervene_each(model, [one.prompt for one in some], values)

    def swap(some: list[Told], strength: float) -> list[InterventionRun]:
        values = [swapped(one.of[CLEARER][one.letter], one.of[CLEARER][one.other], strength) for one in some]
        return intervene_each(model, [one.prompt for one in some], values)

    def came(strength: float) -> list[bool]:
        found = answers(swap(chosen, strength))
        return [answer == one.other for answer, one in zip(found, chosen, strict=True)]

    def is_lost(number: int, answer: str) -> bool:
        return answer != tested[number].letter

    def is_other(number: int, answer: str) -> bool:
        return answer == tested[number].other

    def is_lost_there(number: int, answer: str) -> bool:
        return answer != chosen[number].letter

    choice = max(DOWN, key=lambda one: ahead(down(chosen, *one), is_lost_there, group))
    lost, moved = down(tested, *choice), swap(tested, best((1.0, 1.5, 2.0), came))
    note = f"{size(lost)} nodes at the word, times {choice[1]:g}"
    return [
        trial("recall", "one letter's features down: the letter is lost", lost, is_lost, group=group, note=note),
        trial("recall", "one letter's features swapped: the other is written", moved, is_other, group=group,
              note=f"{size(moved)} nodes at the word"),
    ]  # fmt: skip


def by_letter(model, known: list[Sentence], slot: int) -> dict[float, dict[str, Concept]]:
    """The features of each letter at the word that it begins, by how clear they are."""
    whole, place = means(model, [one.prompt for one in known[:300]]), -(slot + 1) - (4 - slot)
    of = {
        letter: means(model, [one.prompt for one in known if one.about[slot][0] == letter][:30])
        for letter in initials.INSTITUTION
    }
    return {
        clearer: {letter: contrast(model, some, whole, clearer=clearer, places=[place]) for letter, some in of.items()}
        for clearer in (FAINT, CLEARER, *{clearer for clearer, _ in DOWN})
    }


Person = tuple[str, str]


def ask(person: Person, relation: str) -> str:
    return FACT.format(first=person[0], last=person[1], relation=relation)


def facts(model) -> list[Row]:
    known = people.people()
    order = [list(known)[row] for row in np.random.default_rng(0).permutation(len(known))]
    found, chosen, tested = order[::3], order[1::3], order[2::3]
    by_relation = {r: means(model, [ask(person, r) for person in found]) for r in people.VALUES}
    others = {r: means(model, [ask(p, o) for p in found for o in people.VALUES if o != r]) for r in people.VALUES}
    relations = {
        r: contrast(model, by_relation[r], others[r], clearer=2.0, places=RELATION).within(layers=READ)
        for r in people.VALUES
    }
    group = nodes_of(relations.values())

    def swap(some: list[Person], strength: float) -> tuple[list[InterventionRun], list[str]]:
        asked = [(p, r, into) for p in some for r in known[p] for into in known[p] if into != r]
        values = [swapped(relations[r], relations[into], strength) for _, r, into in asked]
        return intervene_each(model, [ask(p, r) for p, r, _ in asked], values), [known[p][i] for p, _, i in asked]

    def swap_hits(strength: float) -> list[bool]:
        runs, right = swap(chosen[:6], strength)
        return [answer == one for answer, one in zip(answers(runs), right, strict=True)]

    def down(some: list[Person], strength: float) -> tuple[list[InterventionRun], list[str]]:
        asked = [(p, r) for p in some for r in known[p]]
        values = [relations[r].times(strength) for _, r in asked]
        return intervene_each(model, [ask(*one) for one in asked], values), [known[p][r] for p, r in asked]

    def stands_out(strength: float) -> float:
        runs, right = down(chosen, strength)
        return ahead(runs, lambda number, answer: answer != right[number], group)

    runs, right = swap(tested, best((1.0, 1.5, 2.0), swap_hits))
    note = f"{size(runs)} nodes at the last word, layers 0 to 2"
    rows = [
        trial(
            "recall",
            "relation swapped: that relation's value",
            runs,
            lambda n, x: x == right[n],
            group=group,
            note=note,
        )
    ]
    runs, was = down(tested, strength := max(LESS, key=stands_out))
    note = f"{size(runs)} nodes, times {strength:g}"
    rows.append(
        trial("recall", "relation turned down: another answer", runs, lambda n, x: x != was[n], group=group, note=note)
    )
    return [*rows, person_down(model, chosen, tested)]


def person_down(model, chosen: list[Person], tested: list[Person]) -> Row:
    """A person's features are found where one relation is asked and turned down where another is."""
    known = people.people()
    whole = means(model, [ask(person, r) for person in known for r in people.VALUES])

    def run(some: list[Person], strength: float) -> tuple[list[InterventionRun], list[str]]:
        asked = [(p, r) for p in some for r in people.VALUES]
        values = []
        for p, r in asked:
            seen = means(model, [ask(p, other) for other in people.VALUES if other != r])
            values.append(contrast(model, seen, whole, clearer=5.0, places=NAME).times(strength))
        return intervene_each(model, [ask(*one) for one in asked], values), [known[p][r] for p, r in asked]

    def hits(strength: float) -> list[bool]:
        runs, was = run(chosen[:6], strength)
        return [answer != one for answer, one in zip(answers(runs), was, strict=True)]

    runs, was = run(tested, best(STRENGTHS, hits))
    group = {(e.layer, e.feature, place) for r in runs for e in r.edits.features for place in NAME}
    unknown = np.mean([answer == "I" for answer in answers(runs)])
    note = f"{size(runs)} nodes at the name; {unknown:.0%} say I do not know"
    return trial("recall", "person turned down: another answer", runs, lambda n, x: x != was[n], group=group, note=note)
