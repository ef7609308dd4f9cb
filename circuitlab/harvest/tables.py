"""A tally as the tables of a store (store/schema.py), one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from circuitlab.evidence import TOP
from circuitlab.harvest.coactivity import Vectors, partners
from circuitlab.harvest.pool import Candidates
from circuitlab.harvest.tally import BINS, RANGE_BITS, RANGES, Tally
from circuitlab.harvest.weights import LayerWeights
from circuitlab.store.schema import EXAMPLES, FEATURES
from circuitlab.store.writer import LayerTables

WEIGHT_COLUMNS = ("promoted", "suppressed", "logit_histogram", "logit_histogram_edges", "nearest")


def layer_tables(
    tally: Tally, n_layers: int, weight_columns: Callable[[int], dict[str, pa.Array]]
) -> Iterator[LayerTables]:
    """The tables of every layer; `weight_columns(layer)` gives the columns that do not come from the corpus."""
    tally.flush()
    n_features = tally.n_features // n_layers
    vectors = tally.sample.vectors()
    for layer in range(n_layers):
        own = slice(layer * n_features, (layer + 1) * n_features)
        columns = _counts(tally, own) | {"layer": np.full(n_features, layer), "index": np.arange(n_features)}
        columns |= weight_columns(layer) | {"coactive": _coactive(tally, vectors, own, n_features)}
        yield LayerTables(layer, _table(columns, FEATURES), _examples(tally, layer, own))


def _table(columns: dict, schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(columns[entry.name], type=entry.type) for entry in schema], schema=schema)


# ---- features ----


def _counts(tally: Tally, own: slice) -> dict:
    counts, edges = _histograms(tally, own)
    return {
        "n_active": tally.n_active[own],
        "density": tally.n_active[own] / max(tally.n_tokens, 1),
        "largest": tally.largest[own],
        "sum": tally.sums.values[own],
        "sum_squares": tally.squares.values[own],
        "histogram": counts,
        "histogram_edges": edges,
    }


def _histograms(tally: Tally, own: slice) -> tuple[pa.Array, pa.Array]:
    """Counts up to the bin of the largest activation, and their edges."""
    counts, active = tally.histogram[own], tally.n_active[own] > 0
    n_bins = np.where(active, BINS - np.argmax(counts[:, ::-1] > 0, axis=1), 0)
    width = np.ldexp(np.where(active, 1.0, 0.0), np.where(active, tally.exponent[own], 0)) / BINS
    inside = np.arange(BINS) < n_bins[:, None]
    edges = np.arange(BINS + 1) * width[:, None]
    kept = np.arange(BINS + 1) < np.where(active, n_bins + 1, 0)[:, None]
    return _lists(pa.array(counts[inside]), inside.sum(1)), _lists(pa.array(edges[kept]), kept.sum(1))


def _coactive(tally: Tally, vectors: Vectors, own: slice, n_features: int) -> pa.Array:
    n = tally.settings.n_partners
    found = list(partners(vectors, tally.n_features, own.start, own.stop, n))
    ids, counts, products = (np.concatenate([row[at] for row in found]) for at in (1, 2, 3))
    layer, index = np.divmod(ids, n_features)
    structs = _structs("coactive", layer=layer, index=index, count=counts, product=products)
    return _lists(structs, np.array([len(row[1]) for row in found]))


def weight_columns(weights: LayerWeights, layer: int) -> dict[str, pa.Array]:
    """The columns of `WEIGHT_COLUMNS` for one layer."""
    columns = {}
    for name, (ids, values) in (("promoted", weights.promoted), ("suppressed", weights.suppressed)):
        structs = _structs(name, token_id=ids.ravel(), weight=values.ravel())
        columns[name] = _lists(structs, np.full(len(ids), ids.shape[1]))
    for name, rows in (("logit_histogram", weights.logit_counts), ("logit_histogram_edges", weights.logit_edges)):
        columns[name] = _lists(pa.array(rows.ravel(), FEATURES.field(name).type.value_type), _lengths(rows))
    ids, cosines = weights.nearest
    structs = _structs("nearest", layer=np.full(ids.size, layer), index=ids.ravel(), cosine=cosines.ravel())
    return columns | {"nearest": _lists(structs, _lengths(ids))}


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), rows.shape[1])


def _structs(column: str, **values: np.ndarray) -> pa.StructArray:
    struct = FEATURES.field(column).type.value_type
    arrays = [pa.array(values[struct.field(at).name], struct.field(at).type) for at in range(struct.num_fields)]
    return pa.StructArray.from_arrays(arrays, fields=list(struct))


def _lists(values: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(lengths)], pa.int32()), values)


# ---- examples ----


def _examples(tally: Tally, layer: int, own: slice) -> pa.Table:
    """The highest peaks, then what was drawn of each lower range and is not among them, by falling peak."""
    top, rank = tally.top.of(np.arange(own.start, own.stop))
    top = top[rank < tally.settings.n_top]
    lower = _lower(tally, own, top)
    both = Candidates.of([top, lower])
    quantile = np.r_[np.zeros(len(top), np.int64), _quantiles(tally, lower)]
    order = np.lexsort((both.context, -both.peak, quantile, both.feature))
    both, quantile = both[order], quantile[order]
    index = both.feature - own.start
    inside = both.tokens >= 0
    columns = {
        "layer": np.full(len(both), layer),
        "index": index,
        "quantile": quantile,
        "quantile_name": _names(tally, both.feature, quantile),
        "rank": _ranks(index, quantile),
        "token_ids": _lists(pa.array(both.tokens[inside]), inside.sum(1)),
        "activations": _lists(pa.array(both.activations[inside]), inside.sum(1)),
        "peak": inside[:, : tally.settings.before].sum(1),
        "copies": both.copies,
        "record": both.record,
        "position": both.position,
    }
    return _table(columns, EXAMPLES)


def _lower(tally: Tally, own: slice, top: Candidates) -> Candidates:
    if tally.lower is None:
        return top[:0]
    lower, _ = tally.lower.of(np.arange(own.start * RANGES, own.stop * RANGES))
    return lower[~np.isin(lower.context, top.context)]


def _quantiles(tally: Tally, examples: Candidates) -> np.ndarray:
    """1 for the range of the largest activation, rising for lower ones."""
    exponent = tally.exponent[examples.feature]
    part = np.ldexp(examples.peak.astype(np.float64), RANGE_BITS - exponent).astype(np.int64)
    highest = np.ldexp(tally.largest[examples.feature].astype(np.float64), RANGE_BITS - exponent).astype(np.int64)
    return 1 + highest - part


def _names(tally: Tally, features: np.ndarray, quantile: np.ndarray) -> list[str]:
    """ "Top", and "50% to 75% of the largest": the bounds of a range, which are eighths of a power of two."""
    width = np.ldexp(1.0, tally.exponent[features] - RANGE_BITS)
    largest = tally.largest[features].astype(np.float64)
    low = (np.floor(largest / width) + 1 - quantile) * width / largest
    high = np.minimum(low + width / largest, 1.0)
    return [
        f"{lowest:.0%} to {highest:.0%} of the largest" if number else TOP
        for number, lowest, highest in zip(quantile.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


def _ranks(index: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    if not len(index):
        return index
    first = np.flatnonzero(np.r_[True, (index[1:] != index[:-1]) | (quantile[1:] != quantile[:-1])])
    return np.arange(len(index)) - np.repeat(first, np.diff(np.r_[first, len(index)]))
