"""Neuronpedia's feature export: one object per feature, alone, in a list, or in a batch with its layer.

    {"model_id": …, "layer": 3, "features": [{
        "feature_index", "pos_str", "pos_values", "neg_str", "neg_values", "frac_nonzero",
        "freq_hist_data_bar_heights", "freq_hist_data_bar_values", "logits_hist_data_bar_heights", …,
        "n_prompts_total", "n_tokens_in_prompt", "dataset",
        "activations": [{"bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index"}]}]}

A bar's value is the centre of its bin; our histograms have edges, halfway between centres. Bins of activations become
quantiles. What `Evidence` does not hold stays in `extra` and is written again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from circuitlab.evidence import TOP, Evidence, Example, Histogram, TokenWeight, fold
from circuitlab.formats.checks import (
    inflate,
    json_bytes,
    mapping,
    number,
    numbers,
    parse_json,
    read_bytes,
    sequence,
    texts,
    whole,
)
from circuitlab.formats.feature_json import made_example, token_weights
from circuitlab.formats.files import write_atomically

LARGEST_EXPORT = 256 * 2**20
BATCH = 256
"""Features per file written."""
ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_HELD = {
    "feature_index", "pos_str", "pos_values", "neg_str", "neg_values", "frac_nonzero", "freq_hist_data_bar_heights",
    "freq_hist_data_bar_values", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "activations",
}  # fmt: skip
_HELD_OF_EXAMPLES = {"tokens", "values", "qualifying_token_index"}
_HISTOGRAMS = {"freq_hist_data_bar": "activation_histogram", "logits_hist_data_bar": "logit_histogram"}


# ---- reading ----


def evidence_from_neuronpedia(data: Any, name: str, layer: int) -> Evidence:
    """One feature of an export. ValueError with the place for what is absent or does not fit."""
    data = mapping(data, name)
    if "feature_index" not in data:
        raise ValueError(f"{name}: a feature of this export has 'feature_index'; found {', '.join(list(data)[:8])}")
    examples = fold(_examples(data, name))
    histograms, kept = {}, {}
    for key, part in _HISTOGRAMS.items():
        heights, values = (
            numbers(data.get(f"{key}_{side}"), f"{name}: {key}_{side}") for side in ("heights", "values")
        )
        histograms[part] = _histogram(heights, values, f"{name}: {key}")
        if heights and not _gives_back(histograms[part], heights, values):
            kept |= {f"{key}_heights": data[f"{key}_heights"], f"{key}_values": data[f"{key}_values"]}
    density = data.get("frac_nonzero")
    sources = {"promoted": "weights", "suppressed": "weights", "logit_histogram": "weights"}
    sources |= {"examples": "harvest", "activation_histogram": "harvest", "density": "harvest"}
    return Evidence(
        layer=layer,
        index=whole(data["feature_index"], f"{name}: feature_index"),
        examples=examples,
        promoted=_tokens(data, "pos", name),
        suppressed=_tokens(data, "neg", name),
        **histograms,
        density=None if density is None else number(density, f"{name}: frac_nonzero"),
        largest=max((max(example.activations) for example in examples), default=None),
        sources=sources,
        note=_note(data),
        extra={str(key): value for key, value in data.items() if key not in _HELD} | kept,
    )


def _tokens(data: Mapping[str, Any], side: str, name: str) -> tuple[TokenWeight, ...]:
    where = f"{name}: {side}"
    return token_weights(data.get(f"{side}_str"), data.get(f"{side}_values"), f"{where}_str", f"{where}_values")


def _note(data: Mapping[str, Any]) -> str:
    dataset = f" of {str(data['dataset'])[:200]}" if data.get("dataset") else ""
    prompts = data.get("n_prompts_total")
    counted = f", {prompts:,} prompts" if isinstance(prompts, int) else ""
    return f"From a Neuronpedia export{dataset}{counted}."


def _examples(data: Mapping[str, Any], name: str) -> list[Example]:
    found = []
    for at, row in enumerate(sequence(data.get("activations"), f"{name}: activations")):
        where = f"{name}: activations[{at}]"
        row = mapping(row, where)
        found.append(
            made_example(
                where,
                texts(row.get("tokens"), f"{where}.tokens"),
                numbers(row.get("values"), f"{where}.values"),
                row.get("qualifying_token_index"),
                quantile=_quantile(row, where),
                extra={str(key): value for key, value in row.items() if key not in _HELD_OF_EXAMPLES},
            )
        )
    return found


def _quantile(row: Mapping[str, Any], where: str) -> str:
    if row.get("bin_min") is None or row.get("bin_max") is None:
        return TOP
    return f"{number(row['bin_min'], f'{where}.bin_min'):g} to {number(row['bin_max'], f'{where}.bin_max'):g}"


def _histogram(heights: tuple[float, ...], values: tuple[float, ...], where: str) -> Histogram | None:
    """Values are centres of bins; some tools write the edges, one more. Heights that are no counts give none."""
    if not heights or not all(height.is_integer() for height in heights):
        return None
    if len(values) not in (len(heights), len(heights) + 1):
        raise ValueError(f"{where}_values has {len(values)} numbers for {len(heights)} bars; expected one each")
    edges = values if len(values) > len(heights) else _edges(values)
    return Histogram(tuple(map(int, heights)), edges)


def _edges(centres: tuple[float, ...]) -> tuple[float, ...]:
    if len(centres) == 1:
        half = abs(centres[0]) or 0.5
        return centres[0] - half, centres[0] + half
    inner = [(a + b) / 2 for a, b in itertools.pairwise(centres)]
    return (2 * centres[0] - inner[0], *inner, 2 * centres[-1] - inner[-1])


def _centres(edges: tuple[float, ...]) -> list[float]:
    return [(a + b) / 2 for a, b in itertools.pairwise(edges)]


def _gives_back(histogram: Histogram | None, heights: tuple[float, ...], values: tuple[float, ...]) -> bool:
    return histogram is not None and histogram.counts == heights and _centres(histogram.edges) == list(values)


def read_neuronpedia(path: str | Path, layer: int | None = None) -> Iterator[Evidence]:
    """The features of one file: an object, a list, a batch, or one object per line; plain or gzip.

    `layer` where neither the batch nor the feature says it. Errors name the file, the feature and the key.
    """
    path = Path(path)
    content = read_bytes(path, LARGEST_EXPORT)
    if path.name.endswith(".gz"):
        content = inflate(content, str(path), LARGEST_EXPORT)
    if ".jsonl" in path.name:
        rows = [parse_json(line, f"{path}: line {at + 1}") for at, line in enumerate(content.splitlines()) if line]
    else:
        rows = [parse_json(content, str(path))]
    for at, row in enumerate(rows):
        yield from _features(row, f"{path}: line {at + 1}" if ".jsonl" in path.name else str(path), layer)


def _features(data: Any, name: str, layer: int | None) -> Iterator[Evidence]:
    if isinstance(data, Mapping) and "features" in data:
        layer = _layer(data, name) if layer is None else layer
        data = data["features"]
    if isinstance(data, Mapping):
        yield _feature(data, name, layer)
        return
    for at, row in enumerate(sequence(data, name)):
        yield _feature(mapping(row, f"{name}: features[{at}]"), f"{name}: features[{at}]", layer)


def _feature(data: Mapping[str, Any], name: str, layer: int | None) -> Evidence:
    layer = _layer(data, name) if layer is None else layer
    if layer is None:
        raise ValueError(f"{name} does not say its layer: give it, layer=…")
    return evidence_from_neuronpedia(data, name, layer)


def _layer(data: Mapping[str, Any], name: str) -> int | None:
    """The layer that a batch or feature names: 3, "3", or a source's id that begins with it, "3-res-16k"."""
    said = data.get("layer")
    if said is None:
        return None
    found = re.match(r"\d{1,4}(?!\d)", said) if isinstance(said, str) else None
    return int(found[0]) if found else whole(said, f"{name}: layer", 0, 9999)


# ---- writing ----


def neuronpedia_of_evidence(evidence: Evidence, corpus: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One feature of an export; `corpus` gives `dataset`, `n_prompts_total` and `n_tokens_in_prompt` where known."""
    data: dict[str, Any] = {"feature_index": evidence.index}
    for side, tokens in (("pos", evidence.promoted), ("neg", evidence.suppressed)):
        data[f"{side}_str"] = [token.token for token in tokens]
        data[f"{side}_values"] = [None if token.weight != token.weight else token.weight for token in tokens]
    data["frac_nonzero"] = evidence.density
    for key, part in _HISTOGRAMS.items():
        histogram = getattr(evidence, part)
        data[f"{key}_heights"] = list(histogram.counts) if histogram else []
        data[f"{key}_values"] = _centres(histogram.edges) if histogram else []
    data |= {"n_prompts_total": None, "n_tokens_in_prompt": None, "dataset": "", **(corpus or {})}
    data["activations"] = [
        row for examples in evidence.quantiles.values() for row in _activations(examples, evidence.activation_histogram)
    ]
    return {**data, **evidence.extra}


def _activations(examples: tuple[Example, ...], histogram: Histogram | None) -> Iterator[dict[str, Any]]:
    """The examples of one quantile; its bin reaches from the smallest to the largest of their peaks."""
    peaks = [example.activations[example.peak] for example in examples]
    low, high = min(peaks), max(peaks)
    for example in examples:
        yield {
            "bin_min": low,
            "bin_max": high,
            "bin_contains": _share(histogram, low, high),
            "tokens": list(example.tokens),
            "values": list(example.activations),
            "qualifying_token_index": example.peak,
            **example.extra,
        }


def _share(histogram: Histogram | None, low: float, high: float) -> float:
    """The share of a feature's activations in the histogram's bins that reach into this range."""
    if histogram is None or not sum(histogram.counts):
        return 0.0
    spans = zip(histogram.counts, itertools.pairwise(histogram.edges), strict=True)
    return sum(count for count, (a, b) in spans if b > low and a <= high) / sum(histogram.counts)


def write_neuronpedia(
    features: Iterable[Evidence], folder: str | Path, model: str = "", corpus: Mapping[str, Any] | None = None
) -> Path:
    """Batches of `BATCH` features of one layer, `layer-003-batch-0000.json`; `features` come by layer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for layer, members in itertools.groupby(features, key=lambda evidence: evidence.layer):
        for at, batch in enumerate(_batches(members)):
            rows = [neuronpedia_of_evidence(evidence, corpus) for evidence in batch]
            data = {"model_id": model, "layer": layer, "sae_set": "", "features": rows}
            write_atomically(folder / f"layer-{layer:03d}-batch-{at:04d}.json", [json_bytes(data)])
    return folder


def _batches(features: Iterable[Evidence]) -> Iterator[list[Evidence]]:
    remaining = iter(features)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
