"""Planning in poems: is the last word of a line there before the line is written, and does the line follow it?

A couplet of `circuitlab/atlas/cases/couplets.py` is cut at its line break; the model writes the second line. A word's
features are found by contrast on couplets of the training text, where atlas knows the line break (⏎), the word before
the adjective (a) and the adjective; edits at words that are not written yet act once they are. Reported are couplets
that training never saw, two of each of the 40 words; those of the word taken away were seen while its places were
settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

import circuitlab as cl
from bench.interventions import Choice, choose, swap_values
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import couplets
from circuitlab.interventions.contrast import Means, Values, means
from circuitlab.interventions.run import experiments

BREAK, BEFORE_ADJECTIVE, BEFORE_NOUN = -7, -2, -1
"""Places in a couplet that is written up to its last word, counted from the end."""
LINE = 9
"""Tokens that a second line has at most, its full stop included."""
PER_WORD = 2
SEEN = 20
"""Couplets of each word that its features are found on."""


@dataclass(frozen=True)
class Couplet:
    """A couplet up to its last word, and that word."""

    text: str
    word: str

    @property
    def first_line(self) -> str:
        return self.text.partition("⏎")[0] + "⏎"


def couplets_of(split: str, per_word: int, skip: int = 0) -> list[Couplet]:
    """Some couplets of each word, drawn from a seed; `skip` passes over the first of them."""
    by_word: dict[str, list[Couplet]] = {}
    for sentence in couplets.couplet_world(0):
        if sentence.world == "couplet rhyme" and sentence.split == split:
            by_word.setdefault(sentence.answer, []).append(Couplet(sentence.prompt, sentence.answer))
    rng = np.random.default_rng(1)
    chosen = []
    for word in words():
        order = rng.permutation(len(by_word[word]))[skip : skip + per_word]
        chosen += [by_word[word][row] for row in order]
    return chosen


def words() -> list[str]:
    """The 40 last words."""
    return [word for _, pair in couplets.families() for word in pair]


def other_of_rhyme(word: str) -> str:
    """rabbit → habit, habit → rabbit."""
    return next(b if word == a else a for _, (a, b) in couplets.families() if word in (a, b))


def other_rhyme(word: str) -> str:
    """A word that neither rhymes nor shares first word or adjective."""
    every = words()
    return every[(every.index(word) + 7) % len(every)]


# ---- what is active at the line break ----


@dataclass(frozen=True)
class Plans:
    """Of each word what is active in its couplets, and in those of all words together."""

    of: dict[str, Means]
    together: Means

    @classmethod
    def found(cls, model: cl.ReplacementModel) -> Plans:
        seen = couplets_of("train", SEEN)
        every = {word: means(model, [c.text for c in seen if c.word == word]) for word in words()}
        return cls(every, means(model, [c.text for c in seen]))

    def concept(self, model, word: str, against: str | None, choice: Choice, places: Sequence[int]) -> cl.Concept:
        """A word's features at some places, against another word's, or against those of all."""
        other = self.together if against is None else self.of[against]
        return cl.contrast(model, self.of[word], other, clearer=choice.clearer, places=places)


def planned(model: cl.ReplacementModel, plans: Plans, tested: Sequence[Couplet]) -> list[Row]:
    """Whether a word's features are active at the line break, and whether it can be read off which word it will be."""
    features = {word: plans.concept(model, word, None, Choice(), [BREAK]).nodes for word in words()}
    prompts = [couplet.first_line for couplet in tested]
    bases = [model.baselines.of(model.model, model.transcoder, prompt) for prompt in prompts]

    def active(number: int, word: str) -> float:
        """The share of a word's features that is at least half as strong as where the word is planned."""
        now = bases[number].activations
        return float(np.mean([float(now[k][-1, f]) >= value / 2 for (k, f, _), value in features[word].items()]))

    table = np.array([[active(number, word) for word in words()] for number in range(len(tested))])
    own = np.array([words().index(couplet.word) for couplet in tested])
    mine = table[np.arange(len(own)), own]
    off = (table.sum(1) - mine) / (len(words()) - 1)
    size = np.mean([len(nodes) for nodes in features.values()])
    note = f"{size:.0f} features a word; on average {mine.mean():.0%} of them are, of another word's {off.mean():.0%}"
    return [
        Row("poems", "most of the planned word's features active at the break", float(np.mean(mine > 0.5)), len(own),
            mark=0.9, note=note),
        Row("poems", "the planned word read off the break, among 40", float(np.mean(table.argmax(1) == own)), len(own),
            mark=0.9, note="chance is 2.5%"),
    ]  # fmt: skip


# ---- what the line does when they are changed ----


def second_lines(runs: Iterable[cl.InterventionRun]) -> list[str]:
    """What is written after the line break with a run's edits, each where it stands, written already or not."""
    lines = []
    for run in runs:
        replacement, tokens = run.experiment.replacement, run.experiment.baseline.tokens.tolist()
        cut = len(tokens) + BREAK + 1
        start = experiments(replacement, [tokens[:cut]], freeze_attention=False, freeze_norms=False)[0]
        lines.append(start.run(run.edits, LINE).continuation.replace("<eos>", "").strip())
    return lines


def last_word(line: str) -> str:
    """The word before the first full stop; "" where there is none."""
    return line.partition(" .")[0].split()[-1] if " ." in line else ""


def measured(
    model: cl.ReplacementModel,
    claim: str,
    values: Callable[[Couplet, Choice], Values],
    hit: Callable[[Couplet, str], bool],
    choices: Sequence[Choice],
    mark: float = 0.8,
    step: int = 2,
) -> Row:
    """Choose on couplets of the training text that no feature was found on (each `step`th), report held-out ones."""

    def runs(some: Sequence[Couplet], choice: Choice) -> list[cl.InterventionRun]:
        return cl.intervene_each(model, [couplet.text for couplet in some], [values(c, choice) for c in some])

    def score(choice: Choice) -> float:
        some = couplets_of("train", 1, skip=SEEN)[::step]
        return float(np.mean([hit(c, line) for c, line in zip(some, second_lines(runs(some, choice)), strict=True)]))

    choice = choose(score, choices) if len(choices) > 1 else choices[0]
    tested = couplets_of("held_out", PER_WORD)
    group = {node for couplet in tested for node in values(couplet, choice)}
    note = f"{np.mean([len(values(couplet, choice)) for couplet in tested]):.0f} nodes"
    return trial(
        "poems", claim, runs(tested, choice), lambda number, line: hit(tested[number], line),
        group=group, read=second_lines, mark=mark, note=note,
    )  # fmt: skip


def rows(model: cl.ReplacementModel) -> list[Row]:
    """Features of the planned word at the line break; the word exchanged, taken away, put in; the break alone."""
    plans = Plans.found(model)
    up_to_adjective, whole = (BREAK, BEFORE_ADJECTIVE), (BREAK, BEFORE_ADJECTIVE, BEFORE_NOUN)

    def off(couplet: Couplet, choice: Choice, places: Sequence[int] = up_to_adjective) -> cl.Concept:
        return plans.concept(model, couplet.word, other_of_rhyme(couplet.word), choice, places)

    def exchanged(couplet: Couplet, choice: Choice, places: Sequence[int] = up_to_adjective) -> Values:
        other = plans.concept(model, other_of_rhyme(couplet.word), couplet.word, choice, places)
        return swap_values(off(couplet, choice, places), other, choice)

    def suppressed(couplet: Couplet, choice: Choice) -> Values:
        return off(couplet, choice).within(range(choice.top_layer + 1)).times(choice.strength)

    def injected(couplet: Couplet, choice: Choice) -> Values:
        mine, other = (plans.concept(model, w, None, choice, whole) for w in (couplet.word, other_rhyme(couplet.word)))
        return swap_values(mine, other, choice)

    def ends_in_other(couplet: Couplet, line: str) -> bool:
        return last_word(line) == other_of_rhyme(couplet.word)

    def ends_in_injected(couplet: Couplet, line: str) -> bool:
        return last_word(line) == other_rhyme(couplet.word)

    def begins_for_other(couplet: Couplet, line: str) -> bool:
        return line.split()[:1] == [first_word(other_of_rhyme(couplet.word))]

    def at_break(couplet: Couplet, choice: Choice) -> Values:
        return exchanged(couplet, choice, (BREAK,))

    by_layer = [Choice(top_layer=layer) for layer in (0, 2, 4)]
    less = [Choice(strength, top_layer=layer) for strength in (-0.5, -0.75, -1.0) for layer in (0, 1)]
    return [
        *planned(model, plans, couplets_of("held_out", 6)),
        measured(model, "planned word for the rhyme's other: line ends in it", exchanged, ends_in_other, by_layer),
        measured(
            model, "planned word off, nothing put in: line ends in the other", suppressed, ends_in_other, less, step=1
        ),
        measured(model, "a word of another rhyme put in: line ends in it", injected, ends_in_injected, by_layer, 0.7),
        measured(
            model, "exchanged at the break alone: line begins for the other", at_break, begins_for_other, by_layer
        ),
        measured(model, "exchanged at the break alone: line ends in the other", at_break, ends_in_other, by_layer[-1:]),
    ]


def first_word(noun: str) -> str:
    """The first word of the line that ends in this noun."""
    family, side = next((f, pair.index(noun)) for f, (_, pair) in enumerate(couplets.families()) if noun in pair)
    return couplets.second_line(family, side)[0]
