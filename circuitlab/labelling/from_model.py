"""Labels by a language model, scored by asking it which held-out contexts they fit.

Every feature costs two requests at most, one for the label and one for the score, and one more for each answer that is
nonsense and asked for again. Labels are written into the store's history (source "language model") every `KEEP_EVERY`
features and whatever ends the run: a used-up budget, an endpoint that fails, a person who interrupts; answers are
cached, so the same call goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from circuitlab.labelling.contexts import Context, Contexts, Part, StoreContexts
from circuitlab.labelling.detection import Baseline, detection
from circuitlab.labelling.endpoint import Endpoint, EndpointFailed, Spent
from circuitlab.labelling.prompts import Messages, Nonsense, label_messages, read_fits, read_label, score_messages
from circuitlab.labelling.run import Labelled, Report
from circuitlab.store.labels import Label
from circuitlab.store.store import Store

SOURCE = "language model"
T = TypeVar("T")
KEEP_EVERY = 20
N_SCORED = 10
"""Held-out contexts of either kind that a score asks about."""


@dataclass
class _Run:
    """What was found and what waits to be written."""

    store: Store
    endpoint: Endpoint
    baseline: Baseline | None
    seed: int
    found: list[Labelled] = field(default_factory=list)
    waiting: list[Label] = field(default_factory=list)

    def keep(self) -> None:
        self.store.history.add(self.waiting)
        self.waiting = []

    def label(self, contexts: Contexts) -> None:
        """One feature; an answer that is nonsense twice leaves it without a label and the run going."""
        name = contexts.name
        if not contexts.shown.active:
            self.found.append(Labelled(name, why_none="it has no examples"))
            return
        try:
            answer = self._asked(label_messages(contexts), read_label)
        except Nonsense as error:
            self.found.append(Labelled(name, why_none=f"the language model's answer is nonsense: {error}"))
            return
        if not answer.label:
            self.found.append(Labelled(name, why_none="the language model saw nothing that the examples share"))
            return
        try:
            score, why = self._score(answer.label, contexts), ""
        except Nonsense as error:
            score, why = None, f"not scored: {error}"
        percentile = None
        if score is not None and self.baseline is not None:
            layer = self.store.locate(name)[0]
            percentile = self.baseline.percentile(layer, self.store.densities.get(name, 0.0), score)
        self.found.append(Labelled(name, answer.label, answer.confidence, score, percentile, why))
        self.waiting.append(Label(name, answer.label, SOURCE, score, answer.confidence))

    def _score(self, label: str, contexts: Contexts) -> float | None:
        held_out = contexts.held_out
        part = Part(_first(held_out.active), _first(held_out.inactive))
        if detection(part, lambda _: True) is None:
            return None
        asked = [*part.active, *part.inactive]
        order = np.random.default_rng([self.seed, *self.store.locate(contexts.name)]).permutation(len(asked)).tolist()
        shuffled = [asked[at] for at in order]
        fits = self._asked(score_messages(label, shuffled), lambda answer: read_fits(answer, len(shuffled)))
        chosen = {id(shuffled[at]) for at in fits}
        return detection(part, lambda context: id(context) in chosen)

    def _asked(self, messages: Messages, read: Callable[[str], T]) -> T:
        """What an answer says; nonsense is asked for once more."""
        try:
            return read(self.endpoint.ask(messages))
        except Nonsense:
            self.endpoint.forget(messages)
            return read(self.endpoint.ask(messages))


def label_with_model(
    store: Store,
    endpoint: Endpoint,
    names: Iterable[str] | None = None,
    *,
    baseline: Baseline | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Have a language model label features of a store; those without such a label yet, unless `names` are given.

    Never raises for what the endpoint does: `Report.stopped` says why the run ended early, and what was labelled until
    then is kept. A `baseline` must be of scores by the same language model to be fair.
    """
    done = set()
    if names is None:
        table = store.history.table()
        done = {name for name, source in zip(table["name"], table["source"], strict=True) if source == SOURCE}
    source, run, stopped = StoreContexts(store, seed), _Run(store, endpoint, baseline, seed), ""
    places = sorted(store.locate(name) for name in (store if names is None else names) if name not in done)
    try:
        for layer, index in places:
            run.label(source[f"L{layer}/{index}"])
            if len(run.waiting) >= KEEP_EVERY:
                run.keep()
            if progress:
                progress(1)
    except (Spent, EndpointFailed) as error:
        stopped = f"after {len(run.found):,} of {len(places):,} features: {error}"
    finally:
        run.keep()
    return Report(tuple(run.found), stopped)


def _first(contexts: Sequence[Context]) -> tuple[Context, ...]:
    """Up to `N_SCORED` contexts, evenly."""
    if len(contexts) <= N_SCORED:
        return tuple(contexts)
    return tuple(contexts[at * len(contexts) // N_SCORED] for at in range(N_SCORED))
