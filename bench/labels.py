"""What atlas's labels are worth: detection scores against those of a random dictionary.

    python -m bench.labels [--out FOLDER] [--sentences 6000] [--every 1]

    1. a harvest of atlas's own sentences, and one of a random dictionary (same densities, same decoder norms) on them
    2. labels from the evidence, for both; scores on held-out places against look-alikes
    3. atlas's bundled labels name variables of its world: a place fits where the variable holds there; a random
       feature is labelled by the same rule, or, which is harder, gets the variable that fits its shown places best

Prints of each kind of label how many features have one, its median score, and how many beat the 95th percentile of the
random features of their layer with the nearest densities. FOLDER keeps the two stores for another run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

import circuitlab as cl
from circuitlab.atlas import world
from circuitlab.atlas.labels import label_features, sample_sentences
from circuitlab.atlas.variables import variables
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.labelling import Baseline, detection, label_store, random_scores
from circuitlab.labelling.contexts import Context, Contexts, StoreContexts
from circuitlab.labelling.detection import PERCENTILE, Scored
from circuitlab.labelling.run import Report
from circuitlab.model import Model
from circuitlab.random_dictionary import random_like
from circuitlab.replacement import ATLAS

SETTINGS = HarvestSettings(n_top=24, n_lower=6)
CLEAR = (0.7, 0.8, 0.85)


def stores(out: Path, n_sentences: int) -> tuple[cl.Store, cl.Store, list[world.Sentence], Model, dict[str, str]]:
    """The harvests of atlas and of a random dictionary, and what the rule of the bundled labels calls the latter."""
    model = cl.load()
    told = sample_sentences(n_sentences, seed=1)
    texts = [sentence.text for sentence in told]
    real = cl.Store(harvest(model, texts, out / "atlas", SETTINGS, name="atlas's sentences", progress=True).folder)
    chance = random_like(model, real.folder, texts[::3])
    random = harvest(chance, texts, out / "random", SETTINGS, name="atlas's sentences", progress=True)
    by_chance = label_features(model.model, chance.transcoder, told, clear=0.0)
    return real, cl.Store(random.folder), told, model.model, by_chance


class World:
    """The names of the variables that hold at a place of a sentence."""

    def __init__(self, told: list[world.Sentence], model: Model) -> None:
        self.told, self.model = told, model
        self.kept: dict[int, list[set[str]]] = {}

    def names(self, context: Context) -> set[str]:
        assert context.record is not None
        record, position = context.record
        if record not in self.kept:
            sentence = self.told[record]
            tokens = self.model.tokenizer.convert_ids_to_tokens(self.model.to_tokens(sentence.text).tolist())
            self.kept[record] = [{variable.name for variable in here} for here in variables(sentence, tokens)]
        return self.kept[record][position]

    def best(self, contexts: Contexts) -> str | None:
        """The variable that separates the shown places best."""
        active = [self.names(context) for context in contexts.shown.active]
        inactive = [self.names(context) for context in contexts.shown.inactive]
        if not active or not inactive:
            return None
        rates = {
            name: np.mean([name in here for here in active]) - np.mean([name in here for here in inactive])
            for name in sorted(set().union(*active))
        }
        return max(rates, key=lambda name: rates[name])

    def scored(
        self, store: cl.Store, names: Iterable[str], named: Callable[[Contexts], str | None]
    ) -> Iterator[Scored]:
        """The detection scores of the variables that `named` gives."""
        source = StoreContexts(store)
        for layer, index in sorted(map(store.locate, names)):
            contexts = source[f"L{layer}/{index}"]
            name = named(contexts)
            score = detection(contexts.held_out, lambda context, name=name: name in self.names(context))
            if name is not None and score is not None:
                yield Scored(layer, store.densities[contexts.name], score)


def tell(what: str, n_all: int, percentiles: list[float], scores: list[float]) -> None:
    beat = np.mean([percentile > PERCENTILE for percentile in percentiles])
    print(
        f"{what}: {len(scores):,} of {n_all:,} features, median score {np.median(scores):.3f}; {beat:.1%} beat the bar"
    )


def tell_evidence(report: Report, clear: float) -> None:
    rows = [row for row in report.labelled if (row.confidence or 0) >= clear and row.percentile is not None]
    percentiles, scores = [row.percentile or 0.0 for row in rows], [row.score or 0.0 for row in rows]
    tell(f"labels from the evidence, confidence {clear} or more", len(report.features), percentiles, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the two stores are kept")
    parser.add_argument("--sentences", type=int, default=6000)
    parser.add_argument("--every", type=int, default=1, help="score every n-th feature")
    given = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        real, random, told, model, by_chance = stores(given.out or Path(folder), given.sentences)
        names, chance = list(real)[:: given.every], list(random)[:: given.every]
        report = label_store(real, names, clear=min(CLEAR), baseline=random_scores(random, chance), write=False)
        for clear in CLEAR:
            tell_evidence(report, clear)
        here = World(told, model)
        bundled = json.loads((ATLAS / "labels.json").read_text("utf-8"))
        labelled = [name for name in names if name in bundled]
        scored = list(here.scored(real, labelled, lambda contexts: bundled[contexts.name]))
        for what, named in (("the same rule", lambda c: by_chance.get(c.name)), ("the best variable", here.best)):
            baseline = Baseline(here.scored(random, chance, named))
            percentiles = [baseline.percentile(row.layer, row.density, row.score) for row in scored]
            tell(
                f"bundled labels, random features labelled by {what}",
                len(names),
                percentiles,
                [s.score for s in scored],
            )


if __name__ == "__main__":
    main()
