"""The files of a store and their columns; the manifest.

A store is a folder:

    manifest.json             what was harvested: model, transcoder, corpus, seed, counts (`Manifest`)
    features-000.parquet      one row per feature of layer 0, sorted by index (`FEATURES`)
    examples-000.parquet      its examples, sorted by index, quantile, rank (`EXAMPLES`)
    tokens.parquet            the vocabulary's display strings (`TOKENS`)
    labels.parquet            labels, append-only (`LABELS`); written by `Store.label`, never by a harvest
    tally.safetensors         what a merge or a longer harvest needs; absent in stores that are only read

Activations are those after the nonlinearity, first positions and pads left out. Nothing in these files depends on the
time or the machine's name: equal harvests give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
TOKENS_FILE = "tokens.parquet"
LABELS_FILE = "labels.parquet"
TALLY_FILE = "tally.safetensors"

FEATURE_GROUP = 64
"""Rows per row group of a features file: one feature is found by reading one group."""
EXAMPLE_GROUP = 1024

_TOKEN_WEIGHTS = pa.list_(pa.struct([("token_id", pa.int32()), ("weight", pa.float32())]))

FEATURES = pa.schema(
    [
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("n_active", pa.int64()),  # positions
        ("density", pa.float64()),  # n_active over the positions counted
        ("largest", pa.float32()),  # 0 for a feature that was never active
        ("sum", pa.float64()),  # Σ a over positions
        ("sum_squares", pa.float64()),  # Σ a²
        ("histogram", pa.list_(pa.int64())),  # of positive activations; empty for a feature that was never active
        ("histogram_edges", pa.list_(pa.float64())),  # one more than bins, from 0 up, evenly spaced
        ("promoted", _TOKEN_WEIGHTS),  # falling weight on the logit, per unit of activation
        ("suppressed", _TOKEN_WEIGHTS),  # rising weight
        ("logit_histogram", pa.list_(pa.int32())),
        ("logit_histogram_edges", pa.list_(pa.float32())),
        # falling product; over the manifest's `coactivation_positions` positions, not over all
        (
            "coactive",
            pa.list_(
                pa.struct(
                    [("layer", pa.int16()), ("index", pa.int32()), ("count", pa.int64()), ("product", pa.float64())]
                )
            ),
        ),
        # falling cosine between encoders, features of the same layer
        ("nearest", pa.list_(pa.struct([("layer", pa.int16()), ("index", pa.int32()), ("cosine", pa.float32())]))),
    ]
)

EXAMPLES = pa.schema(
    [
        ("layer", pa.int16()),
        ("index", pa.int32()),
        ("quantile", pa.int8()),  # 0 is the top; then lower ranges of peak activation, falling
        ("quantile_name", pa.string()),
        ("rank", pa.int16()),  # from 0 within a quantile
        ("token_ids", pa.list_(pa.int32())),
        ("activations", pa.list_(pa.float32())),
        ("peak", pa.int16()),  # index into token_ids
        ("copies", pa.int32()),  # texts that agree up to the peak
        ("record", pa.int64()),  # number in the corpus, from 0
        ("position", pa.int32()),  # of the peak, in tokens from the record's start
    ]
)

TOKENS = pa.schema([("token_id", pa.int32()), ("token", pa.string())])

LABELS = pa.schema(
    [
        ("name", pa.string()),  # "L3/55"
        ("label", pa.string()),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("confidence", pa.float64()),
        ("created", pa.string()),
        ("sequence", pa.int64()),
    ]
)


def features_file(layer: int) -> str:
    return f"features-{layer:03d}.parquet"


def examples_file(layer: int) -> str:
    return f"examples-{layer:03d}.parquet"


@dataclass(frozen=True)
class Manifest:
    """What a store holds and how it came about.

    `model` has name and fingerprint; `transcoder` name, fingerprint, kind, n_layers, n_features (per layer), for MLP
    neurons `basis` ("neurons"), for other tools' files `imported` (their kind); `context`
    the tokens kept before and after a peak and the longest piece of text read at once. `n_tokens` are the positions
    counted, `skipped` counts records that were left out or cut, by reason; `shards` are the parts [k, n] of the corpus
    that were read, [[0, 1]] the whole. Co-activations were counted at `coactivation_positions` of the positions, drawn
    by a seeded hash.
    """

    model: Mapping[str, Any]
    transcoder: Mapping[str, Any]
    corpus: str
    seed: int
    context: Mapping[str, int]
    n_records: int
    n_tokens: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    shards: tuple[tuple[int, int], ...] = ((0, 1),)
    coactivation_positions: int = 0
    corpus_digest: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def n_layers(self) -> int:
        return int(self.transcoder["n_layers"])

    @property
    def n_features(self) -> int:
        return int(self.transcoder["n_features"])

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def read(folder: str | Path) -> Manifest:
        """The manifest of a store; FileNotFoundError where there is none, ValueError for one that cannot be read."""
        path = Path(folder) / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} is no store of feature evidence: it has no {MANIFEST}; make one with circuitlab harvest"
            )
        try:
            return _from_json(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error


def _from_json(data: dict[str, Any]) -> Manifest:
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is {version!r}; this circuitlab reads {SCHEMA_VERSION}")
    known = {entry.name for entry in fields(Manifest)}
    absent = known - data.keys()
    if absent:
        raise ValueError(f"it lacks {', '.join(sorted(absent))}")
    kept = {name: value for name, value in data.items() if name in known}
    kept["shards"] = tuple((int(part), int(of)) for part, of in data["shards"])
    for name, kind in _KINDS.items():
        if type(data[name]) is not kind:
            raise ValueError(f"its {name} is {str(data[name])[:60]!r}; expected {kind.__name__}")
    for name, most in (("n_layers", 2**15 - 1), ("n_features", 2**31 - 1)):
        if type(data["transcoder"][name]) is not int or not 1 <= data["transcoder"][name] <= most:
            raise ValueError(
                f"its transcoder has {name} = {str(data['transcoder'][name])[:60]}; expected 1 to {most:,}"
            )
    counts = {name: data[name] for name in ("seed", "n_records", "n_tokens", "coactivation_positions")}
    for name, count in {**counts, **data["context"], **data["skipped"]}.items():
        if type(count) is not int or not 0 <= count < 2**63:
            raise ValueError(f"its {name} is {str(count)[:60]}; expected a whole number of at most 64 bits")
    return Manifest(**kept)


_KINDS: dict[str, type] = {
    "model": dict, "transcoder": dict, "context": dict, "skipped": dict, "corpus": str, "corpus_digest": str
}  # fmt: skip
