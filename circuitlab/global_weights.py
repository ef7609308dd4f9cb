"""Weights between features that hold for all texts: virtual weights, TWERA, and circuits drawn with them.

For a feature i of layer l with decoders w and a feature j of a later layer l' with encoder e,

    virtual weight   V_ij = ⟨Σ_{l+k<l'} w_k, e⟩                     (the norms between folded in, attention left out)
    TWERA            E[a_j a_i] / E[a_j] · V_ij                     target-weighted expected residual attribution

V says what a unit of i adds to j's pre-activation at the same position, also where the two are never active together
(interference); TWERA is what i adds to j on average over texts, weighted by how active j is. E[a_j] comes from a
store's sums over all positions, E[a_j a_i] from the positions at which it counted co-activations. A store lists each
feature's strongest partners only: a pair is known where it stands in either feature's list, and others have no TWERA.

Source: Ameisen et al. 2025, "Circuit Tracing", section "Global weights";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.graph import Graph
from circuitlab.links import Links
from circuitlab.model import Model
from circuitlab.store.schema import FEATURES, features_file
from circuitlab.store.store import Store
from circuitlab.store.tables import literal
from circuitlab.transcoder import Transcoder

if TYPE_CHECKING:
    from circuitlab.features import Features

CHUNK = 1024
"""Features of the source layer whose weights to a whole layer are in memory at once."""
WEIGHTS = ("virtual", "twera")
COLUMNS = ("name", "label", "layer", "index", "weight", "virtual_weight")
N_LOGITS = 5
Place = tuple[int, int]


# ---- a layer pair ----


def virtual_weights(
    model: Model, transcoder: Transcoder, source: int, target: int, rows: slice = slice(None)
) -> Float[Tensor, "target_feat source_feat"]:
    """V between the features `rows` of layer `source` and all features of a later layer `target`."""
    from circuitlab.features import added_to_stream, read_from_stream

    if not 0 <= source < target < transcoder.config.n_layers:
        last = transcoder.config.n_layers - 1
        expected = f"expected 0 <= source < target <= {last}"
        raise ValueError(f"features of layer {source} do not write to layer {target}: {expected}")
    stream = torch.stack(added_to_stream(model, transcoder, source, rows)[: target - source]).sum(0)
    return transcoder.W_enc.read(target, read_from_stream(model, transcoder, target, stream)).detach().T


@torch.no_grad()
def strongest_pairs(features: Features, source: int, target: int, k: int = 14, chunk: int = CHUNK) -> pd.DataFrame:
    """The pairs of two layers that are among the k strongest of either feature, by |V|: `source`, `target`, `weight`.

    Sources are taken in chunks, so that no matrix of all pairs is made.
    """
    model, transcoder = features.model, features.transcoder
    n_features = transcoder.config.n_features
    pairs: dict[Place, float] = {}
    best = torch.zeros(n_features, 0)
    best_ids = torch.zeros(n_features, 0, dtype=torch.long)
    for first in range(0, n_features, chunk):
        weights = virtual_weights(model, transcoder, source, target, slice(first, first + chunk)).cpu()
        down = weights.abs().topk(min(k, n_features), dim=0).indices
        columns = torch.arange(weights.shape[1]).expand_as(down)
        _add(pairs, columns + first, down, weights[down, columns])
        both = torch.cat([best.to(weights.dtype), weights], 1)
        ids = torch.cat([best_ids, torch.arange(first, first + weights.shape[1]).expand(n_features, -1)], 1)
        kept = both.abs().topk(min(k, both.shape[1]), dim=1).indices
        best, best_ids = both.gather(1, kept), ids.gather(1, kept)
    _add(pairs, best_ids, torch.arange(n_features)[:, None].expand_as(best_ids), best)
    rows = sorted(pairs.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    table = {
        "source": [f"L{source}/{i}" for (i, _), _ in rows],
        "target": [f"L{target}/{j}" for (_, j), _ in rows],
        "weight": [weight for _, weight in rows],
    }
    return pd.DataFrame(table)


def _add(pairs: dict[Place, float], source: Tensor, target: Tensor, weight: Tensor) -> None:
    columns = (source.flatten().tolist(), target.flatten().tolist(), weight.flatten().tolist())
    pairs.update(((i, j), value) for i, j, value in zip(*columns, strict=True))


# ---- one feature ----


def upstream(features: Features, key: Any, n: int = 14, weights: str = "virtual") -> pd.DataFrame:
    """The n features that a feature reads from most, by |weight|: `COLUMNS`, with TWERA also how often they meet."""
    from circuitlab.features import reads_from

    layer, index = features.locate(key)
    by_layer = reads_from(features.model, features.transcoder, layer, index)
    return _strongest(features, (layer, index), dict(enumerate(by_layer)), n, weights, sources=True)


def downstream(features: Features, key: Any, n: int = 14, weights: str = "virtual") -> pd.DataFrame:
    """The n features that a feature writes to most, in the columns of `upstream`."""
    from circuitlab.features import writes_to

    layer, index = features.locate(key)
    by_layer = writes_to(features.model, features.transcoder, layer, index)
    return _strongest(features, (layer, index), dict(enumerate(by_layer, layer + 1)), n, weights, sources=False)


def _strongest(
    features: Features, own: Place, by_layer: dict[int, Tensor], n: int, weights: str, sources: bool
) -> pd.DataFrame:
    if weights not in WEIGHTS:
        near = difflib.get_close_matches(weights, WEIGHTS, n=1)
        raise ValueError(f"weights={weights!r} is not one of {', '.join(WEIGHTS)}" + (f"; {near[0]}?" if near else ""))
    if weights == "twera":
        rows = _expected(_store(features), own, by_layer, sources)
    else:
        rows = [(layer, index, weight, weight) for layer, index, weight in _largest(by_layer, n)]
    rows.sort(key=lambda row: (-abs(row[2]), row[0], row[1]))
    names = [f"L{row[0]}/{row[1]}" for row in rows[:n]]
    labelled = [(name, features.labels.get(name, ""), *row) for name, row in zip(names, rows, strict=False)]
    columns = [*COLUMNS, "together"] if weights == "twera" else list(COLUMNS)
    return pd.DataFrame(labelled, columns=columns).astype({"weight": "float64", "virtual_weight": "float64"})


def _largest(by_layer: dict[int, Tensor], n: int) -> list[tuple[int, int, float]]:
    found = []
    for layer, values in by_layer.items():
        top = values.abs().topk(min(n, len(values))).indices.tolist()
        found += [(layer, index, float(values[index])) for index in top]
    return found


def _expected(store: Store, own: Place, by_layer: dict[int, Tensor], sources: bool) -> list[tuple]:
    """Layer, index, TWERA, V and count of the features known to be active together with this one."""
    met = {place: seen for place, seen in partners(store, own).items() if place[0] in by_layer}
    means = mean_activations(store, [own] if sources else list(met))
    rows = []
    for place, (count, product) in met.items():
        mean = means.get(own if sources else place, 0.0)
        if mean > 0:
            virtual = float(by_layer[place[0]][place[1]])
            rows.append((*place, product / store.manifest.coactivation_positions / mean * virtual, virtual, count))
    return rows


def _store(features: Features) -> Store:
    if features.store is None or not features.store.manifest.coactivation_positions:
        raise ValueError(
            "TWERA needs co-activations over a corpus: harvest one and attach its store, model.features.attach(…); "
            'weights="virtual" needs the weights alone'
        )
    return features.store


def partners(store: Store, place: Place) -> dict[Place, tuple[int, float]]:
    """The features that a store knows to be active together with one: positions counted, and Σ of the products."""
    nested = "SELECT layer, index, unnest(coactive) AS pair FROM read_parquet(?)"
    own = f"SELECT pair.layer, pair.index, pair.count, pair.product FROM ({nested}) WHERE layer = ? AND index = ?"
    lists = f"SELECT layer, index, pair.count, pair.product FROM ({nested}) WHERE pair.layer = ? AND pair.index = ?"
    rows = store.tables.run(store.folder, f"{own} UNION ALL {lists}", [_files(store), *place, _files(store), *place])
    return {(layer, index): (count, product) for layer, index, count, product in rows if (layer, index) != place}


def mean_activations(store: Store, places: Sequence[Place]) -> dict[Place, float]:
    """E[a] over all positions counted."""
    if not places:
        return {}
    wanted = " OR ".join(f"(layer = {int(layer)} AND index = {int(index)})" for layer, index in places)
    sql = f'SELECT layer, index, "sum" FROM read_parquet(?) WHERE {wanted}'
    rows = store.tables.run(store.folder, sql, [_files(store)])
    return {(layer, index): total / max(store.manifest.n_tokens, 1) for layer, index, total in rows}


def _files(store: Store) -> list[str]:
    manifest = store.manifest
    paths = [store.tables.check(features_file(at), FEATURES, manifest.n_features) for at in range(manifest.n_layers)]
    return [literal(path) for path in paths]


# ---- a circuit ----


def global_graph(
    features: Features, around: Any, *, weights: str = "virtual", n: int = 6, depth: int = 1, logits: int = N_LOGITS
) -> Graph:
    """The features that one feature, or all features with one label, are connected to, as a graph.

    `depth` times the `n` strongest upstream and downstream features of each are taken in; edges are the weights between
    all that are in, and logits the tokens that these promote most (weight: a unit's on the logit, with TWERA that of
    the feature's mean activation). It is not of one prompt: it has one position, no activations, no constants, and
    `check()` has nothing to add up. `metadata["kind"]` is "global".
    """
    seeds = _seeds(features, around)
    inside = set(seeds)
    edge: set[Place] = set(seeds)
    for _ in range(depth):
        reached: set[Place] = set()
        for place in sorted(edge):
            for table in (upstream(features, place, n, weights), downstream(features, place, n, weights)):
                reached |= set(zip(table["layer"].tolist(), table["index"].tolist(), strict=True))
        edge = reached - inside
        inside |= edge
    places = sorted(inside)
    tokens = _promoted(features, places, weights, logits)
    links = _links(features, places, tokens, weights)
    metadata = {"kind": "global", "weights": weights, "around": str(around), "n_layers": features.model.n_layers}
    metadata |= {"model": features.model.name, "transcoder": repr(features.transcoder)}
    metadata |= {"basis": "neurons"} if features.transcoder.exact else {}
    return Graph(f"all texts, around {around}", ("all texts",), _nodes(features, places, tokens), links, metadata)


def _seeds(features: Features, around: Any) -> list[Place]:
    """The features of a label, else the feature of a name; ValueError with the nearest label."""
    named = [name for name, label in features.labels.items() if label == around]
    return [features.locate(name) for name in named] or [features.locate(around)]


def _nodes(features: Features, places: list[Place], tokens: dict[str, dict[int, float]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for layer, index in places:
        label = features.labels.get(f"L{layer}/{index}")
        place = {"layer": layer, "pos": 0, "feature": index}
        rows.append({"id": f"{layer}_{index}_0", "kind": "feature", "label": label or pd.NA, **place})
    rows += [{"id": f"logit_{at}", "token": token, "kind": "logit", "pos": 0} for at, token in enumerate(tokens)]
    return pd.DataFrame(rows)


def _promoted(features: Features, places: list[Place], weights: str, n: int) -> dict[str, dict[int, float]]:
    """The n tokens with the largest weight on them, and by token the weight of each feature that promotes it."""
    scale = mean_activations(_store(features), places) if weights == "twera" else dict.fromkeys(places, 1.0)
    found: dict[str, dict[int, float]] = {}
    for row, place in enumerate(places):
        for promoted in features[place].promoted:
            found.setdefault(promoted.token, {})[row] = promoted.weight * scale.get(place, 0.0)
    ordered = sorted(found, key=lambda token: -max(found[token].values()))
    return {token: found[token] for token in ordered[:n]}


def _links(features: Features, places: list[Place], tokens: dict[str, dict[int, float]], weights: str) -> Links:
    row = {place: at for at, place in enumerate(places)}
    target, source, weight = [], [], []
    for place in places:
        table = upstream(features, place, len(features), weights)
        for layer, index, value in zip(table["layer"], table["index"], table["weight"], strict=True):
            if (layer, index) in row and value:
                target.append(row[place])
                source.append(row[layer, index])
                weight.append(value)
    for at, by_row in enumerate(tokens.values(), len(places)):
        target += [at] * len(by_row)
        source += list(by_row)
        weight += list(by_row.values())
    arrays = (np.array(target, np.int64), np.array(source, np.int64), np.array(weight, np.float64))
    return Links.from_pairs(*arrays, n_nodes=len(places) + len(tokens))
