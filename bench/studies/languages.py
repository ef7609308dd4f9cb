"""Many languages: operation, operand and language swapped, and how many features two languages share, layer by layer.

The swaps are those of `bench.interventions words`. Shared features need no width and no depth: `shared(model)` runs on
any model that knows the words.
"""

from __future__ import annotations

import pandas as pd

import circuitlab as cl
from bench.interventions import language_swap, operand, operation, prompts
from bench.studies.table import Row
from circuitlab.atlas import words

SHIFT = (5, 11)
"""How far away in the table the words are that English is held against, in French and in Chinese."""


def groups() -> dict[str, list[list[str]]]:
    """Groups of three texts, one of each language: the same question; another word's; an unrelated one.

    Unrelated means another word and another question: its opposite, against its synonym.
    """
    everything = [(pair, side) for pair in range(len(words.PAIRS.strip().splitlines())) for side in (0, 1)]

    def others(shift: int) -> list[tuple[int, int]]:
        return [everything[(number + 2 * shift) % len(everything)] for number in range(len(everything))]

    moved = (everything, *(others(shift) for shift in SHIFT))
    found: dict[str, list[list[str]]] = {"same": [], "other word": [], "unrelated": []}
    for form, different in (("antonym", "synonym"), ("synonym", "antonym")):
        same = [prompts(language, form, everything) for language in words.LANGUAGES]
        apart = [prompts(lang, form, some) for lang, some in zip(words.LANGUAGES, moved, strict=True)]
        found["same"] += map(list, zip(*same, strict=True))
        found["other word"] += map(list, zip(*apart, strict=True))
        # English asks one thing, French and Chinese the other: pairs of languages take turns in what they are asked
        for asked in range(3):
            mixed = [
                prompts(lang, form if number == asked else different, some)
                for number, (lang, some) in enumerate(zip(words.LANGUAGES, moved, strict=True))
            ]
            pairs = [[texts[asked], texts[(asked + 1) % 3]] for texts in zip(*mixed, strict=True)]
            found["unrelated"] += pairs
    return found


def shared(model: cl.ReplacementModel) -> pd.DataFrame:
    """`layer`, `texts` ("same", "other word", "unrelated"), `share`, `low`, `high`: IoU of features."""
    parts = [cl.shared_features(model, texts).assign(texts=name) for name, texts in groups().items()]
    return pd.concat(parts, ignore_index=True)


def shared_rows(model: cl.ReplacementModel) -> list[Row]:
    """One row per layer; there is no mark. The note holds the interval and the other groups of texts."""
    table = shared(model).set_index(["texts", "layer"])
    n = len(groups()["same"])
    rows = []
    for layer in range(model.model.n_layers):
        same, word, none = (table.loc[name, layer] for name in ("same", "other word", "unrelated"))
        note = (
            f"[{same.low:.1%}, {same.high:.1%}]; another word {word.share:.1%} [{word.low:.1%}, {word.high:.1%}]; "
            f"unrelated {none.share:.1%} [{none.low:.1%}, {none.high:.1%}]"
        )
        rows.append(Row("languages", f"shared features, layer {layer}", float(same.share), n, mark=0.0, note=note))
    shares = table.loc["same", "share"].to_numpy(float)
    first, middle, end = shares[0], float(shares[1:-1].mean()), shares[-1]
    note = f"middle {middle:.1%}, first {first:.1%}, last {end:.1%}"
    rows.append(Row("languages", "shared features, middle layers less first", middle - first, n, mark=0.0, note=note))
    return rows


def rows(model: cl.ReplacementModel) -> list[Row]:
    """The swaps, and the shares."""
    return [*operation(model), *operand(model), *language_swap(model), *shared_rows(model)]
