"""Do larger models share more of their features between languages? Three sizes, trained on the same words.

    python -m circuitlab.atlas sizes --out FOLDER      # trains them, half an hour
    python -m bench.sizes FOLDER

Prints of each size its right answers and, by layer, the features that the same question has in common in English,
French and Chinese (IoU with 95% intervals), beside those of another word and of unrelated texts
(bench/studies/languages.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import circuitlab as cl
from bench.studies.languages import shared
from circuitlab.atlas import build, evaluate, sizes, world


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    told = [sentence for sentence in world.sentences(0) if sentence.world in sizes.MIXTURE]
    for name in sizes.SIZES:
        plain, words = build.read_model(folder / name / "model")
        right = evaluate.accuracy(plain, words, told, limit=400)
        print(f"{name}: {sum(weight.numel() for weight in plain.parameters()):,} parameters")
        print(right.to_string(index=False, float_format=lambda share: f"{share:.1%}"))
        model = cl.load(folder / name / "model", folder / name / "clt", device="cpu", check=False)
        table = shared(model)
        print(table.to_string(index=False, float_format=lambda share: f"{share:.1%}"))
        middle = table[table["layer"].between(1, model.model.n_layers - 2)].groupby("texts")["share"].mean()
        print(middle.to_string(float_format=lambda share: f"{share:.1%}"), flush=True)


if __name__ == "__main__":
    main()
