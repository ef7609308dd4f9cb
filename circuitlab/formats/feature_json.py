"""Feature JSON: what is known of one feature, in the form of circuit-tracer's and Anthropic's front ends.

    index, examples_quantiles[{quantile_name, examples[{tokens, tokens_acts_list, train_token_ind, …}]}]   required
    top_logits, bottom_logits, act_min, act_max, histogram, activation_frequency, quantile_values, transcoder_id, …

`evidence_from_json` and `json_of_evidence` are each other's inverse on what `Evidence` holds; every other key, of the
feature or of an example, is kept in `extra` and written again. Our own keys beside theirs: `layer`, `label`, weights of
the logits, edges of the histograms, neighbours, `sources`, `missing`, `note`, an example's `copies`.

A folder holds one file per feature, `{z}.json` with z the Cantor pair of layer and index, as these front ends ask for
it. A file that does not say its layer has it from the caller, from its folder's name ("layer_3"), or from z.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuitlab.evidence import TOP, Evidence, Example, Histogram, Neighbour, TokenWeight, fold
from circuitlab.formats.checks import (
    LONGEST_LABEL,
    json_bytes,
    mapping,
    number,
    numbers,
    parse_json,
    read_bytes,
    refuse,
    sequence,
    text,
    texts,
    whole,
)
from circuitlab.formats.files import write_atomically

LARGEST_FEATURE = 16 * 2**20
"""Bytes of one feature's JSON; usual ones have some hundred thousand."""
_HELD = {
    "index", "layer", "label", "examples_quantiles", "top_logits", "bottom_logits", "top_logit_weights",
    "bottom_logit_weights", "act_max", "histogram", "histogram_edges", "logit_histogram", "logit_histogram_edges",
    "activation_frequency", "reads_from", "writes_to", "sources", "missing", "note",
}  # fmt: skip
_HELD_OF_EXAMPLES = {"tokens", "tokens_acts_list", "train_token_ind", "copies", "tokens_logit_weights"}


# ---- evidence → JSON ----


def json_of_evidence(evidence: Evidence, extra: bool = True) -> dict[str, Any]:
    """The feature JSON, ready for `json.dumps`; unknown weights are null. Without `extra` only what we hold."""
    data: dict[str, Any] = {
        "index": evidence.index,
        "layer": evidence.layer,
        "label": evidence.label,
        "examples_quantiles": [
            {"quantile_name": name, "examples": [_json_of_example(e, extra) for e in examples]}
            for name, examples in evidence.quantiles.items()
        ],
        "top_logits": [t.token for t in evidence.promoted],
        "bottom_logits": [t.token for t in evidence.suppressed],
        "top_logit_weights": [_known(t.weight) for t in evidence.promoted],
        "bottom_logit_weights": [_known(t.weight) for t in evidence.suppressed],
        "act_min": 0.0,
        "act_max": evidence.largest,
        **_json_of_histogram("histogram", evidence.activation_histogram),
        **_json_of_histogram("logit_histogram", evidence.logit_histogram),
        "activation_frequency": evidence.density,
        "reads_from": [_json_of_neighbour(n) for n in evidence.reads_from],
        "writes_to": [_json_of_neighbour(n) for n in evidence.writes_to],
        "sources": dict(evidence.sources),
        "missing": dict(evidence.missing),
        "note": evidence.note,
    }
    return {**data, **evidence.extra} if extra else data


def _known(weight: float) -> float | None:
    return None if math.isnan(weight) else weight


def _json_of_histogram(key: str, histogram: Histogram | None) -> dict[str, Any]:
    counts, edges = ([], []) if histogram is None else (list(histogram.counts), list(histogram.edges))
    return {key: counts, f"{key}_edges": edges}


def _json_of_example(example: Example, extra: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "tokens": list(example.tokens),
        "tokens_acts_list": list(example.activations),
        "train_token_ind": example.peak,
        "is_repeated_datapoint": example.copies > 1,
        "copies": example.copies,
    }
    if example.logit_weights is not None:
        data["tokens_logit_weights"] = list(example.logit_weights)
    return {**data, **example.extra} if extra else data


def _json_of_neighbour(neighbour: Neighbour) -> dict[str, Any]:
    return {
        "layer": neighbour.layer,
        "index": neighbour.index,
        "weight": neighbour.weight,
        "label": neighbour.label,
    }


# ---- JSON → evidence ----


def evidence_from_json(
    data: Any, name: str = "feature JSON", layer: int | None = None, index: int | None = None
) -> Evidence:
    """Evidence from a feature JSON of any tool; `layer` and `index` win over what the file says.

    Raises ValueError that begins with `name` and says which key is absent or does not fit, and what was expected.
    """
    try:
        return _evidence(mapping(data, name), name, layer, index)
    except (ValueError, OverflowError, RecursionError) as error:
        if str(error).startswith(name):
            raise
        raise ValueError(f"{name}: {error}") from error


def _evidence(data: Mapping[str, Any], name: str, layer: int | None, index: int | None) -> Evidence:
    for key in ("index", "examples_quantiles"):
        if key not in data:
            raise ValueError(f"{name}: a feature JSON has the key {key!r}; this one has {_keys(data)}")
    if layer is None and "layer" not in data:
        raise ValueError(f"{name}: this feature JSON does not say its layer: give it, layer=…")
    largest = _optional(data, "act_max", name)
    histogram, kept = _activation_histogram(data, largest, name)
    extra = {str(key): value for key, value in data.items() if key not in _HELD} | kept
    if extra.get("act_min") == 0:
        del extra["act_min"]  # as we write it
    return Evidence(
        layer=whole(data["layer"], f"{name}: layer") if layer is None else layer,
        index=whole(data["index"], f"{name}: index") if index is None else index,
        label=text(data.get("label") or "", f"{name}: label", LONGEST_LABEL),
        examples=tuple(map(_plain, fold(_examples(data["examples_quantiles"], name)))),
        promoted=_token_weights(data, "top", name),
        suppressed=_token_weights(data, "bottom", name),
        activation_histogram=histogram,
        logit_histogram=_histogram(data, "logit_histogram", None, name),
        density=_optional(data, "activation_frequency", name),
        largest=largest,
        reads_from=_neighbours(data, "reads_from", name),
        writes_to=_neighbours(data, "writes_to", name),
        sources=_said(data, "sources", name),
        missing=_said(data, "missing", name),
        note=text(data.get("note") or "", f"{name}: note"),
        extra=extra,
    )


def _keys(data: Mapping[str, Any]) -> str:
    return ", ".join(str(key)[:40] for key in list(data)[:12]) or "none"


def _optional(data: Mapping[str, Any], key: str, name: str) -> float | None:
    value = data.get(key)
    return None if value is None else number(value, f"{name}: {key}")


def _said(data: Mapping[str, Any], key: str, name: str) -> dict[str, str]:
    said = mapping(data.get(key) or {}, f"{name}: {key}")
    return {str(part): text(value, f"{name}: {key}.{part}") for part, value in said.items()}


def _examples(quantiles: Any, name: str) -> list[Example]:
    found = []
    for q, part in enumerate(sequence(quantiles, f"{name}: examples_quantiles")):
        where = f"{name}: examples_quantiles[{q}]"
        part = mapping(part, where)
        quantile = text(str(part.get("quantile_name", TOP)), f"{where}.quantile_name", LONGEST_LABEL)
        for e, example in enumerate(sequence(part.get("examples"), f"{where}.examples")):
            found.append(_example(mapping(example, f"{where}.examples[{e}]"), quantile, f"{where}.examples[{e}]"))
    return found


def _example(data: Mapping[str, Any], quantile: str, where: str) -> Example:
    for key in ("tokens", "tokens_acts_list"):
        if key not in data:
            raise ValueError(f"{where} (quantile {quantile!r}) has no {key!r}; it has {_keys(data)}")
    extra = {str(key): value for key, value in data.items() if key not in _HELD_OF_EXAMPLES}
    weights = data.get("tokens_logit_weights")
    peak = next((data[key] for key in ("train_token_ind", "train_token_index") if data.get(key) is not None), None)
    return made_example(
        where,
        texts(data["tokens"], f"{where}.tokens"),
        numbers(data["tokens_acts_list"], f"{where}.tokens_acts_list"),
        peak,
        quantile=quantile,
        copies=whole(data.get("copies", 1), f"{where}.copies", 1),
        logit_weights=None if weights is None else numbers(weights, f"{where}.tokens_logit_weights"),
        extra=extra,
    )


def _plain(example: Example) -> Example:
    """Without what `copies` says already."""
    repeated = example.extra.get("is_repeated_datapoint")
    if repeated is None or bool(repeated) != (example.copies > 1):
        return example
    return replace(example, extra={k: v for k, v in example.extra.items() if k != "is_repeated_datapoint"})


def made_example(
    where: str, tokens: tuple[str, ...], activations: tuple[float, ...], peak: Any, **parts: Any
) -> Example:
    """An example whose parts fit together; its peak is the largest activation where the file does not say it."""
    if not tokens:
        raise ValueError(f"{where} has no tokens; expected at least one")
    if peak is None and activations:
        peak = int(np.argmax(activations))
    try:
        return Example(tokens, activations, whole(peak, f"{where}'s peak", 0, len(tokens) - 1), **parts)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _token_weights(data: Mapping[str, Any], side: str, name: str) -> tuple[TokenWeight, ...]:
    return token_weights(
        data.get(f"{side}_logits"),
        data.get(f"{side}_logit_weights"),
        f"{name}: {side}_logits",
        f"{name}: {side}_logit_weights",
    )


def token_weights(tokens: Any, weights: Any, tokens_at: str, weights_at: str) -> tuple[TokenWeight, ...]:
    """Tokens with their weights; NaN where a file has none: the order is known, the size is not."""
    named = texts(tokens, tokens_at)
    given = sequence(weights, weights_at) or [None] * len(named)
    if len(given) != len(named):
        raise ValueError(f"{weights_at} has {len(given)} numbers for {len(named)} tokens; expected one each")
    return tuple(
        TokenWeight(token, math.nan if weight is None else number(weight, f"{weights_at}[{at}]"))
        for at, (token, weight) in enumerate(zip(named, given, strict=True))
    )


def _activation_histogram(
    data: Mapping[str, Any], largest: float | None, name: str
) -> tuple[Histogram | None, dict[str, Any]]:
    """The histogram; one of shares instead of counts is nothing we hold and is kept as it is."""
    heights = numbers(data.get("histogram"), f"{name}: histogram")
    if all(height.is_integer() for height in heights):
        return _histogram(data, "histogram", largest, name), {}
    return None, {key: data[key] for key in ("histogram", "histogram_edges") if key in data}


def _histogram(data: Mapping[str, Any], key: str, largest: float | None, name: str) -> Histogram | None:
    """Without edges in the file the bins split 0 to the largest activation."""
    counts = [
        whole(count, f"{name}: {key}[{at}]", high=2**53)
        for at, count in enumerate(sequence(data.get(key), f"{name}: {key}"))
    ]
    edges = numbers(data.get(f"{key}_edges"), f"{name}: {key}_edges")
    if not counts:
        return None
    if not edges:
        edges = tuple(np.linspace(0.0, largest or 1.0, len(counts) + 1).tolist())
    if len(edges) != len(counts) + 1:
        refuse(f"{name}: {key}_edges", list(edges), f"{len(counts) + 1} numbers for {len(counts)} bins")
    return Histogram(tuple(counts), edges)


def _neighbours(data: Mapping[str, Any], key: str, name: str) -> tuple[Neighbour, ...]:
    found = []
    for at, row in enumerate(sequence(data.get(key), f"{name}: {key}")):
        where = f"{name}: {key}[{at}]"
        row = mapping(row, where)
        found.append(
            Neighbour(
                whole(row.get("layer"), f"{where}.layer"),
                whole(row.get("index"), f"{where}.index"),
                number(row.get("weight"), f"{where}.weight"),
                text(row.get("label") or "", f"{where}.label", LONGEST_LABEL),
            )
        )
    return tuple(found)


# ---- files ----


def cantor_pair(layer: int, index: int) -> int:
    """The one number for a layer and an index that file names of this field use."""
    return (layer + index) * (layer + index + 1) // 2 + index


def cantor_unpair(z: int) -> tuple[int, int]:
    diagonal = (math.isqrt(8 * z + 1) - 1) // 2
    index = z - diagonal * (diagonal + 1) // 2
    return diagonal - index, index


def read_feature_json(path: str | Path, layer: int | None = None) -> Evidence:
    """The evidence in one file. FileNotFoundError and ValueError name the file, the key and what was expected."""
    path = Path(path)
    data = mapping(parse_json(read_bytes(path, LARGEST_FEATURE), str(path)), str(path))
    if layer is not None or "layer" in data:
        return evidence_from_json(data, str(path), layer)
    return evidence_from_json(data, str(path), *_place(path, data))


def _place(path: Path, data: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Layer and index from the names of folder and file, for a file that does not say its layer."""
    folder = re.fullmatch(r"(?:layer|l)?[-_ ]?(\d{1,4})", path.parent.name, re.IGNORECASE)
    if folder:
        return int(folder[1]), None
    if re.fullmatch(r"[0-9]{1,18}", path.stem):
        layer, index = cantor_unpair(int(path.stem))
        if data.get("index") in (index, int(path.stem)):
            return layer, index
    return None, None


def write_feature_json(evidence: Evidence, path: str | Path) -> Path:
    return write_atomically(Path(path), [json_bytes(json_of_evidence(evidence))])


def read_feature_folder(folder: str | Path, layer: int | None = None) -> Iterator[Evidence]:
    """All feature JSONs below a folder, by path; a folder without any is a ValueError."""
    paths = sorted(path for path in Path(folder).rglob("*.json") if path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no feature JSON: expected files that end in .json")
    for path in paths:
        yield read_feature_json(path, layer)


def write_feature_folder(features: Iterable[Evidence], folder: str | Path) -> Path:
    """One file per feature, named by the Cantor pair of layer and index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for evidence in features:
        write_feature_json(evidence, folder / f"{cantor_pair(evidence.layer, evidence.index)}.json")
    return folder
