"""A store from the feature files of other tools, and a store written as such files.

Reading keeps every file's JSON beside the tables (`originals.parquet`), so that what a file holds beyond our columns is
given back; the tables serve search and filters. No tokenizer is at hand: token ids are numbers given here, in the order
in which the tokens come. An import holds all its features in memory; an export one layer of them.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuitlab.evidence import Evidence, TokenWeight
from circuitlab.formats.feature_json import (
    evidence_from_json,
    json_of_evidence,
    read_feature_json,
    write_feature_folder,
)
from circuitlab.formats.files import write_atomically
from circuitlab.formats.neuronpedia_features import ENDINGS, read_neuronpedia, write_neuronpedia
from circuitlab.formats.packed_features import INDEX, PackedFeatures, packed_folder, write_packed_features
from circuitlab.store.labels import Label
from circuitlab.store.schema import EXAMPLES, FEATURES, Manifest
from circuitlab.store.writer import LayerTables, write_store

if TYPE_CHECKING:
    from circuitlab.store.store import Store

KINDS = ("json", "packed", "neuronpedia")
ORIGINALS_FILE = "originals.parquet"
ORIGINALS = pa.schema([("layer", pa.int16()), ("index", pa.int32()), ("json", pa.string())])
MOST_LAYERS = 1_000
_GROUP = 64
"""Originals per row group: one is found by reading one group."""


# ---- reading ----


def import_files(source: Path, folder: Path | None = None, layer: int | None = None) -> Store:
    """Feature JSONs, packed features or Neuronpedia's export, as a store in `folder` (else in a temporary one).

    `layer` for files that do not say theirs. Labels in the files become labels of the source "bundled". Raises
    FileNotFoundError and ValueError with the file and the place that cannot be read, and for features met twice.
    """
    from circuitlab.store.store import Store

    kind, found = _found(source, layer)
    features = sorted(found, key=lambda evidence: (evidence.layer, evidence.index))
    for before, after in itertools.pairwise(features):
        if (before.layer, before.index) == (after.layer, after.index):
            raise ValueError(f"{source} holds {after.name} twice; expected each feature once")
    if not features:
        raise ValueError(f"{source} holds no features")
    if features[-1].layer >= MOST_LAYERS:
        raise ValueError(
            f"{source}: {features[-1].name} is in layer {features[-1].layer}; expected at most {MOST_LAYERS}"
        )
    folder = _kept_folder() if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_originals(features, folder / ORIGINALS_FILE)
    tokens = Vocabulary()
    n_layers, n_features = 1 + features[-1].layer, 1 + max(evidence.index for evidence in features)
    manifest = _manifest(source, kind, n_layers, n_features)
    write_store(folder, manifest, _tables(features, n_layers, tokens), tokens.strings)
    store = Store(folder)
    labels = [Label(evidence.name, evidence.label, "bundled") for evidence in features if evidence.label]
    store.history.add([label for label in labels if label.label != store.labels.get(label.name)])
    return store


def _found(source: Path, layer: int | None) -> tuple[str, Iterable[Evidence]]:
    """What kind of files these are, and their features."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder of features")
    if source.is_dir() and (packed_folder(source) / INDEX).is_file():
        return "packed", PackedFeatures(source)
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name.endswith(ENDINGS))
    if not paths:
        raise ValueError(f"{source} holds no features: expected files that end in {', '.join(ENDINGS)}, or {INDEX}")
    if _is_neuronpedia(paths[0]):
        return "neuronpedia", (evidence for path in paths for evidence in read_neuronpedia(path, layer))
    return "json", (read_feature_json(path, layer) for path in paths)


def _is_neuronpedia(path: Path) -> bool:
    """Whether a file is an export or a single feature's JSON, by the keys in its first bytes."""
    if not path.name.endswith(".json"):
        return True
    with path.open("rb") as file:
        head = file.read(2**20)
    return b'"examples_quantiles"' not in head and (b'"feature_index"' in head or b'"features"' in head)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="circuitlab-store-")  # removed when Python ends


def _kept_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=_temporary().name))


def _manifest(source: Path, kind: str, n_layers: int, n_features: int) -> Manifest:
    described = {"json": "feature JSON", "packed": "packed features", "neuronpedia": "a Neuronpedia export"}[kind]
    sizes = {"n_layers": n_layers, "n_features": n_features, "kind": "", "imported": kind}
    return Manifest(
        model={"name": "", "fingerprint": None},
        transcoder={"name": "", "fingerprint": None, **sizes},
        corpus=f"{described} ({source.name})",
        seed=0,
        context={},
        n_records=0,
        n_tokens=0,
    )


class Vocabulary:
    """Gives each text a number; `strings` are the texts so far, by number."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self._ids: dict[str, int] = {}

    def number(self, token: str) -> int:
        if token not in self._ids:
            self._ids[token] = len(self.strings)
            self.strings.append(token.encode("utf-8", "replace").decode())
        return self._ids[token]


def _tables(features: list[Evidence], n_layers: int, tokens: Vocabulary) -> Iterator[LayerTables]:
    for layer in range(n_layers):
        members = [evidence for evidence in features if evidence.layer == layer]
        rows = [_feature_row(evidence, tokens) for evidence in members]
        examples = [row for evidence in members for row in _example_rows(evidence, tokens)]
        yield LayerTables(
            layer, pa.Table.from_pylist(rows, schema=FEATURES), pa.Table.from_pylist(examples, schema=EXAMPLES)
        )


def _feature_row(evidence: Evidence, tokens: Vocabulary) -> dict[str, Any]:
    """Sums are unknown and null; a feature of which the count is unknown but the density is not is counted as seen."""
    active, weights = evidence.activation_histogram, evidence.logit_histogram
    return {
        "layer": evidence.layer,
        "index": evidence.index,
        "n_active": min(sum(active.counts), 2**62) if active else len(evidence.examples),
        "density": evidence.density,
        "largest": evidence.largest,
        "histogram": list(active.counts) if active else [],
        "histogram_edges": list(active.edges) if active else [],
        "promoted": _weights(evidence.promoted, tokens),
        "suppressed": _weights(evidence.suppressed, tokens),
        "logit_histogram": [min(count, 2**31 - 1) for count in weights.counts] if weights else [],
        "logit_histogram_edges": list(weights.edges) if weights else [],
        "coactive": [],
        "nearest": [],
    }


def _weights(found: tuple[TokenWeight, ...], tokens: Vocabulary) -> list[dict[str, Any]]:
    return [{"token_id": tokens.number(t.token), "weight": t.weight} for t in found]


def _example_rows(evidence: Evidence, tokens: Vocabulary) -> Iterator[dict[str, Any]]:
    for quantile, (name, examples) in enumerate(evidence.quantiles.items()):
        for rank, example in enumerate(examples):
            yield {
                "layer": evidence.layer,
                "index": evidence.index,
                "quantile": min(quantile, 127),
                "quantile_name": name,
                "rank": rank,
                "token_ids": [tokens.number(token) for token in example.tokens],
                "activations": list(example.activations),
                "peak": example.peak,
                "copies": example.copies,
                "record": -1,
                "position": example.peak,
            }


def _write_originals(features: list[Evidence], path: Path) -> None:
    rows = {
        "layer": [evidence.layer for evidence in features],
        "index": [evidence.index for evidence in features],
        "json": [json.dumps(json_of_evidence(replace(evidence, label=""))) for evidence in features],
    }
    sink = pa.BufferOutputStream()
    table = pa.table(rows, schema=ORIGINALS)
    pq.write_table(table, sink, row_group_size=_GROUP, compression="zstd", store_schema=False)
    write_atomically(path, [memoryview(sink.getvalue())])


def original(store: Store, layer: int, index: int, text: str) -> Evidence:
    """An imported feature as its file had it, with the label that counts now."""
    name = f"L{layer}/{index}"
    where = f"{store.folder / ORIGINALS_FILE}: {name}"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    found = evidence_from_json(data, where, layer, index)
    return replace(found, label=store.labels.get(name, ""), note=found.note or store.note)


# ---- writing ----


def export(store: Store, folder: Path, kind: str = "json") -> Path:
    """All features of a store as files of other tools; gives the folder. ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "packed":
        return write_packed_features(store.walk(), folder, store.manifest.n_features)
    if kind == "json":
        return write_feature_folder(store.walk(), folder)
    manifest = store.manifest
    corpus = {
        "dataset": manifest.corpus,
        "n_prompts_total": manifest.n_records,
        "n_tokens_in_prompt": max(map(int, manifest.context.values()), default=0),
    }
    name = str(manifest.model.get("name") or "")
    return write_neuronpedia(store.walk(), folder, name, None if manifest.transcoder.get("imported") else corpus)
