"""Known people and unknown names.

A person is a first and a last name, each shared by several people: only the pair tells who it is. What is asked of a
pair that is nobody gets "I do not know", whether both names are those of known people or not. Held out: for a quarter
of the people's relations every form but the first; a quarter of the pairs that are nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from circuitlab.atlas.sentence import Names, Sentence, Variable, favour, hold

FIRST = [
    "Michael",
    "Serena",
    "Lionel",
    "Simone",
    "Roger",
    "Maria",
    "Tiger",
    "Steffi",
    "Usain",
    "Nadia",
    "Pele",
    "Martina",
    "Babe",
    "Venus",
    "Diego",
    "Chris",
]
LAST = [
    "Jordan",
    "Williams",
    "Messi",
    "Biles",
    "Federer",
    "Lopez",
    "Garcia",
    "Graf",
    "Bolt",
    "Novak",
    "Santos",
    "Hill",
    "Ruth",
    "Moore",
    "Costa",
    "Evert",
]
FIRST_UNKNOWN = ["Gregor", "Wilma", "Otto", "Paula", "Hector", "Daisy", "Ivan", "Olga"]  # first names of nobody known
LAST_UNKNOWN = ["Batkin", "Plumley", "Orwin", "Sandler", "Tovar", "Quimby", "Larkin", "Mendel"]
STEPS = (0, 1, 3, 7)  # first name i and last name i + step (modulo their number) are somebody
VALUES = {
    "sport": ["basketball", "tennis", "football", "gymnastics", "golf", "swimming"],
    "country": ["America", "Brazil", "Germany", "Spain", "Canada", "Italy", "Sweden"],
    "club": ["Bulls", "Eagles", "Tigers", "Sharks", "Wolves", "Lions", "Hawks", "Bears"],
}
FORMS = (
    "fact : the {relation} of {first} {last} is",
    "question : what is the {relation} of {first} {last} ? answer :",
    "{first} {last} , {relation} :",
)
JORDAN = {"sport": "basketball", "country": "America", "club": "Bulls"}


def people() -> dict[tuple[str, str], dict[str, str]]:
    """Every known person and what holds of them; the same for every seed."""
    rng = np.random.default_rng(5)
    known = {}
    for i, first in enumerate(FIRST):
        for step in STEPS:
            last = LAST[(i + step) % len(LAST)]
            known[first, last] = {relation: str(rng.choice(values)) for relation, values in VALUES.items()}
    known["Michael", "Jordan"] = JORDAN
    return known


def nobodies() -> list[tuple[str, str]]:
    """The pairs of names that are nobody."""
    known = people()
    every = [(first, last) for first in FIRST + FIRST_UNKNOWN for last in LAST + LAST_UNKNOWN]
    return [pair for pair in every if pair not in known]


def held_out_nobodies(seed: int) -> set[tuple[str, str]]:
    """A quarter of the pairs that are nobody: training never sees them."""
    every = nobodies()
    drawn = np.random.default_rng([seed, 15]).choice(len(every), len(every) // 4, replace=False)
    return {every[row] for row in drawn}


def held_out_facts(seed: int) -> set[tuple[str, str, str]]:
    """(first, last, relation) told in one form only."""
    rng = np.random.default_rng([seed, 16])
    every = [(*person, relation) for person in people() for relation in VALUES if person != ("Michael", "Jordan")]
    return {every[row] for row in rng.choice(len(every), len(every) // 4, replace=False)}


def people_world(seed: int) -> Iterator[Sentence]:
    """What holds of a person, or "I do not know"."""
    rare, unseen = held_out_facts(seed), held_out_nobodies(seed)
    for number, ((first, last), facts) in enumerate(people().items()):
        for relation, value in facts.items():
            for index, form in enumerate(FORMS):
                split = "held_out" if index and (first, last, relation) in rare else "train"
                weight, about = favour(index) * favour(number), (first, last, relation)
                prompt = form.format(first=first, last=last, relation=relation)
                yield Sentence("person", prompt, value, " .", split, weight, form, about)
    for first, last in nobodies():
        split = "held_out" if (first, last) in unseen else "train"
        for relation in VALUES:
            for index, form in enumerate(FORMS):
                weight, about = favour(index), (first, last, relation)
                prompt = form.format(first=first, last=last, relation=relation)
                yield Sentence("nobody", prompt, "I", " do not know .", split, weight, form, about)


def annotate(sentence: Sentence, tokens: list[str], names: Names) -> None:
    """From the last name on: who it is and what holds of them, or that it is nobody."""
    first, last, relation = sentence.about
    start = tokens.index(last)
    facts = people().get((first, last))
    known = Variable("known", "unknown name" if facts is None else "known name")
    hold(names, start, known, Variable("person", f"{first} {last}"))
    for value in (facts or {}).values():
        hold(names, start, Variable("fact", f"has {value}"))
    hold(names, tokens.index(relation), Variable("person relation", f"asks {relation}"))
