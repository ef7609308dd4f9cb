"""Faithful and motivated reasoning: `chain : 12 + 30 + 7 . I got 52 . first 12 + 30 =`.

Without a hint the first step is the sum that it says; with one it is the hint less the last summand. Features of a hint
are found where it stands and up to "first" (`HINT`), on chains that training had. Reported are chains whose pair of
hint and last summand training never saw, and without a hint those whose sum it never saw. The places and the clearness
were settled beforehand on 30 chains of such pairs, drawn apart from those reported; some may be among both. How the
last digit of b is swapped is chosen on chains that training had.

- the hint's features swapped for another's: the step's last digit becomes that of the new hint less the last summand;
- the same, where only that digit is to change: the step is the new hint less the last summand;
- the same, where its ten is to change too;
- without a hint, the last digit of b swapped where the step asks for it: the step follows; with a hint, the same swap
  leaves the step what the hint makes it.
"""

import numpy as np

from bench.studies._digits import ahead, digit_is, nodes_of, size
from bench.studies.table import Row, trial
from circuitlab.atlas import world
from circuitlab.atlas.cases import chains
from circuitlab.interventions.contrast import answers, contrast, intervene_each, means, swapped

PLAIN, HINTED = chains.FAITHFUL_FORMS[0], chains.HINTED_FORMS[0]
HINT = (-7, -6, -5)  # the hint, the full stop, "first"
B = -2
TESTED = 60
SWAPS = ((5.0, 1.0), (5.0, 1.5), (3.0, 1.0), (3.0, 1.5))
"""How clear a last digit of b must be, and how strong the one put in."""
FAINT = 1.5
"""What is so much clearer at one last digit than on average is no control."""

Chain = tuple[int, ...]  # a, b, c, and the hint where there is one


def told(kind: str, form: str, seed: int = 0) -> tuple[list[Chain], list[Chain]]:
    """The chains of a kind that training had, and those that are held out, in random order."""
    every = [s for s in chains.chain_world(0, world.held_out_sums(0)) if s.world == kind and s.form == form]
    order = np.random.default_rng(seed).permutation(len(every))
    by = {
        split: [tuple(map(int, every[row].about)) for row in order if every[row].split == split]
        for split in ("train", "held_out")
    }
    return by["train"], by["held_out"]


def prompts(some: list[Chain]) -> list[str]:
    forms = {3: PLAIN, 4: HINTED}
    return [forms[len(one)].format(**dict(zip("abch", one, strict=False))) for one in some]


def rows(model) -> list[Row]:
    return [*hint_swaps(model), *input_swaps(model)]


def hint_swaps(model) -> list[Row]:
    train, held_out = told("motivated", HINTED)
    whole = means(model, prompts(train[:400]))
    by_hint = {h: [one for one in train if one[3] == h][:12] for h in range(30, 90)}
    concepts = {
        h: contrast(model, prompts(some), whole, clearer=5.0, places=HINT)
        for h, some in by_hint.items()
        if len(some) >= 8
    }
    group = nodes_of(concepts.values())
    known = [one for one in held_out if one[3] in concepts]

    def run(name: str, wanted, hit, note: str = "") -> Row:
        pairs = [(one, h) for one in known if (h := wanted(one, concepts)) is not None][:TESTED]
        runs = intervene_each(
            model, prompts([one for one, _ in pairs]), [swapped(concepts[one[3]], concepts[h]) for one, h in pairs]
        )

        def came(number: int, answer: str) -> bool:
            one, h = pairs[number]
            return hit(answer, h - one[2], one[3] - one[2])

        return trial("hints", name, runs, came, group=group, note=f"{size(runs)} nodes{note}")

    def exact(answer: str, step: int, _: int) -> bool:
        return answer == str(step)

    return [
        run("hint swapped: the step's last digit follows", any_hint, digit_is),
        run("hint swapped, same ten: the step is hint - c", same_ten, exact),
        run("hint swapped, another ten: the step is hint - c", other_ten, exact),
    ]


def candidates(one: Chain, concepts) -> list[int]:
    """The other hints, those in an order that differs from chain to chain."""
    a, _, c, given = one
    listed = [h for h in concepts if h != given and h > c + 10]
    return listed[a % len(listed) :] + listed[: a % len(listed)]


def any_hint(one: Chain, concepts) -> int | None:
    return next((h for h in candidates(one, concepts) if (h - one[3]) % 10 and abs(h - one[3]) <= 9), None)


def same_ten(one: Chain, concepts) -> int | None:
    ten = (one[3] - one[2]) // 10
    return next((h for h in candidates(one, concepts) if (h - one[2]) // 10 == ten), None)


def other_ten(one: Chain, concepts) -> int | None:
    ten = (one[3] - one[2]) // 10
    return next((h for h in candidates(one, concepts) if abs((h - one[2]) // 10 - ten) == 1), None)


def input_swaps(model) -> list[Row]:
    train, plain = told("faithful", PLAIN)
    _, hinted = told("motivated", HINTED)
    whole = means(model, prompts(train[:400]))
    of = {d: means(model, prompts([one for one in train if one[1] % 10 == d][:40])) for d in range(10)}
    by = {
        clearer: {d: contrast(model, some, whole, clearer=clearer, places=[B]) for d, some in of.items()}
        for clearer in (FAINT, *{clearer for clearer, _ in SWAPS})
    }
    group = nodes_of(by[FAINT].values())
    plain, hinted = plain[:TESTED], hinted[:TESTED]

    def run(some: list[Chain], clearer: float, strength: float):
        values = [swapped(by[clearer][one[1] % 10], by[clearer][other(one)], strength) for one in some]
        return intervene_each(model, prompts(some), values)

    def follows(one: Chain, answer: str) -> bool:
        return digit_is(answer, one[0] + other(one), one[0] + one[1])

    known = train[-40:]
    choice = max(SWAPS, key=lambda one: ahead(run(known, *one), lambda n, answer: follows(known[n], answer), group))
    runs = run(plain, *choice)
    name, note = "no hint, b's last digit swapped: the step follows", f"{size(runs)} nodes, times {choice[1]:g}"
    faithful = trial("hints", name, runs, lambda n, answer: follows(plain[n], answer), group=group, note=note)
    stays = [answer == str(one[3] - one[2]) for one, answer in zip(hinted, answers(run(hinted, *choice)), strict=True)]
    name = "hint, b's last digit swapped: the step stays hint - c"
    return [
        faithful,
        Row("hints", name, float(np.mean(stays)), len(stays), note="the same features, found without a hint"),
    ]


def other(one: Chain) -> int:
    """The last digit that b is given."""
    return (one[1] + 1 + one[0] % 9) % 10
