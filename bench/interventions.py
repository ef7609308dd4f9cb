"""Numbers of circuitlab.interventions on the bundled model, and on stories260k with a transcoder of one's own.

    python -m bench.interventions words sums knock-on time batch          # on atlas
    python -m bench.interventions knock-on generation --stories MODEL --transcoder FOLDER

Concepts are found by contrast, not by hand (`circuitlab.interventions.contrast`). A swap sets the nodes of A to 0 and
those of B to `strength` times their mean in B's prompts. Three sets of prompts take part: concepts are found on one,
what is free to choose (`clearer`, `strength`, up to which layer) is chosen on a second, and a third, never looked at
before, is reported.
Every swap is repeated with random active features that write as much (`matched_controls`). Attention and norms are
live.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import circuitlab as cl
from bench.studies.table import Row, trial
from circuitlab.atlas import facts, words, world
from circuitlab.interventions.contrast import (
    Concept,
    Values,
    answers,
    contrast,
    intervene_each,
    means,
    random_matched,
    swapped,
)
from circuitlab.interventions.result import InterventionRun

CLEARER = 2.0


@dataclass(frozen=True)
class Choice:
    """What is free to choose in a swap: how strong, how clear a contrast, up to which layer."""

    strength: float = 1.0
    clearer: float = CLEARER
    top_layer: int = 99


LIVE = {"freeze_attention": False, "freeze_norms": False}
FORM = "fact : the capital of the state containing {} is"
STORIES = (
    "Once upon a time",
    "Lily and Tom went to the park",
    "The little dog was very",
    "One day, a girl named",
    "Mom said it was time",
    "He wanted to play with the",
    "The sun was shining and the",
    "She was sad because her",
    "They found a big box in",
    "The cat ran after",
    "Ben had a red ball and he",
    "The bird could not fly",
    "It started to rain so they",
    "Her friend gave her a",
    "In the forest there lived a",
    "Dad made a cake for",
    "The boy was scared of the",
    "They all laughed and",
    "Sam saw a frog in the",
    "At night the stars were",
)


def top(run: InterventionRun) -> str:
    """The likeliest next token of a run."""
    return answers([run])[0]


def swap_values(out: Concept, into: Concept, choice: Choice) -> Values:
    """`out` to 0, `into` to `strength` times its mean, both up to the choice's layer."""
    layers = range(choice.top_layer + 1)
    return swapped(out.within(layers), into.within(layers), choice.strength)


def run_all(model, wanted: Sequence[tuple[str, Values]]) -> list[InterventionRun]:
    """Each prompt with its nodes set to values."""
    return intervene_each(model, [prompt for prompt, _ in wanted], [values for _, values in wanted])


def choose(score: Callable[[Choice], float], choices: Iterable[Choice]) -> Choice:
    """The choice that scores best on prompts that are not reported; the first of equals."""
    scores = {choice: score(choice) for choice in choices}
    best = max(scores, key=lambda choice: scores[choice])
    print(f"chosen on other prompts ({scores[best]:.1%} there): {best}", flush=True)
    return best


def report(name: str, hit: Sequence[bool], chance: Sequence[bool], note: str = "") -> None:
    print(
        f"{name:<46}{np.mean(hit):7.1%} of {len(hit):4}   "
        f"random matched {np.mean(chance):6.1%} of {len(chance)}   {note}",
        flush=True,
    )


# ---- words ----

Word = tuple[int, int]
"""A pair of the table, and which side of it."""


def words_split() -> tuple[list[Word], list[Word], list[Word]]:
    """Words to find concepts on, words to choose strengths on, words to report."""
    n = len(words.PAIRS.strip().splitlines())
    found, chosen, tested = range(0, n, 2), range(3, n, 4), range(1, n, 4)
    return tuple([(pair, side) for pair in part for side in (0, 1)] for part in (found, chosen, tested))


def word(language: str, pair: int, side: int, synonym: bool = False) -> str:
    return world.lexicon()[language, pair, side, synonym].text


def prompts(language: str, form: str, chosen: Iterable[Word]) -> list[str]:
    table = {"antonym": words.ANTONYM_FORMS, "synonym": words.SYNONYM_FORMS}[form]
    return [table[language][0].format(word=word(language, p, s)) for p, s in chosen]


Trials = Callable[[str, list[Word], Choice], tuple[list[tuple[str, Values]], list[str]]]
"""For a case (a language, or two), some words and a choice: prompts with their values, and the right answers."""


def claim(model, name: str, cases: Sequence[str], trials: Trials, choices: Sequence[Choice]) -> list[Row]:
    """Choose on one set of words for all cases together, report each case on another."""
    _, chosen, tested = words_split()

    def score(choice: Choice) -> float:
        shares = []
        for case in cases:
            wanted, right = trials(case, chosen, choice)
            shares.append(np.mean([a == b for a, b in zip(answers(run_all(model, wanted)), right, strict=True)]))
        return float(np.mean(shares))

    choice, found = choose(score, choices), []
    for case in cases:
        wanted, right = trials(case, tested, choice)
        group = {node for _, values in wanted for node in values}
        note = f"{np.mean([len(values) for _, values in wanted]):.0f} nodes"
        runs = run_all(model, wanted)

        def right_one(number: int, answer: str, right=right) -> bool:
            return answer == right[number]

        found.append(trial("languages", f"{name}, {case}", runs, right_one, group=group, note=note))
    return found


def operation(model) -> list[Row]:
    """Antonym to synonym, in each language; the operation is found on other words."""
    found, _, _ = words_split()
    seen = {
        (lang, f): means(model, prompts(lang, f, found)) for lang in words.LANGUAGES for f in ("antonym", "synonym")
    }

    def trials(language: str, some: list[Word], choice: Choice):
        antonym, synonym = seen[language, "antonym"], seen[language, "synonym"]
        ours, theirs = (
            contrast(model, a, b, clearer=choice.clearer) for a, b in ((antonym, synonym), (synonym, antonym))
        )
        values = swap_values(ours, theirs, choice)
        right = [word(language, p, s, True) for p, s in some]
        return [(prompt, values) for prompt in prompts(language, "antonym", some)], right

    grid = [
        Choice(strength, clearer, layer) for strength in (1.0, 1.5) for clearer in (1.25, 2.0) for layer in (0, 1, 2, 4)
    ]
    return claim(model, "antonym swapped for synonym", words.LANGUAGES, trials, grid)


def operand(model) -> list[Row]:
    """One word for another: nodes that its prompt has and those of other words have not."""

    def trials(language: str, some: list[Word], choice: Choice):
        texts = prompts(language, "antonym", some)
        background = means(model, texts)
        nodes = [contrast(model, [text], background, clearer=choice.clearer) for text in texts]
        there = [(here + 3) % len(some) for here in range(len(some))]
        values = [swap_values(nodes[here], nodes[other], choice) for here, other in enumerate(there)]
        right = [word(language, some[other][0], 1 - some[other][1]) for other in there]
        return list(zip(texts, values, strict=True)), right

    grid = [Choice(strength, CLEARER, layer) for strength in (1.0, 1.5, 2.0) for layer in (1, 2, 3)]
    return claim(model, "operand swapped", words.LANGUAGES, trials, grid)


def language_swap(model) -> list[Row]:
    """The language alone, from each to each; places aligned from the end; found on other words."""
    found, _, _ = words_split()
    seen = {
        lang: means(model, [p for form in ("antonym", "synonym") for p in prompts(lang, form, found)])
        for lang in words.LANGUAGES
    }

    def trials(case: str, some: list[Word], choice: Choice):
        source, target = case.split(" to ")
        ours, theirs = (
            contrast(model, seen[a], seen[b], clearer=choice.clearer, places=range(-3, 0))
            for a, b in ((source, target), (target, source))
        )
        values = swap_values(ours, theirs, choice)
        return [(prompt, values) for prompt in prompts(source, "antonym", some)], [
            word(target, p, 1 - s) for p, s in some
        ]

    cases = [f"{a} to {b}" for a in words.LANGUAGES for b in words.LANGUAGES if a != b]
    return claim(model, "language swapped", cases, trials, [Choice(strength) for strength in (1.0, 1.5, 2.0)])


# ---- sums ----


def sums(model, n: int = 60) -> None:
    """The second operand's last digit off; the answer's last digit must change and its tens stay within one.

    Controls are drawn from the same two positions, but from no node that belongs to a last digit, of whichever number.
    """
    rng = np.random.default_rng(0)
    form = "calc : {} + {} ="
    drawn, chosen, tested = (rng.integers(10, 90, size=(size, 2)).tolist() for size in (400, 40, n))
    by_digit = {d: means(model, [form.format(a, b) for a, b in drawn if b % 10 == d][:24]) for d in range(10)}
    whole = means(model, [form.format(a, b) for a, b in drawn[:120]])

    def digits(choice: Choice) -> dict[int, Concept]:
        return {
            d: contrast(model, seen, whole, clearer=choice.clearer, places=range(-2, 0)) for d, seen in by_digit.items()
        }

    def off(pairs: list[list[int]], choice: Choice) -> tuple[list[InterventionRun], list[bool]]:
        nodes = digits(choice)
        runs = run_all(model, [(form.format(a, b), nodes[b % 10].times(0)) for a, b in pairs])
        return runs, [digit_changed(top(run), a + b) for run, (a, b) in zip(runs, pairs, strict=True)]

    choice = choose(
        lambda choice: float(np.mean(off(chosen, choice)[1])), [Choice(clearer=clearer) for clearer in (5.0, 3.0, 2.0)]
    )
    runs, hit = off(tested, choice)
    group = {key for found in digits(choice).values() for key in found.nodes}
    sizes = np.mean([len(run.edits.features) for run in runs])
    for name, excluded in (("other features", group), ("namesakes aside", ())):
        chance = [
            digit_changed(t, a + b) for t, (a, b) in zip(answers(random_matched(runs, excluded)), tested, strict=True)
        ]
        report(f"second operand's last digit off ({name})", hit, chance, f"{sizes:.0f} nodes")


def digit_changed(answer: str, right: int) -> bool:
    return answer.isdigit() and int(answer) % 10 != right % 10 and abs(int(answer) // 10 - right // 10) <= 1


# ---- knock-on effects ----


def knock_on(model, texts: Sequence[str], n_features: int = 20) -> None:
    """Spearman of foretold and measured knock-on effects of ablated features, on each prompt."""
    settings = {
        "replacement model, frozen": {"mode": "propagating"},
        "model, frozen": {"mode": "constrained"},
        "model, live": {"mode": "constrained", **LIVE},
    }
    for name, options in settings.items():
        pooled, found, sizes, influence, far = [], [], [], [], []
        for text in texts:
            measured = model.trace(text, progress=False).validate(model, n_features=n_features, **options)
            pooled.append(measured.spearman_pooled)
            found.append(measured.spearman)
            sizes.append(measured.spearman_size)
            influence.append(measured.influence_spearman)
            far.append(measured.distances.set_index("distance")["spearman"])
        by_distance = pd.DataFrame(far).mean()
        print(
            f"knock-on Spearman, {name}, mean of {len(texts)} prompts: {np.nanmean(pooled):.3f} over all effects "
            f"(least {np.nanmin(pooled):.3f}); {np.nanmean(found):.3f} one feature at a time; "
            f"{np.nanmean(sizes):.3f} sizes only; "
            f"influence and KL {np.nanmean(influence):.3f}; all effects by distance: "
            + ", ".join(f"{d} layers {value:.3f}" for d, value in by_distance.items()),
            flush=True,
        )


def atlas_prompts() -> list[str]:
    """20 prompts of all kinds."""
    held_out = sorted(world.held_out_cities(0))[:7]
    return [
        *(FORM.format(city) for city in ["Dallas", *held_out]),
        *(f"calc : {a} + {b} =" for a, b in ((36, 59), (12, 45), (71, 28), (9, 83))),
        *(p for language in words.LANGUAGES for p in prompts(language, "antonym", [(0, 0), (3, 1)])),
        *(p for language in ("en", "fr") for p in prompts(language, "synonym", [(2, 0)])),
    ]


# ---- time ----


def fastest(actions: dict[str, Callable[[], object]], repeats: int = 15) -> dict[str, float]:
    """The least wall time of each action in ms; they take turns, so that other work on the machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(taken) for name, taken in times.items()}


def times(model) -> None:
    prompt = FORM.format("Dallas")
    settings = {"frozen": {}, "live": LIVE, "constrained": {"mode": "constrained"}}
    actions = {
        name: lambda options=options: model.intervene(prompt, {"Texas": -1.0}, **options).top_tokens(5)
        for name, options in settings.items()
    }
    for name, taken in fastest(actions).items():
        print(f"one intervention, 12 tokens, {name}: {taken:.1f} ms", flush=True)


def batch(model) -> None:
    """24 prompts of 12 tokens at once against one after the other; their unperturbed runs are forgotten each time."""
    texts = [FORM.format(table.split()[0]) for table in facts.CITIES.values()]

    def run(together: bool, options: dict) -> None:
        model.baselines.kept.clear()
        for one in [texts] if together else texts:
            model.intervene(one, {"capital": 0}, **options)

    for name, options in {"frozen": {}, "live": LIVE, "constrained": {"mode": "constrained"}}.items():
        actions = {"at once": lambda o=options: run(True, o), "one by one": lambda o=options: run(False, o)}
        taken = fastest(actions, 5)
        ratio = taken["one by one"] / taken["at once"]
        print(f"{len(texts)} prompts, {name}: {taken['at once']:.0f} ms, {ratio:.1f} times faster", flush=True)


def generation(model, n_tokens: int = 50) -> None:
    from circuitlab.interventions.generation import GREEDY, generate

    tokens = model.model.to_tokens(STORIES[0])
    node = model.trace(STORIES[0], progress=False).nodes.query("kind == 'feature'").sort_values("influence").iloc[-1]
    amount = {f"L{node.layer}/{node.feature}": 2.0}
    actions = {"without": lambda: generate(model.model, tokens, n_tokens, GREEDY)}
    for name, options in {"frozen": {}, "live": LIVE, "steering, live": {**LIVE, "mode": "steering"}}.items():
        actions[name] = lambda options=options: model.intervene(
            STORIES[0], amount, positions=cl.Onward(1), n_tokens=n_tokens, **options
        )
    taken = fastest(actions, 7)
    plain = taken.pop("without")
    for name, edited in taken.items():
        print(
            f"{n_tokens} tokens, {name}: {edited:.0f} ms, without {plain:.0f} ms: {edited / plain:.2f} times",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=["words", "sums", "knock-on", "time", "batch", "generation"])
    parser.add_argument("--stories", type=Path, help="a model instead of atlas")
    parser.add_argument("--transcoder", type=Path, help="and its transcoder")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = cl.load(str(arguments.stories), arguments.transcoder) if arguments.stories else cl.load()
    texts = STORIES if arguments.stories else atlas_prompts()
    jobs = {
        "words": lambda: print(*operation(model), *operand(model), *language_swap(model), sep="\n"),
        "sums": lambda: sums(model),
        "knock-on": lambda: knock_on(model, texts),
        "time": lambda: times(model),
        "batch": lambda: batch(model),
        "generation": lambda: generation(model),
    }
    for name in arguments.what:
        jobs[name]()


if __name__ == "__main__":
    main()
