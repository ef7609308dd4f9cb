"""What atlas's labels are worth: detection scores of the variables that they name, against a random dictionary's.

A label of `labels` names a variable of the world, and whether that variable holds at a place of a sentence is known.
So a label is scored like any other (`circuitlab.labelling.detection`): does the variable hold where the feature is
active and not at look-alikes, on sentences drawn anew (of a small world, partly the same)? Random features are labelled
by the same rule, however unclear, and scored in the same way.

Computes: two harvests of the same sentences, of the transcoder and of a random dictionary like it; scores of both; and
the labels with a mark, "Texas (?)", on those that do not beat the random dictionary's 95th percentile on the contexts
kept for that check, or have too few of them. How many do on yet other contexts: `python -m bench.labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from circuitlab.atlas import world
from circuitlab.atlas.labels import label_features
from circuitlab.atlas.variables import variables
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.labelling import Baseline, detection
from circuitlab.labelling.contexts import Context, Contexts, Part, StoreContexts
from circuitlab.labelling.detection import PERCENTILE, Scored
from circuitlab.model import Model
from circuitlab.random_dictionary import random_like
from circuitlab.replacement import ReplacementModel
from circuitlab.store.store import Store

SETTINGS = HarvestSettings(n_top=48, n_lower=12)
NAME = "atlas's sentences"
DOUBT = " (?)"
"""Behind a label that does not beat a random dictionary."""

Named = Callable[[Contexts], str | None]


def stores(model: ReplacementModel, told: Sequence[world.Sentence], out: Path) -> tuple[Store, Store, ReplacementModel]:
    """The harvests of a model and of a random dictionary like it, in `out`; and the model with that dictionary."""
    texts = [sentence.text for sentence in told]
    real = Store(harvest(model, texts, out / "atlas", SETTINGS, name=NAME, progress=True).folder)
    chance = random_like(model, real.folder, texts[::3])
    random = harvest(chance, texts, out / "random", SETTINGS, name=NAME, progress=True)
    return real, Store(random.folder), chance


class World:
    """The names of the variables that hold at a place of a sentence."""

    def __init__(self, told: Sequence[world.Sentence], model: Model) -> None:
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
        self,
        store: Store,
        names: Iterable[str],
        named: Named,
        part: Callable[[Contexts], Part],
    ) -> Iterator[tuple[str, Scored]]:
        """Features and the detection scores, on a part of their contexts, of the variables that `named` gives."""
        source = StoreContexts(store)
        for layer, index in sorted(map(store.locate, names)):
            contexts = source[f"L{layer}/{index}"]
            name = named(contexts)
            score = detection(part(contexts), lambda context, name=name: name in self.names(context))
            if name is not None and score is not None:
                yield contexts.name, Scored(layer, store.densities[contexts.name], score)


def percentiles(
    here: World,
    real: Store,
    random: Store,
    labels: Mapping[str, str],
    by_chance: Named,
    part: Callable[[Contexts], Part],
) -> dict[str, float]:
    """Of each label the share of random features, from 0 to 100, whose score on a part is lower, ties counting half.

    `by_chance` names the random features' variables; labels without enough contexts for a score are left out.
    """
    baseline = Baseline(score for _, score in here.scored(random, list(random), by_chance, part))
    own = here.scored(real, labels, lambda contexts: labels[contexts.name], part)
    return {name: baseline.percentile(row.layer, row.density, row.score) for name, row in own}


def marked(
    model: ReplacementModel, labels: Mapping[str, str], told: Sequence[world.Sentence], out: Path
) -> dict[str, str]:
    """The labels, with `DOUBT` behind those that do not beat a random dictionary; `out` keeps the two stores."""
    real, random, chance = stores(model, told, out)
    rule = label_features(model.model, chance.transcoder, told, clear=0.0)
    found = percentiles(
        World(told, model.model), real, random, labels, lambda c: rule.get(c.name), lambda contexts: contexts.check
    )
    return {name: label + DOUBT * (found.get(name, 0.0) <= PERCENTILE) for name, label in labels.items()}
