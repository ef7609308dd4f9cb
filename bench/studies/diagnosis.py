"""Symptoms, the unspoken diagnosis, and what is asked for next.

A disease's nodes are those at the last token that tell it from the others both where a check is asked for and where the
diagnosis is (three times as strong as elsewhere in the one, twice in the other and active in a quarter of it): what
only says the check is in one of the two. Found on symptoms that training showed, strengths chosen on others of those,
reported on the held-out triples of symptoms in every form and two orders.
"""

import numpy as np

from bench.studies._draw import all_nodes, best, others, prompts, size, some
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import clinic
from circuitlab.atlas.sentence import Sentence
from circuitlab.interventions.contrast import Concept, Means, answers, contrast, intervene_each, means, swapped

CASE = "diagnosis"
DISEASES = list(clinic.DISEASES)
CHECK = {disease: check for disease, (_, check) in clinic.DISEASES.items()}
ENDINGS = (clinic.CHECK_FORMS[:2], clinic.CHECK_FORMS[2:])
NAMED: dict[str, str] = dict(zip(clinic.CHECK_FORMS, clinic.DIAGNOSIS_FORMS, strict=True))
CLEARER, ALSO_CLEARER, ALSO_OFTEN = 3.0, 2.0, 0.25
Key = tuple[str, int]  # a disease, and which ending the prompt has


def ending(sentence: Sentence) -> int:
    return next(number for number, forms in enumerate(ENDINGS) if sentence.form in forms)


def key(sentence: Sentence) -> Key:
    return sentence.about[0], ending(sentence)


def concepts(model, found: list[Sentence]) -> tuple[dict[Key, Concept], dict[Key, Concept]]:
    """Each disease's nodes, with their means where a check is asked for, and where the diagnosis is."""
    asked, named = {}, {}
    for number in range(len(ENDINGS)):
        mine = {d: [s for s in found if key(s) == (d, number)] for d in DISEASES}
        checks = {d: means(model, prompts(part)) for d, part in mine.items()}
        told = {d: means(model, [diagnosis_prompt(s) for s in part]) for d, part in mine.items()}
        for d in DISEASES:
            check, check_of_others, name, name_of_others = checks[d], others(checks, d), told[d], others(told, d)
            one = contrast(model, check, check_of_others, clearer=CLEARER, places=[-1])
            other = contrast(model, name, name_of_others, clearer=CLEARER, places=[-1])
            asked[d, number] = also(one, name, name_of_others)
            named[d, number] = also(other, check, check_of_others)
    return asked, named


def also(concept: Concept, of: Means, other: Means) -> Concept:
    """Its nodes that tell `of` from `other` too."""
    return Concept(
        {
            node: value
            for node, value in concept.nodes.items()
            if of.share.get(node, 0.0) >= ALSO_OFTEN
            and of.activation[node] >= ALSO_CLEARER * other.activation.get(node, 0.0)
        }
    )


def diagnosis_prompt(sentence: Sentence) -> str:
    """The same patient, asked for the diagnosis."""
    _, a, b, c = sentence.about
    return NAMED[sentence.form].format(a=a, b=b, c=c, age=44)


def split() -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    """Prompts to find concepts on, to choose strengths on, and the held-out ones that are reported."""
    every = [s for s in clinic.clinic_world(0) if s.world == "check"]
    train = [s for s in every if s.split == "train"]
    groups = [[s for s in train if key(s) == (d, n)] for d in DISEASES for n in range(len(ENDINGS))]
    drawn = [some(group, 15) for group in groups]
    unseen = [s for s in every if s.split == "held_out"]
    return [s for g in drawn for s in g[:12]], [s for g in drawn for s in g[12:]], unseen[::4]


def rows(model) -> list[Row]:
    found, chosen, tested = split()
    asked, named = concepts(model, found)
    group = all_nodes(asked.values())
    note = size(list(asked.values()))

    def turned(sentences: list[Sentence], strength: float):
        return intervene_each(model, prompts(sentences), [asked[key(s)].times(strength) for s in sentences])

    def goal(number: int, sentence: Sentence) -> str:
        return DISEASES[(DISEASES.index(sentence.about[0]) + 1 + number % 11) % 12]

    def put(sentences: list[Sentence], strength: float, table: dict[Key, Concept], read=lambda s: s.prompt):
        pairs = [(key(s), (goal(i, s), ending(s))) for i, s in enumerate(sentences)]
        values = [swapped(table[here], table[there], strength) for here, there in pairs]
        return intervene_each(model, [read(s) for s in sentences], values)

    def to_other(sentence: Sentence, answer: str) -> bool:
        return answer != sentence.answer and answer in CHECK.values()

    off = best(
        {
            strength: float(
                np.mean([to_other(s, a) for s, a in zip(chosen, answers(turned(chosen, strength)), strict=True)])
            )
            for strength in (-0.5, -0.75, -1.0, -1.5, -2.0)
        }
    )
    goals = [goal(i, s) for i, s in enumerate(chosen)]

    def follow(table: dict[Key, Concept], read, wanted: list[str]) -> float:
        got = {strength: answers(put(chosen, strength, table, read)) for strength in (2.0, 2.5, 3.0, 4.0)}
        return best({k: float(np.mean([a == w for a, w in zip(a_k, wanted, strict=True)])) for k, a_k in got.items()})

    into = follow(asked, lambda s: s.prompt, [CHECK[d] for d in goals])
    into_named = follow(named, diagnosis_prompt, goals)
    runs = turned(tested, off)
    swaps = put(tested, into, asked)
    spoken = put(tested, into_named, named, diagnosis_prompt)
    return [
        trial(CASE, "diagnosis inhibited: another question", runs, lambda i, a: a != tested[i].answer, group=group,
              note=f"{note}, times {off}"),
        trial(CASE, "… and it is what another disease asks for", runs, lambda i, a: to_other(tested[i], a), group=group,
              note=f"{note}, times {off}"),
        trial(CASE, "diagnosis swapped: the other's check is asked for", swaps,
              lambda i, a: a == CHECK[goal(i, tested[i])], group=group, note=f"{note}, times {into}"),
        trial(CASE, "… the same nodes, asked for the diagnosis: named", spoken,
              lambda i, a: a == goal(i, tested[i]), group=group, note=f"times {into_named}"),
    ]  # fmt: skip
