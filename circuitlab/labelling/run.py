"""Labels for the features of a store, and their scores.

    report = label_store(Store("evidence/"), baseline=random_scores(Store("random/")))
    report.table                  # name, label, confidence, score, percentile, why_none

Reads a store; writes its label history (source "evidence").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace

import pandas as pd

from circuitlab.evidence import parse_name
from circuitlab.labelling.contexts import Contexts, StoreContexts
from circuitlab.labelling.detection import PERCENTILE, Baseline, Scored, detection
from circuitlab.labelling.from_evidence import CLEAR, Proposal, propose
from circuitlab.store.labels import Label
from circuitlab.store.store import Store

SOURCE = "evidence"


@dataclass(frozen=True)
class Labelled:
    """One feature's label, or why it has none; `percentile` among a random dictionary's features like it."""

    name: str
    label: str = ""
    confidence: float | None = None
    score: float | None = None
    percentile: float | None = None
    why_none: str = ""


@dataclass(frozen=True)
class Report:
    """What was labelled; `beaten` is the share of the scored labels above the random dictionary's 95th percentile."""

    features: tuple[Labelled, ...]
    stopped: str = ""

    @property
    def table(self) -> pd.DataFrame:
        """One row per feature: the fields of `Labelled`."""
        return pd.DataFrame([astuple(row) for row in self.features], columns=[f.name for f in fields(Labelled)])

    @property
    def labelled(self) -> tuple[Labelled, ...]:
        return tuple(feature for feature in self.features if feature.label)

    @property
    def beaten(self) -> float | None:
        """Missing without a baseline."""
        compared = [f.percentile for f in self.labelled if f.percentile is not None]
        return sum(percentile > PERCENTILE for percentile in compared) / len(compared) if compared else None

    def summary(self) -> dict[str, float | int | str | None]:
        """Counts, the median score of the labels, and how many beat chance."""
        scores = [f.score for f in self.labelled if f.score is not None]
        return {
            "features": len(self.features),
            "labelled": len(self.labelled),
            "scored": len(scores),
            "median score": float(pd.Series(scores).median()) if scores else None,
            "beat the random dictionary's 95th percentile": self.beaten,
            **({"stopped": self.stopped} if self.stopped else {}),
        }


def label_store(
    store: Store,
    names: Iterable[str] | None = None,
    *,
    clear: float | int = CLEAR,
    baseline: Baseline | None = None,
    seed: int = 0,
    write: bool = True,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Label features of a store from its evidence and score the labels; all features unless `names` are given.

    `clear` is the least confidence of a label. With a `baseline` a label must also beat the random dictionary's 95th
    percentile on the contexts kept for that check; what it is scored on are others. With `write` labels go into the
    store's history; a feature for which the labeller abstains now loses the label that it had from the evidence.
    `progress` is told after every feature.
    """
    density, before = store.densities, _labelled_before(store)
    found: list[Labelled] = []
    waiting: list[Label] = []
    for contexts in _in_order(store, names, seed):
        proposal = propose(contexts, clear)
        if baseline is not None and proposal.label:
            proposal = _checked(proposal, contexts, baseline, density)
        score = _score(contexts, proposal) if proposal.label else None
        percentile = None
        if score is not None and baseline is not None:
            layer = _layer(contexts.name)
            percentile = baseline.percentile(layer, density.get(contexts.name, 0.0), score)
        said = (proposal.label, proposal.confidence, score, percentile, proposal.why_none)
        found.append(Labelled(contexts.name, *said))
        if proposal.label or contexts.name in before:
            waiting.append(Label(contexts.name, proposal.label, SOURCE, score, proposal.confidence))
        if progress:
            progress(1)
    if write:
        store.history.add(waiting)
    return Report(tuple(found))


def random_scores(
    store: Store, names: Iterable[str] | None = None, seed: int = 0, progress: Callable[[int], object] | None = None
) -> Baseline:
    """The scores of the best rules for the features of a random dictionary's store, none left out for being weak."""
    density = store.densities
    scored = []
    for contexts in _in_order(store, names, seed):
        score = _score(contexts, propose(contexts, 0.0))
        if score is not None:
            scored.append(Scored(_layer(contexts.name), density.get(contexts.name, 0.0), score))
        if progress:
            progress(1)
    return Baseline(scored)


def _in_order(store: Store, names: Iterable[str] | None, seed: int) -> Iterator[Contexts]:
    """The contexts of features, layer by layer."""
    source = StoreContexts(store, seed)
    places = sorted(store.locate(name) for name in (store if names is None else names))
    return (source[f"L{layer}/{index}"] for layer, index in places)


def _labelled_before(store: Store) -> set[str]:
    table = store.history.table()
    rows = zip(table["name"], table["label"], table["source"], strict=True)
    newest = {name: label for name, label, source in rows if source == SOURCE}
    return {name for name, label in newest.items() if label}


def _score(contexts: Contexts, proposal: Proposal) -> float | None:
    return detection(contexts.held_out, proposal.predicate.holds) if proposal.predicate else None


def _checked(proposal: Proposal, contexts: Contexts, baseline: Baseline, density: Mapping[str, float]) -> Proposal:
    """The proposal, without its label where that tells the contexts of the check no better than a random one would."""
    assert proposal.predicate is not None
    score = detection(contexts.check, proposal.predicate.holds)
    bar = baseline.bar(_layer(contexts.name), density.get(contexts.name, 0.0))
    if score is not None and score > bar:
        return proposal
    said = "has too few contexts to be checked on"
    if score is not None:
        said = f"scores {score:.2f} where chance gives {bar:.2f}"
    return replace(proposal, label="", why_none=f"the best rule, {proposal.predicate}, {said}")


def _layer(name: str) -> int:
    place = parse_name(name)
    assert place is not None
    return place[0]
