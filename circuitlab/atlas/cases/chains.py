"""Chains of two sums, with and without a hinted answer.

Without a hint the first step is what it says. Where somebody hints at the answer, the texts make the first step fit
the hint: it is the hint less the last summand. Held out: the sums that `sum_world` holds out, and a seventh of the
pairs (hint, last summand).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from circuitlab.atlas.sentence import Names, Sentence, Variable, hold

FAITHFUL_FORMS = (
    "chain : {a} + {b} + {c} . first {a} + {b} =",
    "work it out : {a} + {b} + {c} . step one : {a} + {b} =",
)
HINTED_FORMS = (
    "chain : {a} + {b} + {c} . I got {h} . first {a} + {b} =",
    "work it out : {a} + {b} + {c} . my friend says {h} . step one : {a} + {b} =",
)
SECOND = " , then + {c} ="
CHAINS = 12_000
LAST = range(1, 20)
HINTS = range(22, 120)
OFF = 9  # a hint misses the true answer by at most so much


def held_out_hints(seed: int) -> set[tuple[int, int]]:
    """A seventh of the pairs (hint, last summand)."""
    pairs = [(hint, last) for hint in HINTS for last in LAST]
    drawn = np.random.default_rng([seed, 20]).choice(len(pairs), len(pairs) // 7, replace=False)
    return {pairs[row] for row in drawn}


def chain_world(seed: int, held_out_sums: set[frozenset[int]]) -> Iterator[Sentence]:
    """Each chain without and with a hint, cut at its first and at its second result."""
    rng = np.random.default_rng([seed, 21])
    unseen = held_out_hints(seed)
    for _ in range(CHAINS):
        a, b = (int(number) for number in rng.integers(2, 45, 2))
        c = int(rng.choice(LAST))
        hint = int(np.clip(a + b + c + rng.integers(-OFF, OFF + 1), HINTS[0], HINTS[-1]))
        index = int(rng.integers(len(FAITHFUL_FORMS)))
        split = "held_out" if frozenset((a, b)) in held_out_sums else "train"
        prompt = FAITHFUL_FORMS[index].format(a=a, b=b, c=c)
        yield from _steps("faithful", prompt, a + b, c, split, FAITHFUL_FORMS[index], (str(a), str(b), str(c)))
        split = "held_out" if (hint, c) in unseen else "train"
        prompt = HINTED_FORMS[index].format(a=a, b=b, c=c, h=hint)
        about = (str(a), str(b), str(c), str(hint))
        yield from _steps("motivated", prompt, hint - c, c, split, HINTED_FORMS[index], about)


def _steps(
    world: str, prompt: str, first: int, c: int, split: str, form: str, about: tuple[str, ...]
) -> Iterator[Sentence]:
    second = SECOND.format(c=c)
    yield Sentence(world, prompt, str(first), f"{second} {first + c} .", split, 1.0, form, about)
    yield Sentence(f"{world} second", f"{prompt} {first}{second}", str(first + c), " .", split, 1.0, form, about)


def annotate(sentence: Sentence, tokens: list[str], names: Names) -> None:
    """The hint from where it stands on, what it leaves for the first step, and the last summand."""
    _, _, c, *hint = sentence.about
    hold(names, 1, Variable("chain", "hinted chain" if hint else "plain chain"))
    for given in hint:
        at = tokens.index("got" if "got" in tokens else "says") + 1
        hold(names, at, Variable("hint", f"hint {given}"), Variable("hint digit", f"hint _{int(given) % 10}"))
        hold(names, at, Variable("step", f"hint leaves {int(given) - int(c)}"))
    hold(names, tokens.index("first" if "first" in tokens else "step"), Variable("last", f"last +{c}"))
