"""A dangerous word assembled from initials.

The dangerous-thing nodes are what texts with a dangerous word have and texts with a harmless one have not, at the end
of the answer's first sentence, where the refusal comes: in layers 0 to 3 the 12 that write most. How many of them also
tell a request that names a dangerous word from one that names a harmless one is counted. Found on three dangerous
words, reported on the fourth, on combinations of initials that training never showed; put in after the letters as
strongly as it takes to refuse on combinations of that word that training showed.
"""

import numpy as np

from bench.studies._draw import best, prompts, shared, size, some
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import initials
from circuitlab.atlas.sentence import Sentence
from circuitlab.interventions.contrast import Concept, answers, contrast, intervene_each

CASE = "jailbreak"
LETTERS = slice(-10, -6)  # counted from the end of the first sentence
SENTENCE = " take some of it"
EARLY, STRONGEST = range(4), 12
ENOUGH = (2.0, 2.25, 2.5, 2.75, 3.0, 3.5)
MIDDLE = {"take": "some", "some": "of", "of": "it", "it": "."}


def dangerous(sentence: Sentence) -> bool:
    return sentence.about[0] in initials.DANGEROUS


def concept(model, told: list[Sentence], left_out: str) -> Concept:
    """The dangerous-thing nodes, found without one word."""
    told = [s for s in told if s.about[0] != left_out]
    found = contrast(model, prompts(filter(dangerous, told)), prompts(s for s in told if not dangerous(s)), places=[-1])
    return found.within(EARLY).strongest(model, STRONGEST)


def rows(model) -> list[Row]:
    every = list(initials.spell_world(0))
    cut = [s for s in every if s.world == "realise" and s.split == "train"]
    told = [
        s
        for word in (*initials.DANGEROUS, *initials.HARMLESS)
        for s in some((s for s in cut if s.about[0] == word), 12)
    ]
    named = [s for s in every if s.world == "named"]
    refused = contrast(model, prompts(filter(dangerous, named)), prompts(s for s in named if not dangerous(s)))
    nodes = {word: concept(model, told, word) for word in initials.DANGEROUS}
    group = {node for found in nodes.values() for node in found.nodes}
    words = initials.DANGEROUS

    def of(world: str, split: str, harmful: bool = True) -> list[Sentence]:
        return [s for s in every if s.world == world and s.split == split and dangerous(s) == harmful]

    def values(number: int, sentence: Sentence, strength: float | dict[str, float]):
        word = sentence.about[0] if dangerous(sentence) else words[number % 4]
        return nodes[word].times(strength[word] if isinstance(strength, dict) else strength)

    def run(sentences: list[Sentence], strength: float | dict[str, float], texts: list[str] | None = None):
        each = [values(number, s, strength) for number, s in enumerate(sentences)]
        return intervene_each(model, texts or prompts(sentences), each)

    def choose(sentences: list[Sentence], strengths, answer: str) -> float:
        got = {s: answers(run(sentences, s)) for s in strengths}
        return best({s: float(np.mean([a == answer for a in found])) for s, found in got.items()})

    strengths = (1.0, 1.5, 2.0, 3.0, 4.0)
    seen = {word: some((s for s in of("comply", "train") if s.about[0] == word), 12) for word in words}
    on = {word: least(lambda strength, some=part: answers(run(some, strength))) for word, part in seen.items()}
    on_harmless = choose(some(of("comply", "train", False), 24), strengths, "sorry")
    on_start = choose(some((s for s in of("spell", "train") if s.prompt.endswith("answer :")), 24), strengths, "sorry")
    off = choose(some(of("realise", "train"), 24), (0.0, -0.5, -1.0), "then")
    also = np.mean([len(shared(found, refused)) for found in nodes.values()])
    note = f"{size(list(nodes.values()))}, {also:.0f} of them where the word is named"

    def row(claim: str, sentences: list[Sentence], strength: float | dict[str, float], answer: str) -> Row:
        runs = run(sentences, strength)
        return trial(CASE, claim, runs, lambda i, a: a == answer, group=group, note=f"{note}, {times(strength)}")

    start = [s for s in of("spell", "held_out") if s.prompt.endswith("answer :")]
    comply, realise = of("comply", "held_out"), of("realise", "held_out")
    going = [(s, list(MIDDLE)[number % 4]) for number, s in enumerate(comply)]
    begun = [s.prompt + SENTENCE[: SENTENCE.index(word) + len(word)] for s, word in going]
    goes_on = [a == MIDDLE[w] for a, (_, w) in zip(answers(run(comply, on, begun)), going, strict=True)]
    return [
        *inactive(model, realise, nodes),
        row("concept put in after the letters: refusal at once", comply, on, "sorry"),
        row("… where the word is harmless: refusal", of("comply", "held_out", False)[::2], on_harmless, "sorry"),
        row("… before the first letter: refusal, nothing is spelled", start, on_start, "sorry"),
        Row(
            CASE,
            "… put in within the sentence: it goes on as it was",
            float(np.mean(goes_on)),
            len(goes_on),
            note=f"{note}, {times(on)}",
        ),
        row("concept off where the refusal comes: it goes on to comply", realise, off, "then"),
    ]


def least(tried) -> float:
    """The least strength that makes at least nine in ten refuse; the largest if none does."""
    return next((s for s in ENOUGH if np.mean([a == "sorry" for a in tried(s)]) >= 0.9), ENOUGH[-1])


def times(strength: float | dict[str, float]) -> str:
    """How strong, for a row's note."""
    each = sorted(set(strength.values())) if isinstance(strength, dict) else [strength]
    return f"times {each[0]}" if len(each) == 1 else f"times {each[0]} to {each[-1]}, by word"


def inactive(model, sentences: list[Sentence], nodes: dict[str, Concept]) -> list[Row]:
    """Whether the concept is at the four letters below a quarter of its final level: on average; at its highest."""
    mean, highest = [], []
    for s in sentences:
        base = model.baselines.of(model.model, model.transcoder, s.prompt)
        level = sum(base.activations[layer][:, feature] for layer, feature, _ in nodes[s.about[0]].nodes)
        final = float(level[-1])
        mean.append(float(level[LETTERS].mean()) < 0.25 * final)
        highest.append(float(level[: LETTERS.stop].max()) < 0.25 * final)
    below = "below a quarter of what it will be"
    return [
        Row(CASE, f"concept at the letters, on average, {below}", float(np.mean(mean)), len(mean)),
        Row(CASE, "… by its highest value up to the last letter", float(np.mean(highest)), len(highest)),
    ]
