"""Small graphs for tests: random ones that close exactly, and one that can be checked by hand."""

import numpy as np
import pandas as pd

from circuitlab.graph import Graph, Links


def closing_graph(
    seed: int = 0,
    n_layers: int = 3,
    n_pos: int = 3,
    n_features: int = 2,
    n_logits: int = 2,
    density: float = 0.7,
    dtype: type = np.float64,
    constants: int = 1,
) -> Graph:
    """A random graph whose targets' pre_activation is the sum of their in-edges; features are on."""
    rng = np.random.default_rng(seed)
    rows = [{"id": "constant" if not i else f"constant_{i}", "kind": "constant"} for i in range(constants)]
    rows += [
        {"id": f"E_{10 + p}_{p}", "kind": "token", "pos": p, "token_id": 10 + p, "token": f" t{p}"}
        for p in range(n_pos)
    ]
    cells = [(layer, p) for layer in range(n_layers) for p in range(n_pos)]
    rows += [{"id": f"{a}_-1_{p}", "kind": "error", "layer": a, "pos": p} for a, p in cells]
    rows += [
        {"id": f"{a}_{f}_{p}", "kind": "feature", "layer": a, "pos": p, "feature": f}
        for a, p in cells
        for f in range(n_features)
    ]
    chance = np.sort(rng.dirichlet(np.ones(n_logits)))[::-1] * 0.95
    rows += [
        {
            "id": f"{n_layers + 1}_{v}_{n_pos - 1}",
            "kind": "logit",
            "pos": n_pos - 1,
            "token_id": v,
            "token": f" answer{v}",
            "probability": chance[v],
        }
        for v in range(n_logits)
    ]
    target, source, weight = [], [], []
    for t, node in enumerate(rows):
        if node["kind"] not in ("feature", "logit"):
            continue
        into = [
            s for s in range(t) if _reaches(rows[s], node) and (rng.random() < density or rows[s]["kind"] == "constant")
        ]
        value = rng.normal(size=len(into))
        if node["kind"] == "feature" and into and value.sum() <= 0.05:
            value[0] += 0.5 - value.sum()
        target += [t] * len(into)
        source += into
        weight += list(value)
    links = Links.from_pairs(
        np.array(target, dtype=np.int64),
        np.array(source, dtype=np.int64),
        np.array(weight, dtype=dtype),
        len(rows),
    )
    nodes = pd.DataFrame(rows)
    is_target = nodes["kind"].isin(("feature", "logit"))
    nodes["pre_activation"] = np.where(is_target, links.row_sums(), np.nan)
    nodes["activation"] = np.where(nodes["kind"] == "feature", nodes["pre_activation"], np.nan)
    tokens = tuple(f" t{p}" for p in range(n_pos))
    return Graph("".join(tokens), tokens, nodes, links, {"model": "random", "n_layers": n_layers})


def _reaches(source: dict, target: dict) -> bool:
    if source["kind"] == "logit":
        return False
    if source["kind"] == "constant":
        return True
    layer = target.get("layer", 10**9) if target["kind"] == "feature" else 10**9
    return source["pos"] <= target["pos"] and source.get("layer", -1) < layer


def dense_matrix(graph: Graph) -> np.ndarray:
    """The adjacency matrix, row = target: what the code under test never builds."""
    matrix = np.zeros((len(graph.nodes), len(graph.nodes)))
    matrix[graph.links.targets(), graph.links.source] = graph.links.weight
    return matrix


def big_graph(n_features: int = 7000, n_edges: int = 12_000_000, n_layers: int = 8, n_pos: int = 16) -> Graph:
    """Random weights at the size of a real prompt's whole graph."""
    rng = np.random.default_rng(0)
    cell = np.sort(rng.integers(0, n_layers * n_pos, n_features))
    layer, pos = np.divmod(cell, n_pos)
    index = np.arange(n_features)
    e_layer, e_pos = np.divmod(np.arange(n_layers * n_pos), n_pos)
    parts = [
        pd.DataFrame({"id": ["constant"], "kind": "constant"}),
        pd.DataFrame({"id": [f"E_{p}_{p}" for p in range(n_pos)], "kind": "token", "pos": range(n_pos)}),
        pd.DataFrame(
            {
                "id": [f"{a}_-1_{p}" for a, p in zip(e_layer, e_pos, strict=True)],
                "kind": "error",
                "layer": e_layer,
            }
        ).assign(pos=e_pos),
        pd.DataFrame(
            {"id": [f"{a}_{f}_{p}" for a, f, p in zip(layer, index, pos, strict=True)], "kind": "feature"}
        ).assign(layer=layer, pos=pos, feature=index),
        pd.DataFrame({"id": [f"9_{v}_15" for v in range(10)], "kind": "logit", "pos": n_pos - 1}).assign(
            probability=np.linspace(0.3, 0.01, 10)
        ),
    ]
    nodes = pd.concat(parts, ignore_index=True)
    row_layer = nodes["layer"].fillna(-1).to_numpy().copy()
    row_layer[-10:] = n_layers
    targets = np.flatnonzero(nodes["kind"].isin(("feature", "logit")))
    per_row = 2 * n_edges // n_features
    rows = []
    for t in targets:
        below = np.flatnonzero(row_layer < row_layer[t])
        rows.append(np.sort(rng.choice(below, min(per_row, len(below)), replace=False)))
    counts = np.zeros(len(nodes), dtype=np.int64)
    counts[targets] = [len(sources) for sources in rows]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    weight = rng.normal(size=indptr[-1]).astype(np.float32) ** 3
    sums = np.add.reduceat(weight, indptr[targets], dtype=np.float64)
    weight[indptr[targets]] += np.maximum(1.0 - sums, 0.0)
    links = Links(indptr, np.concatenate(rows).astype(np.int32), weight)
    nodes["pre_activation"] = np.where(counts > 0, links.row_sums(), np.nan)
    return Graph("big", tuple(str(p) for p in range(n_pos)), nodes, links, {"n_layers": n_layers})
