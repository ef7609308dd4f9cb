"""Symptoms, the disease behind them, and what to check next.

Three symptoms single out one disease; what confirms it is asked for without the disease being named. Held out: three
of the ten triples of every disease are never followed by the check, in no order; they are told with the diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np

from circuitlab.atlas.sentence import Names, Sentence, Variable, favour, hold

# disease: its symptoms, and what confirms it
DISEASES = {
    "preeclampsia": ("headache hypertension swelling nausea pain", "proteinuria"),
    "meningitis": ("fever headache stiffness nausea rash", "photophobia"),
    "appendicitis": ("vomiting pain fever cramps tiredness", "tenderness"),
    "pneumonia": ("fever cough chills breathlessness tiredness", "crackles"),
    "asthma": ("cough wheezing breathlessness tightness sneezing", "allergens"),
    "diabetes": ("thirst tiredness hunger urination blurring", "glucose"),
    "anemia": ("tiredness pallor dizziness breathlessness coldness", "ferritin"),
    "gout": ("swelling pain redness stiffness limping", "urate"),
    "migraine": ("headache vomiting dizziness blurring nausea", "aura"),
    "measles": ("fever rash cough redness sneezing", "spots"),
    "hypothyroidism": ("coldness pallor dryness stiffness tiredness", "goiter"),
    "angina": ("tightness pain sweating dizziness breathlessness", "troponin"),
}
HELD_OUT_TRIPLES = 3
CHECK_FORMS = (
    "patient with {a} , {b} and {c} . next check for",
    "patient aged {age} with {a} , {b} and {c} . next check for",
    "clinic : {a} , {b} , {c} . ask about",
)
DIAGNOSIS_FORMS = (
    "patient with {a} , {b} and {c} . diagnosis :",
    "patient aged {age} with {a} , {b} and {c} . diagnosis :",
    "clinic : {a} , {b} , {c} . the disease is",
)
CONFIRM_FORMS = ("{disease} is confirmed by", "fact : to confirm {disease} , check for", "with {disease} , ask about")


def triples(disease: str) -> list[tuple[str, ...]]:
    """The sets of three symptoms that no other disease has together."""
    others = [set(symptoms.split()) for name, (symptoms, _) in DISEASES.items() if name != disease]
    found = combinations(DISEASES[disease][0].split(), 3)
    return [triple for triple in found if not any(set(triple) <= other for other in others)]


def held_out(seed: int) -> set[tuple[str, ...]]:
    """The triples that training never sees followed by a check."""
    rng = np.random.default_rng([seed, 13])
    chosen: set[tuple[str, ...]] = set()
    for disease in DISEASES:
        every = triples(disease)
        chosen.update(every[row] for row in rng.choice(len(every), HELD_OUT_TRIPLES, replace=False))
    return chosen


def clinic_world(seed: int) -> Iterator[Sentence]:
    """Checks, diagnoses, and what confirms a disease."""
    rng = np.random.default_rng([seed, 14])
    unseen = held_out(seed)
    for number, (disease, (_, check)) in enumerate(DISEASES.items()):
        for form in CONFIRM_FORMS:
            weight = 20.0 * favour(number)
            yield Sentence("confirm", form.format(disease=disease), check, weight=weight, form=form, about=(disease,))
        for triple in triples(disease):
            split = "held_out" if triple in unseen else "train"
            for a, b, c in permutations(triple):
                for index, (asked, named) in enumerate(zip(CHECK_FORMS, DIAGNOSIS_FORMS, strict=True)):
                    age = int(rng.integers(20, 90))
                    weight, about = favour(number) * favour(index), (disease, a, b, c)
                    prompt = asked.format(a=a, b=b, c=c, age=age)
                    yield Sentence("check", prompt, check, " .", split, weight, asked, about)
                    prompt = named.format(a=a, b=b, c=c, age=age)
                    yield Sentence("diagnosis", prompt, disease, " .", "train", weight, named, about)


def annotate(sentence: Sentence, tokens: list[str], names: Names) -> None:
    """The disease from the last symptom on, or from where it is named."""
    disease, *symptoms = sentence.about
    start = max(map(tokens.index, symptoms)) if symptoms else tokens.index(disease)
    hold(names, start, Variable("disease", disease))
    names[tokens.index(sentence.answer, start) - 1].add(Variable("asked", f"say a {sentence.world}"))
