"""What atlas's labels are worth: detection scores against those of a random dictionary.

    python -m bench.labels [--out FOLDER] [--sentences 8000] [--every 1]

    1. a harvest of atlas's own sentences, and one of a random dictionary (same densities, same decoder norms) on them
    2. labels from the evidence, for both; scores on held-out places against look-alikes
    3. atlas's bundled labels name variables of its world (circuitlab/atlas/worth.py), those that did not beat a random
       dictionary on other sentences with a mark; here a random feature is labelled by the same rule, or, which is
       harder, gets the variable that fits its shown places best

Prints of each kind of label how many features have one, its median score, and how many beat the 95th percentile of the
random features of their layer with the nearest densities. FOLDER keeps the two stores for another run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import circuitlab as cl
from circuitlab.atlas.labels import label_features, sample_sentences
from circuitlab.atlas.worth import DOUBT, World, stores
from circuitlab.labelling import Baseline, label_store, random_scores
from circuitlab.labelling.detection import PERCENTILE
from circuitlab.labelling.run import Report
from circuitlab.replacement import ATLAS

CONFIDENCES = (0.7, 0.75, 0.8, 0.85)


def tell(what: str, n_all: int, percentiles: list[float], scores: list[float]) -> None:
    beat = np.mean([percentile > PERCENTILE for percentile in percentiles])
    print(
        f"{what}: {len(scores):,} of {n_all:,} features, median score {np.median(scores):.3f}; {beat:.1%} beat the bar"
    )


def tell_evidence(report: Report, clear: float) -> None:
    """Of the features that `CLEAR` was chosen on (even indices), and of the others."""
    for part, where in ((0, "even indices, to choose from"), (1, "odd indices, to report")):
        features = [row for row in report.features if int(row.name.partition("/")[2]) % 2 == part]
        rows = [row for row in features if row.label and (row.confidence or 0) >= clear and row.percentile is not None]
        percentiles, scores = [row.percentile or 0.0 for row in rows], [row.score or 0.0 for row in rows]
        tell(f"labels from the evidence, confidence {clear} or more, {where}", len(features), percentiles, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the two stores are kept")
    parser.add_argument("--sentences", type=int, default=8000)
    parser.add_argument("--every", type=int, default=1, help="score every n-th feature")
    given = parser.parse_args()
    torch.set_num_threads(2)
    model, told = cl.load(device="cpu"), sample_sentences(given.sentences, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        real, random, by_chance = stores(model, told, given.out or Path(folder))
        names, chance = list(real)[:: given.every], list(random)[:: given.every]
        report = label_store(real, names, clear=min(CONFIDENCES), baseline=random_scores(random, chance), write=False)
        for clear in CONFIDENCES:
            tell_evidence(report, clear)
        here = World(told, model.model)
        bundled = json.loads((ATLAS / "labels.json").read_text("utf-8"))
        rule = label_features(model.model, by_chance.transcoder, told, clear=0.0)
        for what, named in (("the same rule", lambda c: rule.get(c.name)), ("the best variable", here.best)):
            baseline = Baseline(row for _, row in here.scored(random, chance, named, lambda c: c.held_out))
            for kind, doubtful in (("without a mark", False), ("marked (?)", True)):
                some = [name for name in names if name in bundled and bundled[name].endswith(DOUBT) == doubtful]
                scored = [
                    row
                    for _, row in here.scored(
                        real, some, lambda c: bundled[c.name].removesuffix(DOUBT), lambda c: c.held_out
                    )
                ]
                percentiles = [baseline.percentile(row.layer, row.density, row.score) for row in scored]
                scores = [row.score for row in scored]
                tell(f"bundled labels {kind}, random features by {what}", len(names), percentiles, scores)


if __name__ == "__main__":
    main()
