"""Places in texts at which a feature is active or not: what a label is made from, and what it is tested on.

A context is a text and a position in it. A feature's contexts come in three parts: a half that a labeller is shown, a
quarter to check the label on, a quarter held out for its score. Each part has places where the feature is clearly
active (the peaks of its examples that reach `ACTIVE` of its largest activation) and look-alikes where it is not active:

    similar     peaks of the features of its layer with the nearest encoders, and of others where these do not suffice
    same token  other places of its own examples with a token that it peaks at, where it is not active
    elsewhere   any other place of its own examples where it is not active

An example belongs to one part with all its places. Whether the feature is silent at another feature's peak is known
where that text is among its own examples, and such places are dropped if it is not; else it is inferred: features that
are active together with it too often (`OVERLAP`) lend no look-alikes.

Reads a store (`StoreContexts`) or an `Evidence` alone (`contexts_of`), without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from circuitlab.evidence import Evidence, parse_name
from circuitlab.store.schema import EXAMPLES, FEATURES, examples_file, features_file
from circuitlab.store.store import MOST_EXAMPLES, Store

ACTIVE = 0.2
OVERLAP = 0.05
"""The largest share of a similar feature's positions at which this one may be active, by the co-activations counted."""
N_SIMILAR = 16
MOST_FEATURES = 2**26
"""Features of a layer that arrays are made for."""
TURNS = (0, 1, 0, 2)
"""To which part the examples go in turn: shown, check, shown, held out."""


@dataclass(frozen=True)
class Context:
    """A text and the position in it that is asked about; `record` is where in the corpus the text is from, if known."""

    tokens: tuple[str, ...]
    position: int
    activation: float | int = 0.0
    record: tuple[int, int] | None = None

    @property
    def token(self) -> str:
        return self.tokens[self.position]


@dataclass(frozen=True)
class Part:
    """Places where a feature is active and look-alikes where it is not; of one part of the contexts."""

    active: tuple[Context, ...] = ()
    inactive: tuple[Context, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.active and self.inactive)


@dataclass(frozen=True)
class Contexts:
    """A feature's contexts: `shown` to whoever labels it, `check` to keep or drop the label, `held_out` to score it."""

    name: str
    shown: Part
    check: Part
    held_out: Part
    promoted: tuple[str, ...] = ()


def contexts_of(evidence: Evidence, look_alikes: Iterable[Context] = ()) -> Contexts:
    """The contexts of an `Evidence` alone; `look_alikes` are places elsewhere at which the feature is silent."""
    parts: list[tuple[list[Context], list[Context]]] = [([], []), ([], []), ([], [])]
    floor = ACTIVE * max((example.activations[example.peak] for example in evidence.examples), default=0.0)
    clear = [example for example in evidence.examples if example.activations[example.peak] >= floor]
    peaks = {example.tokens[example.peak] for example in clear}
    for at, example in enumerate(clear):
        active, inactive = parts[TURNS[at % 4]]
        active.append(Context(example.tokens, example.peak, example.activations[example.peak]))
        silent = [p for p, value in enumerate(example.activations) if p and value == 0]
        same = [p for p in silent if example.tokens[p] in peaks]
        other = [p for p in silent if example.tokens[p] not in peaks]
        inactive += [Context(example.tokens, p) for p in same[:1] + _spread(other, 1)]
    for at, context in enumerate(look_alikes):
        parts[TURNS[at % 4]][1].append(context)
    shown, check, held_out = (Part(tuple(active), tuple(inactive)) for active, inactive in parts)
    return Contexts(evidence.name, shown, check, held_out, tuple(weight.token for weight in evidence.promoted))


def _spread(places: Sequence[int], n: int) -> list[int]:
    """n of some places, evenly."""
    inside = np.linspace(-1, len(places), min(n, len(places)) + 2)[1:-1]
    return [places[at] for at in sorted({round(place) for place in inside})]


@dataclass(frozen=True)
class LayerExamples:
    """All examples of one layer as flat arrays: those of feature f are rows `starts[f]:starts[f + 1]`."""

    starts: np.ndarray
    peak: np.ndarray
    record: np.ndarray
    position: np.ndarray
    offset: np.ndarray
    token_ids: np.ndarray
    activations: np.ndarray

    @staticmethod
    def of(table: pa.Table, n_features: int) -> LayerExamples:
        column = {name: table[name].combine_chunks() for name in table.column_names}
        index = column["index"].to_numpy()
        return LayerExamples(
            starts=np.searchsorted(index, np.arange(n_features + 1)),
            peak=column["peak"].to_numpy(),
            record=column["record"].to_numpy(),
            position=column["position"].to_numpy(),
            offset=column["token_ids"].offsets.to_numpy(),
            token_ids=column["token_ids"].values.to_numpy(),
            activations=column["activations"].values.to_numpy(),
        )

    def rows(self, feature: int) -> range:
        return range(int(self.starts[feature]), int(self.starts[feature + 1]))

    def tokens(self, row: int) -> np.ndarray:
        return self.token_ids[self.offset[row] : self.offset[row + 1]]

    def along(self, row: int) -> np.ndarray:
        return self.activations[self.offset[row] : self.offset[row + 1]]

    def place(self, row: int, at: int) -> tuple[int, int]:
        """Record and position of the token `at` of an example."""
        return int(self.record[row]), int(self.position[row]) - int(self.peak[row]) + at

    def prefix(self, row: int, at: int) -> bytes:
        """The tokens of an example up to `at`: the same text gives the same activations."""
        return self.tokens(row)[: at + 1].tobytes()


@dataclass
class StoreContexts:
    """The contexts of the features of a store, layer by layer; look-alikes are drawn from `seed`."""

    store: Store
    seed: int = 0
    _layers: dict[int, _Layer] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Contexts:
        place = parse_name(name)
        if place is None:
            raise ValueError(f"{name!r} names no feature: write L3/55")
        layer, index = place
        if self.store.manifest.n_features > MOST_FEATURES:
            raise ValueError(f"{self.store.folder} claims more than {MOST_FEATURES:,} features a layer")
        if layer not in self._layers:
            self._layers.clear()
            self._layers[layer] = _Layer.read(self.store, layer)
        try:
            return self._layers[layer].contexts(index, self.seed)
        except (IndexError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.store.folder}: {name} or its examples do not fit together: {error}") from error


@dataclass
class _Layer:
    """One layer of a store in memory."""

    layer: int
    examples: LayerExamples
    strings: np.ndarray
    features: pa.Table
    per_position: float

    @staticmethod
    def read(store: Store, layer: int) -> _Layer:
        manifest = store.manifest
        many = MOST_EXAMPLES * manifest.n_features
        examples = pq.read_table(store.tables.check(examples_file(layer), EXAMPLES, many))
        columns = ["index", "n_active", "promoted", "coactive", "nearest"]
        features = pq.read_table(
            store.tables.check(features_file(layer), FEATURES, manifest.n_features), columns=columns
        )
        strings = np.array(store.tokens, dtype=object)
        share = manifest.coactivation_positions / max(manifest.n_tokens, 1)
        return _Layer(layer, LayerExamples.of(examples, manifest.n_features), strings, features, share)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {index: row for row, index in enumerate(self.features["index"].to_pylist())}

    @cached_property
    def _n_active(self) -> np.ndarray:
        counts = np.zeros(len(self.examples.starts) - 1, np.int64)
        counts[self.features["index"].to_numpy()] = self.features["n_active"].fill_null(0).to_numpy()
        return counts

    def contexts(self, index: int, seed: int) -> Contexts:
        """All parts of one feature's contexts; empty ones for a feature without examples."""
        name = f"L{self.layer}/{index}"
        if index not in self._rows:
            return Contexts(name, Part(), Part(), Part())
        rng = np.random.default_rng([seed, self.layer, index])
        rows = self.examples.rows(index)
        heights = [float(self.examples.along(row)[self.examples.peak[row]]) for row in rows]
        floor = ACTIVE * max(heights, default=0.0)
        clear = [row for row, height in zip(rows, heights, strict=True) if height >= floor]
        similar = self._similar(index, _known(self.examples, rows), rng, len(clear))
        turns = (slice(0, None, 2), slice(1, None, 4), slice(3, None, 4))
        shown, check, held_out = (self._part(clear, similar, rng, turn) for turn in turns)
        promoted = self.features["promoted"][self._rows[index]].as_py() or []
        tokens = tuple(str(self.strings[token["token_id"]]) for token in promoted)
        return Contexts(name, shown, check, held_out, tokens)

    def _part(self, own: list[int], similar: list[tuple[int, int]], rng: np.random.Generator, turns: slice) -> Part:
        rows = own[turns]
        n = len(rows)
        peaks = {int(self.examples.tokens(row)[self.examples.peak[row]]) for row in own}
        same, other = [], []
        for row in rows:
            tokens, along = self.examples.tokens(row), self.examples.along(row)
            for at in np.flatnonzero(along == 0).tolist():
                if self.examples.place(row, at)[1] > 0:
                    (same if int(tokens[at]) in peaks else other).append((row, at))
        lent = similar[turns]
        chosen = lent[:n] + _drawn(same, n, rng) + _drawn(other, n, rng)
        active = tuple(self._context(row, int(self.examples.peak[row]), own=True) for row in rows)
        return Part(active, tuple(self._context(row, at) for row, at in chosen))

    def _context(self, row: int, at: int, own: bool = False) -> Context:
        activation = float(self.examples.along(row)[at]) if own else 0.0
        tokens = tuple(self.strings[self.examples.tokens(row)].tolist())
        return Context(tokens, at, activation, self.examples.place(row, at))

    def _similar(
        self, index: int, known: dict[object, bool], rng: np.random.Generator, n: int
    ) -> list[tuple[int, int]]:
        """Up to n peaks of similar features at which this one is silent, as rows and places, in a random order."""
        others = self._lenders(index)
        rest = rng.permutation(len(self._n_active)).tolist()
        found: list[tuple[int, int]] = []
        for count, other in enumerate([*others, *rest]):
            if len(found) >= n or count > len(others) + 4 * N_SIMILAR:
                break
            if other == index:
                continue
            rows = list(self.examples.rows(other))
            each = max(n // max(len(others), 1), 2)
            for row in _drawn(rows, each, rng):
                at = int(self.examples.peak[row])
                active = known.get(self.examples.place(row, at), known.get(self.examples.prefix(row, at), False))
                if not active:
                    found.append((row, at))
        return [found[at] for at in rng.permutation(len(found)).tolist()][:n]

    def _lenders(self, index: int) -> list[int]:
        """The most similar features that are hardly ever active together with this one, the most similar first."""
        row = self._rows[index]
        together = {
            partner["index"]: partner["count"]
            for partner in self.features["coactive"][row].as_py() or []
            if partner["layer"] == self.layer
        }
        near = [other["index"] for other in self.features["nearest"][row].as_py() or []]
        sampled = self._n_active * self.per_position
        return [f for f in near if together.get(f, 0) <= OVERLAP * sampled[f]][:N_SIMILAR]


def _known(examples: LayerExamples, own: range) -> dict[object, bool]:
    """Whether the feature is active, by place in the corpus and by tokens up to it, wherever its examples say so."""
    known: dict[object, bool] = {}
    for row in own:
        for at, value in enumerate(examples.along(row).tolist()):
            known[examples.place(row, at)] = known[examples.prefix(row, at)] = value > 0
    return known


def _drawn(places: list, n: int, rng: np.random.Generator) -> list:
    if len(places) <= n:
        return list(places)
    return [places[at] for at in rng.choice(len(places), n, replace=False).tolist()]
