"""The store of a harvest: what is known of each feature, read from Parquet in milliseconds, without torch.

    store = cl.Store("evidence/")
    store["L3/55"], store[3, 55]                  # Evidence: examples, histograms, density, promoted tokens
    store.search("rabbit")                        # labels, promoted tokens
    store.filter(layer=3, density=(0, 0.01))      # a table
    store.label("L3/55", "Texas")                 # kept beside it, with history
    store.export("features/", kind="packed")      # for other tools

It satisfies `evidence.FeatureSource`, so that a dashboard shows it with no model at hand. What needs a model (live
activations, virtual weights) is `model.features.attach(store)`. Layout of the folder: `circuitlab.store.schema`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from circuitlab.evidence import NEURONS, Evidence, Example, Histogram, TokenWeight, locate
from circuitlab.store.labels import Label, Labels
from circuitlab.store.schema import (
    EXAMPLES,
    FEATURES,
    TOKENS,
    TOKENS_FILE,
    Manifest,
    examples_file,
    features_file,
)
from circuitlab.store.search import SearchIndex
from circuitlab.store.tables import RowGroups, Tables, literal

MOST_EXAMPLES = 2_000
"""Examples of one feature that a file may claim on average."""
MOST_TOKENS = 10_000_000
WALK = 256
"""Features read at once when all are read."""
EXAMPLE_COLUMNS = ("quantile", "quantile_name", "rank", "token_ids", "activations", "peak", "copies")
NEEDS_MODEL = "Needs the model: model.features.attach(store) reads it from the weights."


class Store:
    """An opened store. Opening reads the manifest and looks whether the files are there; the rest when it is needed.

    Raises FileNotFoundError for a folder that is no store or lacks a file, ValueError for one of another version.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.tables = Tables(self.folder)
        self.history = Labels(self.folder)
        self._named: tuple[object, Mapping[str, str]] = (self, MappingProxyType({}))
        self._index = SearchIndex(self)
        names = itertools.chain([TOKENS_FILE], map(features_file, self._layers), map(examples_file, self._layers))
        absent = next((name for name in names if not (self.folder / name).is_file()), None)
        if absent is not None:
            raise FileNotFoundError(f"{self.folder / absent}: this file of the store is missing; harvest it again")

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"Store({str(self.folder)!r}: {manifest.n_layers} layers x {manifest.n_features} features, "
            f"{manifest.n_tokens:,} tokens of {manifest.corpus}, {len(self.labels)} labels)"
        )

    @property
    def _layers(self) -> range:
        return range(self.manifest.n_layers)

    # ---- one feature ----

    def __getitem__(self, key: Any) -> Evidence:
        """What is known of a feature, named "L3/55" or [3, 55]. ValueError for what is none, with the valid range."""
        layer, index = self.locate(key)
        found = self.find(layer, index)
        if found is None:
            raise ValueError(f"this store holds no evidence of L{layer}/{index}")
        return found

    def find(self, layer: int, index: int) -> Evidence | None:
        """What is known of a feature; None where it has no row, as in stores made from other tools' files."""
        return next(self._read(layer, index, index + 1), None)

    def example_token_ids(self, layer: int, index: int) -> list[list[int]]:
        """The token ids of a feature's examples, in the order of `Evidence.examples`; none in an imported store, whose
        token ids are its own."""
        if self.manifest.transcoder.get("imported"):
            return []
        return [row["token_ids"] for row in self._example_rows(layer, index, index + 1)]

    def locate(self, key: Any) -> tuple[int, int]:
        """Layer and index of a feature; ValueError for what is no feature of this store, with the valid range."""
        return locate(key, self.manifest.n_layers, self.manifest.n_features, self.labels)

    def __iter__(self) -> Iterator[str]:
        """The names of all features that have a row."""
        summary = self.summary
        yield from (f"L{layer}/{index}" for layer, index in zip(summary["layer"], summary["index"], strict=True))

    def __len__(self) -> int:
        return len(self.summary)

    def __contains__(self, key: Any) -> bool:
        try:
            layer, index = self.locate(key)
        except ValueError:
            return False
        return f"L{layer}/{index}" in self.densities

    def walk(self) -> Iterator[Evidence]:
        """The evidence of every feature, by layer and index, a few hundred in memory at a time."""
        for layer, rows in self.summary.groupby("layer"):
            indices = rows["index"].tolist()
            for at in range(0, len(indices), WALK):
                some = indices[at : at + WALK]
                yield from self._read(int(str(layer)), some[0], some[-1] + 1)

    def _read(self, layer: int, start: int, stop: int) -> Iterator[Evidence]:
        """Evidence of the features `start` to `stop` of a layer that have a row."""
        rows = sorted(self._features(layer).rows(start, stop), key=lambda row: row["index"])
        examples: dict[int, list[dict[str, Any]]] = {}
        for example in self._example_rows(layer, start, stop):
            examples.setdefault(example["index"], []).append(example)
        originals = self._originals(layer, start, stop)
        for row in rows:
            index = row["index"]
            if index in originals:
                yield self._original(layer, index, originals[index])
            else:
                yield self._evidence(layer, row, examples.get(index, []))

    def _features(self, layer: int) -> RowGroups:
        return self.tables.open(features_file(layer), FEATURES, self.manifest.n_features)

    def _examples(self, layer: int) -> RowGroups:
        return self.tables.open(examples_file(layer), EXAMPLES, MOST_EXAMPLES * self.manifest.n_features)

    def _example_rows(self, layer: int, start: int, stop: int) -> list[dict[str, Any]]:
        rows = self._examples(layer).rows(start, stop, EXAMPLE_COLUMNS)
        return sorted(rows, key=lambda row: (row["index"], row["quantile"], row["rank"]))

    def _evidence(self, layer: int, row: dict[str, Any], examples: list[dict[str, Any]]) -> Evidence:
        name = f"L{layer}/{row['index']}"
        path = self.tables.folder / features_file(layer)
        try:
            parts = {
                "examples": tuple(self._example(example) for example in examples),
                "promoted": self._token_weights(row["promoted"]),
                "suppressed": self._token_weights(row["suppressed"]),
                "activation_histogram": _histogram(row["histogram"], row["histogram_edges"]),
                "logit_histogram": _histogram(row["logit_histogram"], _decimals(row["logit_histogram_edges"])),
                "density": row["density"],
            }
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{path} or its examples: {name} does not fit together: {error}") from error
        from_weights = ("promoted", "suppressed", "logit_histogram")
        sources = {
            part: "weights" if part in from_weights else "harvest"
            for part, value in parts.items()
            if value is not None and value != ()
        }
        missing: dict[str, str] = dict.fromkeys(("reads_from", "writes_to"), NEEDS_MODEL)
        if not row["n_active"]:
            sentence = f"Active on none of the {self.manifest.n_tokens:,} tokens read."
            missing |= {"examples": sentence, "activation_histogram": sentence}
        return Evidence(
            layer,
            row["index"],
            self.labels.get(name, ""),
            **parts,
            largest=_decimals([row["largest"]])[0] if row["n_active"] else None,
            sources=sources,
            missing=missing,
            note=self.note,
        )

    @property
    def note(self) -> str:
        """Where the examples come from, as a sentence."""
        manifest = self.manifest
        if manifest.transcoder.get("imported"):
            return f"Read from {manifest.corpus}."
        basis = f"{NEURONS}. " if manifest.transcoder.get("basis") == "neurons" else ""
        return f"{basis}Harvested from {manifest.corpus}: {manifest.n_tokens:,} tokens."

    def _example(self, row: dict[str, Any]) -> Example:
        strings = tuple(self._token(token_id) for token_id in row["token_ids"])
        activations = tuple(_decimals(row["activations"]))
        return Example(strings, activations, row["peak"], row["quantile_name"], row["copies"])

    def _token_weights(self, rows: list[dict[str, Any]] | None) -> tuple[TokenWeight, ...]:
        rows = rows or []
        weights = _decimals([row["weight"] for row in rows])
        return tuple(
            TokenWeight(self._token(row["token_id"]), weight) for row, weight in zip(rows, weights, strict=True)
        )

    def _token(self, token_id: int) -> str:
        if not 0 <= token_id < len(self.tokens):
            raise ValueError(f"there is no token {token_id} among the {len(self.tokens):,} of {TOKENS_FILE}")
        return self.tokens[token_id]

    @cached_property
    def tokens(self) -> list[str]:
        """The display strings of the vocabulary, by token id."""
        path = self.tables.check(TOKENS_FILE, TOKENS, MOST_TOKENS)
        rows = self.tables.query(path, "SELECT token_id, token FROM {file} ORDER BY token_id")
        if any(at != token_id or token is None for at, (token_id, token) in enumerate(rows)):
            raise ValueError(f"{path}: token ids are not 0 to {len(rows) - 1}, each with a text")
        return [token for _, token in rows]

    # ---- tables over all ----

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per feature: `layer`, `index`, `n_active`, `density`, `largest`."""
        paths = [self._features(layer).path for layer in self._layers]
        columns = ("layer", "index", "n_active", "density", "largest")
        sql = f"SELECT {', '.join(columns)} FROM read_parquet(?) ORDER BY layer, index"
        rows = self.tables.run(self.folder, sql, [[literal(path) for path in paths]])
        table = pd.DataFrame(rows, columns=list(columns))
        return table.astype({"density": "float64", "largest": "float64"})

    @cached_property
    def densities(self) -> Mapping[str, float]:
        """The share of tokens on which each feature is active, by name; features of which it is unknown are absent."""
        known = self.summary.dropna(subset=["density"])
        rows = zip(known["layer"].tolist(), known["index"].tolist(), known["density"].tolist(), strict=True)
        return MappingProxyType({f"L{layer}/{index}": density for layer, index, density in rows})

    def search(self, text: str, n: int = 50, examples: bool = False) -> pd.DataFrame:
        """At most n features that a text leads to, the best first: `name`, `layer`, `index`, `label`, `found_in`
        ("label", "promoted", "examples"), `match` ("exact", "prefix", "substring", "similar"), `text`, `density`.

        With `examples` also features whose examples peak at such a token, which takes longer the first time.
        """
        return self._index.search(text, n, examples)

    def filter(
        self,
        layer: int | None = None,
        density: tuple[float | int, float | int] | None = None,
        label: str | bool | None = None,
    ) -> pd.DataFrame:
        """The features of a layer, with a density from low to high, whose label holds a text (True: that have one;
        False: that have none): `name`, `layer`, `index`, `label`, `density`, `largest`, `n_active`."""
        table = self.summary.copy()
        names = [f"L{a}/{b}" for a, b in zip(table["layer"].tolist(), table["index"].tolist(), strict=True)]
        known = self.labels
        table["name"], table["label"] = names, [known.get(name, "") for name in names]
        keep = np.ones(len(table), dtype=bool)
        if layer is not None:
            keep &= table["layer"].to_numpy() == self.locate((layer, 0))[0]
        if density is not None:
            low, high = density
            if not 0 <= low <= high:
                raise ValueError(f"density={density!r}: expected (low, high), shares of tokens from 0 to 1")
            values = table["density"].to_numpy(dtype=np.float64)
            keep &= (values >= low) & (values <= high)
        if isinstance(label, bool):
            keep &= np.array([bool(text) for text in table["label"]], dtype=bool) == label
        elif label is not None:
            keep &= np.array([label.casefold() in text.casefold() for text in table["label"]], dtype=bool)
        order = ["name", "layer", "index", "label", "density", "largest", "n_active"]
        return table.loc[keep, order].reset_index(drop=True)

    def top_for(self, text: str, n: int = 20) -> pd.DataFrame:
        """Which features are most active on a text: that takes a model, so this always raises ValueError."""
        raise ValueError("a store holds no model to read a text with: write model.features.attach(store).top_for(text)")

    def coactive(self, key: Any) -> pd.DataFrame:
        """The features most active together with one: `name`, `label`, `count` of positions, `product` Σ ab."""
        return self._related(key, "coactive", ("count", "product"))

    def nearest(self, key: Any) -> pd.DataFrame:
        """The features of its layer with the most similar encoders: `name`, `label`, `cosine`."""
        return self._related(key, "nearest", ("cosine",))

    def _related(self, key: Any, column: str, values: tuple[str, ...]) -> pd.DataFrame:
        layer, index = self.locate(key)
        rows = self._features(layer).rows(index, index + 1, (column,))
        found = [row for row in (rows[0][column] if rows else None) or [] if row and row["index"] is not None]
        names = [f"L{row['layer']}/{row['index']}" for row in found]
        labels = [self.labels.get(name, "") for name in names]
        return pd.DataFrame(
            {"name": names, "label": labels, **{value: [row[value] for row in found] for value in values}}
        )

    # ---- the search's tables ----

    def index_promoted(self) -> None:
        """The table `promoted` of the search index: layer, index, token_id, weight."""
        pair = "unnest(promoted) AS pair FROM read_parquet(?)"
        self._make_index(
            "promoted",
            f"SELECT layer, index, pair.token_id AS token_id, pair.weight AS weight FROM (SELECT layer, index, {pair})",
            [self._features(layer).path for layer in self._layers],
        )

    def index_peaks(self) -> None:
        """The table `peaks`: layer, index and token_id at the peak of examples, weighted by the activation there."""
        self._make_index(
            "peaks",
            "SELECT layer, index, token_ids[peak + 1] AS token_id, max(activations[peak + 1]) AS weight"
            " FROM read_parquet(?) GROUP BY ALL",
            [self._examples(layer).path for layer in self._layers],
        )

    def _make_index(self, name: str, sql: str, paths: list[Path]) -> None:
        patterns = [literal(path) for path in paths]
        self.tables.run(self.folder, f"CREATE OR REPLACE TABLE {name} AS {sql}", [patterns])

    # ---- labels ----

    @property
    def labels(self) -> Mapping[str, str]:
        """Name → label, for the features that have one; what other processes have written since is seen."""
        version = self.history.version
        if version != self._named[0]:
            current = {name: label for name, label in self.history.current.items() if label}
            self._named = version, MappingProxyType(current)
        return self._named[1]

    def label(
        self,
        key: Any,
        text: str,
        source: str = "user",
        score: float | int | None = None,
        confidence: float | int | None = None,
    ) -> None:
        """Name a feature; "" takes its label away. Kept beside the store, behind what was said before.

        `source` is "user", "language model", "evidence" or "bundled": the first of these that has spoken counts.
        """
        layer, index = self.locate(key)
        self.history.add([Label(f"L{layer}/{index}", text, source, score, confidence)])

    def label_all(self, labels: Mapping[str, str], source: str = "user") -> None:
        """Name many features at once, name → label."""
        named = [(self.locate(key), text) for key, text in labels.items()]
        self.history.add([Label(f"L{layer}/{index}", text, source) for (layer, index), text in named])

    # ---- files of other tools ----

    @staticmethod
    def from_files(
        source: str | PathLike[str], folder: str | PathLike[str] | None = None, layer: int | None = None
    ) -> Store:
        """A store from feature JSONs, packed features or a Neuronpedia export: see `circuitlab.store.exchange`."""
        from circuitlab.store.exchange import import_files

        return import_files(Path(source), None if folder is None else Path(folder), layer)

    def export(self, folder: str | PathLike[str], kind: str = "json") -> Path:
        """Write all features for other tools, as "json", "packed" or "neuronpedia"; gives the folder."""
        from circuitlab.store.exchange import export

        return export(self, Path(folder), kind)

    def _originals(self, layer: int, start: int, stop: int) -> dict[int, str]:
        """Of imported features the JSON that they were read from."""
        if not self.manifest.transcoder.get("imported"):
            return {}
        from circuitlab.store.exchange import ORIGINALS, ORIGINALS_FILE

        most = self.manifest.n_layers * self.manifest.n_features
        path = self.tables.check(ORIGINALS_FILE, ORIGINALS, most)
        sql = "SELECT index, json FROM {file} WHERE layer = ? AND index >= ? AND index < ?"
        return dict(self.tables.query(path, sql, (layer, start, stop)))

    def _original(self, layer: int, index: int, text: str) -> Evidence:
        from circuitlab.store.exchange import original

        return original(self, layer, index, text)


def _histogram(counts: list[int] | None, edges: list[float] | None) -> Histogram | None:
    return Histogram(tuple(counts), tuple(edges or ())) if counts else None


def _decimals(values: list[float] | None) -> list[float]:
    """Numbers kept in single precision, as the shortest decimals that stand for them: 0.1, not 0.10000000149."""
    if not values:
        return []
    return np.asarray(values, dtype=np.float32).astype(str).astype(np.float64).tolist()
