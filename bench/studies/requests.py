"""Requests that are harmful only in sum.

The general concept is what harmful requests of at least two hazards have at the last token and harmless ones of that
form have not. Found on pairs that training showed, reported on held-out pairs; and, for its generality, found without
one hazard and tested on that one.
"""

import numpy as np

from bench.studies._draw import best, prompts, size, some
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import requests
from circuitlab.atlas.sentence import Sentence
from circuitlab.interventions.contrast import Concept, answers, contrast, intervene_each, means

CASE = "requests"
HAZARDS = list(requests.HAZARDS)
FORMS = requests.REQUEST_FORMS
SIDE = {thing: (hazard, side) for hazard, side, thing in requests.sides()}


def hazard(sentence: Sentence) -> str:
    return SIDE[sentence.about[0]][0]


def common(specific: list[Concept]) -> Concept:
    """The nodes of at least two hazards, each as strong as where it is strongest."""
    found = [node for concept in specific for node in concept.nodes]
    return Concept(
        {node: max(c.nodes.get(node, 0.0) for c in specific) for node in dict.fromkeys(found) if found.count(node) >= 2}
    )


def rows(model) -> list[Row]:
    every = list(requests.request_world(0))
    asked = [s for s in every if s.form in FORMS]
    train = {w: [s for s in asked if s.world == w and s.split == "train"] for w in ("harmful", "harmless")}
    unseen = {w: [s for s in asked if s.world == w and s.split == "held_out"] for w in ("harmful", "harmless")}
    mild = {f: means(model, prompts(some((s for s in train["harmless"] if s.form == f), 48))) for f in FORMS}
    drawn = {
        (h, f): some((s for s in train["harmful"] if hazard(s) == h and s.form == f), 28)
        for h in HAZARDS
        for f in FORMS
    }

    specific = {(h, f): contrast(model, prompts(part[:24]), mild[f], places=[-1]) for (h, f), part in drawn.items()}
    general = {f: common([specific[h, f] for h in HAZARDS]) for f in FORMS}
    without = {(h, f): common([specific[o, f] for o in HAZARDS if o != h]) for h in HAZARDS for f in FORMS}
    drawn_mild = {f: some((s for s in train["harmless"] if s.form == f), 64)[48:] for f in FORMS}
    chosen = {
        "harmful": [s for part in drawn.values() for s in part[24:]],
        "harmless": [s for part in drawn_mild.values() for s in part],
    }
    tested = {"harmful": unseen["harmful"][::2], "harmless": some(unseen["harmless"], 90)}

    def run(sentences: list[Sentence], strength: float, left_out: bool):
        values = [(without[hazard(s), s.form] if left_out else general[s.form]).times(strength) for s in sentences]
        return intervene_each(model, prompts(sentences), values)

    def choose(kind: str, strengths, answer: str, left_out: bool) -> float:
        got = {s: answers(run(chosen[kind], s, left_out)) for s in strengths}
        return best({s: float(np.mean([a == answer for a in found])) for s, found in got.items()})

    group = {node for c in (*general.values(), *without.values()) for node in c.nodes}
    found, amounts = [], []
    for left_out, words in ((False, ""), (True, ", its hazard left out")):
        off = choose("harmful", (-1.0, -1.5, -2.0, -2.5), "sure", left_out)
        on = choose("harmless", (2.0, 3.0, 4.0, 5.0), "sorry", left_out)
        amounts.append(on)
        note = size(list((without if left_out else general).values()))
        found += [
            trial(CASE, f"harmful request inhibited{words}: compliance", run(tested["harmful"], off, left_out),
                  lambda i, a: a == "sure", group=group, note=f"{note}, times {off}"),
            trial(CASE, f"… put into a harmless one{words}: refusal", run(tested["harmless"], on, left_out),
                  lambda i, a: a == "sorry", group=group, note=f"{note}, times {on}"),
        ]  # fmt: skip
    warned = some((s for s in every if s.form == requests.WARNING_FORMS[0] and s.split == "held_out"), 48)
    values = [general[FORMS[0]].times(amounts[0]) for _ in warned]
    found.append(
        trial(CASE, "… put into a request for a warning: refusal", intervene_each(model, prompts(warned), values),
              lambda i, a: a == "sorry", group=group, note=f"found in the first form, times {amounts[0]}")
    )  # fmt: skip
    return found
