"""Numbers of circuitlab.interventions on the bundled model, and on stories260k with a transcoder of one's own.

    python -m bench.interventions states words sums knock-on time batch          # on atlas
    python -m bench.interventions knock-on generation --stories MODEL --transcoder FOLDER

Concepts are found by contrast, not by hand: a node (layer, feature, place counted from the end) belongs to A rather
than B if it is active in at least half of A's prompts and on average at least `CLEARER` times as strong as in B's. A
swap sets the nodes of A to 0 and those of B to `strength` times their mean in B's prompts; operations and languages are
found on other words than they are tested on. States are found by their labels instead, as `model.swap` does. Every swap
is repeated with random active features that write as much (`matched_controls`). Attention and norms are live.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

import circuitlab as cl
from circuitlab.atlas import facts, words, world
from circuitlab.interventions.controls import effect_of, matched_controls
from circuitlab.interventions.result import InterventionRun

CLEARER = 2.0
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


def top(run: InterventionRun, outcome=None) -> str:
    """The likeliest next token of a run, or of another outcome on its prompt."""
    before, _ = run.probabilities()
    token = effect_of(run, outcome or run.outcome, before)[1]
    return run.experiment.replacement.model.token_strings([token])[0].strip()


def control(run: InterventionRun, seed: int) -> str:
    """The likeliest next token when random active features change as much."""
    return top(run, run.experiment.outcome(matched_controls(run, 1, seed)[0]))


def means(model, prompts: Iterable[str]) -> tuple[dict, dict]:
    """Mean activation and share of prompts with it, by (layer, feature, place from the end)."""
    total, active, n = {}, {}, 0
    for prompt in prompts:
        base, n = model.baselines.of(model.model, model.transcoder, prompt), n + 1
        for layer, activation in enumerate(base.activations):
            for pos, feature in activation.nonzero().tolist():
                key = layer, feature, pos - base.n_positions
                total[key] = total.get(key, 0.0) + float(activation[pos, feature])
                active[key] = active.get(key, 0) + 1
    return {key: value / n for key, value in total.items()}, {key: count / n for key, count in active.items()}


def concept(of: tuple[dict, dict], against: tuple[dict, dict], places: Sequence[int] | None = None) -> dict:
    """The nodes of one concept, with their mean activations."""
    (mean, share), (other, _) = of, against
    return {
        key: value
        for key, value in mean.items()
        if share[key] >= 0.5 and value >= CLEARER * other.get(key, 0.0) and (places is None or key[2] in places)
    }


def swapped(model, prompt: str, out: dict, into: dict, strength: float, factor: float = 0.0) -> InterventionRun:
    """`out` to `factor` times its mean, `into` to `strength` times."""
    n = model.baselines.of(model.model, model.transcoder, prompt).n_positions
    values = {key: factor * value for key, value in out.items()} | {key: strength * v for key, v in into.items()}
    request = {
        f"{layer}_{feature}_{n + place}": cl.Value(v) for (layer, feature, place), v in values.items() if n + place > 0
    }
    return model.intervene(prompt, request, **LIVE)


def report(name: str, rows: list[tuple[bool, bool | None]], note: str = "") -> None:
    hit, chance = np.mean([row[0] for row in rows]), [row[1] for row in rows if row[1] is not None]
    print(
        f"{name:<52}{hit:7.1%} of {len(rows):4}   random matched {np.mean(chance):6.1%} of {len(chance)}   {note}",
        flush=True,
    )


# ---- states ----


def states(model, strength: float = 2.0) -> None:
    """All ordered pairs of states, each at its first city, features by label."""
    cities = {state: table.split()[0] for state, table in facts.CITIES.items()}
    rows, sizes = [], []
    for number, (a, b) in enumerate((a, b) for a in cities for b in cities if a != b):
        run = model.swap(FORM.format(cities[a]), a, b, FORM.format(cities[b]), strength=strength, **LIVE)
        capital = world.values_of(b)["capital"]
        rows.append((top(run) == capital, control(run, number) == capital if number % 4 == 0 else None))
        sizes.append(len(run.edits.features))
    report(f"state swapped, {strength:g} times", rows, f"{np.mean(sizes):.0f} features")


# ---- words ----


def pairs_split() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(pair, side) to find concepts on, and others to test them on."""
    n = len(words.PAIRS.strip().splitlines())
    return [(p, s) for p in range(0, n, 2) for s in (0, 1)], [(p, s) for p in range(1, n, 4) for s in (0, 1)]


def word(language: str, pair: int, side: int, synonym: bool = False) -> str:
    return world.lexicon()[language, pair, side, synonym].text


def prompts(language: str, form: str, chosen: Iterable[tuple[int, int]]) -> list[str]:
    table = {"antonym": words.ANTONYM_FORMS, "synonym": words.SYNONYM_FORMS}[form]
    return [table[language][0].format(word=word(language, p, s)) for p, s in chosen]


def operation(model, strength: float) -> None:
    """Antonym to synonym, in each language."""
    found, tested = pairs_split()
    for language in words.LANGUAGES:
        antonym, synonym = (means(model, prompts(language, form, found)) for form in ("antonym", "synonym"))
        out, into = concept(antonym, synonym), concept(synonym, antonym)
        rows = []
        for number, (p, s) in enumerate(tested):
            run = swapped(model, prompts(language, "antonym", [(p, s)])[0], out, into, strength)
            right = word(language, p, s, True)
            rows.append((top(run) == right, control(run, number) == right))
        report(f"antonym swapped for synonym, {language}, {strength:g} times", rows, f"{len(out)} off, {len(into)} on")


def operand(model, strength: float) -> None:
    """One word for another: nodes of layers 0 to 2 that its prompt has and those of other words have not.

    The layers above, in which the answer is said, are left to answer by themselves.
    """
    _, tested = pairs_split()
    for language in words.LANGUAGES:
        every = [means(model, prompts(language, "antonym", [one])) for one in tested]
        background = means(model, prompts(language, "antonym", tested))
        nodes = [{k: v for k, v in concept(one, background).items() if k[0] <= 2} for one in every]
        rows = []
        for here, (p, s) in enumerate(tested):
            there = (here + 3) % len(tested)
            run = swapped(model, prompts(language, "antonym", [(p, s)])[0], nodes[here], nodes[there], strength)
            right = word(language, tested[there][0], 1 - tested[there][1])
            rows.append((top(run) == right, control(run, here) == right))
        report(
            f"operand swapped, {language}, {strength:g} times", rows, f"{np.mean(list(map(len, nodes))):.0f} features"
        )


def language_swap(model, strength: float) -> None:
    """The language alone, from each to each; places aligned from the end."""
    found, tested = pairs_split()
    seen = {
        lang: means(model, [p for form in ("antonym", "synonym") for p in prompts(lang, form, found)])
        for lang in words.LANGUAGES
    }
    for source in words.LANGUAGES:
        for target in words.LANGUAGES:
            if source == target:
                continue
            places = range(-3, 0)
            out, into = (concept(seen[a], seen[b], places) for a, b in ((source, target), (target, source)))
            rows = []
            for number, (p, s) in enumerate(tested):
                run = swapped(model, prompts(source, "antonym", [(p, s)])[0], out, into, strength)
                right = word(target, p, 1 - s)
                rows.append((top(run) == right, control(run, number) == right))
            report(
                f"language {source} swapped for {target}, {strength:g} times", rows, f"{len(out)} off, {len(into)} on"
            )


# ---- sums ----


def sums(model, factor: float, n: int = 60) -> None:
    """The second operand's last digit off; the answer's last digit must change and its tens stay within one."""
    rng = np.random.default_rng(0)
    form = "calc : {} + {} ="
    drawn = rng.integers(10, 90, size=(400, 2)).tolist()
    by_digit = {d: means(model, [form.format(a, b) for a, b in drawn if b % 10 == d][:24]) for d in range(10)}
    whole = means(model, [form.format(a, b) for a, b in drawn[:120]])
    rows = []
    for number, (a, b) in enumerate(rng.integers(10, 90, size=(n, 2)).tolist()):
        out = concept(by_digit[b % 10], whole, range(-2, 0))
        prompt = form.format(a, b)
        if not out or not (base := model.intervene(prompt, {f"E_{int(model.model.to_tokens(prompt)[1])}_1": 1.0})):
            rows.append((False, False))
            continue
        if top(base, base.outcome) != str(a + b):
            continue
        run = swapped(model, prompt, out, {}, 0.0, factor)
        rows.append((digit_changed(top(run), a + b), digit_changed(control(run, number), a + b)))
    report(f"second operand's last digit at {factor:g} times", rows)


def digit_changed(answer: str, right: int) -> bool:
    return answer.isdigit() and int(answer) % 10 != right % 10 and abs(int(answer) // 10 - right // 10) <= 1


# ---- knock-on effects ----


def knock_on(model, texts: Sequence[str], n_features: int = 20) -> None:
    """Spearman of foretold and measured knock-on effects, mean over features, then over prompts."""
    settings = {
        "replacement model, frozen": {"mode": "propagating"},
        "model, frozen": {"mode": "constrained"},
        "model, live": {"mode": "constrained", **LIVE},
    }
    for name, options in settings.items():
        found, influence = [], []
        for text in texts:
            measured = model.trace(text, progress=False).validate(model, n_features=n_features, **options)
            found.append(measured.spearman)
            influence.append(measured.influence_spearman)
        print(
            f"knock-on Spearman, {name}: mean {np.nanmean(found):.3f} (least {np.nanmin(found):.3f}), "
            f"influence and KL {np.nanmean(influence):.3f}; {len(texts)} prompts",
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
    parser.add_argument(
        "what", nargs="+", choices=["states", "words", "sums", "knock-on", "time", "batch", "generation"]
    )
    parser.add_argument("--stories", type=Path, help="a model instead of atlas")
    parser.add_argument("--transcoder", type=Path, help="and its transcoder")
    parser.add_argument("--strength", type=float, default=2.0, help="of swapped states")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = cl.load(str(arguments.stories), arguments.transcoder) if arguments.stories else cl.load()
    texts = STORIES if arguments.stories else atlas_prompts()
    jobs = {
        "states": lambda: states(model, arguments.strength),
        "words": lambda: (operation(model, 1.0), operand(model, 1.5), language_swap(model, 1.5)),
        "sums": lambda: [sums(model, factor) for factor in (0.0, -1.0)],
        "knock-on": lambda: knock_on(model, texts),
        "time": lambda: times(model),
        "batch": lambda: batch(model),
        "generation": lambda: generation(model),
    }
    for name in arguments.what:
        jobs[name]()


if __name__ == "__main__":
    main()
