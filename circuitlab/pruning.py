"""Which nodes and edges matter: influence on the logits, pruning, and scores of how much a graph explains.

With A the edge weights (row = target), Â = |A| with every row scaled to sum to 1, and p the probabilities of
the logits, the influence of a node is

    v = p (Â + Â² + …) = p ((I − Â)^{-1} − I)

Pruning keeps the most influential nodes that together hold a share of all influence, then, in the graph of
those, the edges s→t of the largest score Â_{s→t} (v_t + p_t), and drops what is left without inputs or
outputs. Tokens and logits always stay. From "Circuit Tracing" (2025), appendix "Graph pruning",
https://transformer-circuits.pub/2025/attribution-graphs/methods.html; the definitions agree with
circuit-tracer's.

The graph is acyclic and its rows are in topological order, so v is found by one back-substitution from the
last row to the first, block by block, touching each edge once; no inverse and no dense matrix. Constants,
which the paper's graphs do not have, take no part in normalisation, influence or scores, so that numbers
compare; pruning keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int

from circuitlab.graph import Graph, Links

EDGES_AT_ONCE = 1_000_000
SMALLEST_ROW = 1e-10
"""A row whose absolute values add up to less is scaled by this instead, as circuit-tracer does."""

ROUNDING = 1e-10
"""Values that differ relatively by less are tied. A node with one input and one output has the same influence on both
edges, so ties at the threshold are common, and rounding must not decide them."""


@dataclass(frozen=True)
class Scores:
    """How much of the computation runs through features, from 0 to 1.

    replacement: of the influence that ends in tokens and errors, the part that ends in tokens.
    completeness: the share of non-error input, over all nodes, each weighted by its influence on the output.
    """

    replacement: float
    completeness: float

    def __repr__(self) -> str:
        return f"Scores(replacement={self.replacement:.3f}, completeness={self.completeness:.3f})"


def row_blocks(links: Links, edges_at_once: int = EDGES_AT_ONCE) -> list[tuple[int, int]]:
    """Consecutive ranges of rows, in order, none with an edge inside it: each is one vector step."""
    highest = links.last_sources()
    blocks, start = [], 0
    for row, (source, end) in enumerate(zip(highest.tolist(), links.indptr[1:].tolist(), strict=True)):
        if row > start and (source >= start or end - links.indptr[start] > edges_at_once):
            blocks.append((start, row))
            start = row
    return [*blocks, (start, links.n_nodes)] if links.n_nodes else blocks


def logit_weights(nodes: pd.DataFrame) -> Float64[np.ndarray, " node"]:
    """p: each logit's probability; a logit difference or direction, which has none, weighs 1; others 0."""
    return np.where(nodes["kind"] == "logit", nodes["probability"].fillna(1.0), 0.0).astype(np.float64)


def node_influence(nodes: pd.DataFrame, links: Links) -> Float64[np.ndarray, " node"]:
    """The `influence` column: v, missing at logits (where it begins) and constants (which take no part)."""
    counted = (nodes["kind"] != "constant").to_numpy(dtype=bool)
    reach = influence(links, logit_weights(nodes), counted)
    return np.where(nodes["kind"].isin(("logit", "constant")), np.nan, reach)


def influence(
    links: Links, start: Float[np.ndarray, " node"], counted: Bool[np.ndarray, " node"]
) -> Float64[np.ndarray, " node"]:
    """v = p (Â + Â² + …) for p = `start`, by back-substitution of u = p + u Â, v = u − p.

    Edges out of nodes that are not `counted` are left out, also of the normalisation.
    """
    start = np.asarray(start, dtype=np.float64)
    reach = start.copy()
    if links.runs is not None:
        _back_substitute_runs(links, reach, counted)
        return reach - start
    for first, last in reversed(row_blocks(links)):
        span = slice(links.indptr[first], links.indptr[last])
        if span.start == span.stop or not reach[first:last].any():
            continue
        shares = _row_shares(links, first, last, counted, reach[first:last])
        reach += np.bincount(links.source[span], weights=shares, minlength=links.n_nodes)
    return reach - start


def influence_from(links: Links, row: int, counted: Bool[np.ndarray, " node"]) -> Float64[np.ndarray, " node"]:
    """The unsigned influence of one node on every other, its column of (I − Â)^{-1} − I, by forward substitution."""
    reach = np.zeros(links.n_nodes)
    reach[row] = 1.0
    for first, last in row_blocks(links):
        span = slice(links.indptr[first], links.indptr[last])
        source = links.source[span]
        if last <= row or not reach[source].any():
            continue
        shares = _row_shares(links, first, last, counted, np.ones(last - first)) * reach[source]
        target = np.repeat(np.arange(last - first), np.diff(links.indptr[first : last + 1]))
        reach[first:last] += np.bincount(target, weights=shares, minlength=last - first)
    reach[row] = 0.0
    return reach


def _back_substitute_runs(
    links: Links, reach: Float64[np.ndarray, " node"], counted: Bool[np.ndarray, " node"]
) -> None:
    """`influence` where rows share their sources: one vector-matrix product per run, which is several times faster."""
    for run in reversed(links.runs or ()):
        if not reach[run.start : run.stop].any():
            continue
        size = np.abs(links.weight[links.indptr[run.start] : links.indptr[run.stop]]).reshape(-1, len(run.sources))
        size[:, ~counted[run.sources]] = 0.0
        factor = reach[run.start : run.stop] / np.maximum(size.sum(1, dtype=np.float64), SMALLEST_ROW)
        reach[run.sources] += factor.astype(size.dtype) @ size


def _row_shares(
    links: Links,
    first: int,
    last: int,
    counted: Bool[np.ndarray, " node"],
    of: Float64[np.ndarray, " rows"],
) -> Float64[np.ndarray, " span"]:
    """Â of the rows `first` to `last`, each row times its value in `of`."""
    span = slice(links.indptr[first], links.indptr[last])
    size = np.abs(links.weight[span], dtype=np.float64)
    size *= counted[links.source[span]]
    counts = links.counts[first:last]
    filled = np.flatnonzero(counts)
    factor = np.zeros(last - first)
    sums = np.add.reduceat(size, links.indptr[first:last][filled] - span.start) if filled.size else 0.0
    factor[filled] = of[filled] / np.maximum(sums, SMALLEST_ROW)
    size *= np.repeat(factor, counts)
    return size


def edge_influence(graph: Graph) -> Float64[np.ndarray, " edge"]:
    """Â_{s→t} (v_t + p_t) of every edge: how much influence runs along it; 0 on edges from constants."""
    links, counted = graph.links, ~graph.kind_mask("constant")
    start = logit_weights(graph.nodes)
    reach = influence(links, start, counted) + start
    pieces = [_row_shares(links, first, last, counted, reach[first:last]) for first, last in row_blocks(links)]
    return np.concatenate(pieces) if pieces else np.zeros(0)


def cumulative_influence(values: Float[np.ndarray, " node"]) -> Float64[np.ndarray, " node"]:
    """For each value the share of the total held by it and all larger ones: small means important."""
    known = np.nan_to_num(np.asarray(values, dtype=np.float64))
    order = np.argsort(-known, kind="stable")
    shares = np.empty(len(known))
    shares[order] = np.cumsum(known[order]) / (known.sum() or 1.0)
    return shares


def cutoff(values: Float[np.ndarray, " any"], share: float | int) -> float:
    """The smallest value to keep so that the kept ones, and what ties with them, hold this share of all; never 0."""
    falling = -np.sort(-np.asarray(values, dtype=np.float64))
    falling = falling[falling > 0]
    if not falling.size:
        return np.inf
    if share >= 1.0:
        return float(falling[-1])
    held = np.cumsum(falling)
    return float(falling[min(int(np.searchsorted(held / held[-1], share)), len(falling) - 1)]) * (1 - ROUNDING)


def prune(graph: Graph, nodes: float | int = 0.8, edges: float | int = 0.98, fold: bool = False) -> Graph:
    """The part of the graph that carries these shares of influence; `influence` keeps the whole graph's.

    `fold`: what a kept target received from what was cut is added to the error node of the source's layer and
    position (of a token: to the constant); such nodes come back or are made where missing. Every target's sum
    is then what it was.
    """
    for name, share in (("nodes", nodes), ("edges", edges)):
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"prune({name}={share!r}): a share of influence from 0 to 1 is expected, such as 0.8")
    keep_nodes, keep_edges = _keep(graph, nodes, edges)
    note = {
        "nodes": nodes,
        "edges": edges,
        "fold": fold,
        "of_nodes": graph.counts[0],
        "of_edges": graph.counts[1],
    }
    metadata = {**graph.metadata, "pruned": note}
    if fold:
        return _folded(graph, keep_nodes, keep_edges, metadata)
    kept = graph.nodes[keep_nodes].reset_index(drop=True)
    return replace(graph, nodes=kept, links=graph.links.select(keep_nodes, keep_edges), metadata=metadata)


def _keep(
    graph: Graph, nodes: float | int, edges: float | int
) -> tuple[Bool[np.ndarray, " node"], Bool[np.ndarray, " edge"]]:
    """The masks of nodes and edges that stay."""
    constant = graph.kind_mask("constant")
    fixed = graph.kind_mask("token", "logit", "constant")
    reach = influence(graph.links, logit_weights(graph.nodes), ~constant)
    keep = (reach >= cutoff(reach, nodes)) | fixed

    inside = keep[graph.links.source] & np.repeat(keep, graph.links.counts)
    chosen = replace(graph, nodes=graph.nodes[keep].reset_index(drop=True), links=graph.links.select(keep, inside))
    score = edge_influence(chosen)
    from_constant = constant[keep][chosen.links.source]
    strong = (score >= cutoff(score, edges)) & ~from_constant
    alive = _connected(chosen, strong)
    strong &= alive[chosen.links.source] & np.repeat(alive, chosen.links.counts)

    keep_edges = np.zeros(len(graph.links), dtype=bool)
    keep_edges[inside] = strong | (from_constant & np.repeat(alive, chosen.links.counts))
    keep[keep] = alive
    return keep, keep_edges


def _connected(graph: Graph, edges: Bool[np.ndarray, " edge"]) -> Bool[np.ndarray, " node"]:
    """Without the nodes that lose all outputs, or as features all inputs, until none is left to drop."""
    source, target = graph.links.source[edges], graph.links.targets()[edges]
    need_outputs = graph.kind_mask("feature", "error")
    need_inputs = graph.kind_mask("feature") & (graph.metadata.get("kind") != "global")  # those begin at features
    alive = np.ones(len(graph.nodes), dtype=bool)
    while True:
        live = alive[source] & alive[target]
        has_output = np.bincount(source[live], minlength=len(alive)) > 0
        has_input = np.bincount(target[live], minlength=len(alive)) > 0
        still = alive & (has_output | ~need_outputs) & (has_input | ~need_inputs)
        if (still == alive).all():
            return alive
        alive = still


def _folded(
    graph: Graph, keep: Bool[np.ndarray, " node"], keep_edges: Bool[np.ndarray, " edge"], metadata: dict
) -> Graph:
    target = graph.links.targets()
    cut = np.flatnonzero(keep[target] & ~keep_edges)
    bin_of, new = _bins(graph, np.unique(graph.links.source[cut]))
    used = np.unique(bin_of[graph.links.source[cut]]) if cut.size else np.zeros(0, dtype=np.int64)
    everyone = pd.concat([graph.nodes, new], ignore_index=True) if len(new) else graph.nodes
    alive = np.concatenate([keep, np.zeros(len(new), dtype=bool)])
    alive[used] = True

    stay = np.flatnonzero(keep_edges)
    weight = np.concatenate([graph.links.weight[stay], graph.links.weight[cut]])
    source = np.concatenate([graph.links.source[stay].astype(np.int64), bin_of[graph.links.source[cut]]])
    order = _order_with_new(everyone, len(graph.nodes))
    order = order[alive[order]]
    place = np.full(len(everyone), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    links = Links.from_pairs(
        place[np.concatenate([target[stay], target[cut]])],
        place[source],
        weight,
        len(order),
        sum_duplicates=True,
    )
    return replace(graph, nodes=everyone.iloc[order].reset_index(drop=True), links=links, metadata=metadata)


def _bins(graph: Graph, sources: Int[np.ndarray, " cut"]) -> tuple[Int[np.ndarray, " node"], pd.DataFrame]:
    """For each of these rows the row that takes over what it carried, and the nodes to be made for that."""
    rows = {node_id: row for row, node_id in enumerate(graph.nodes["id"])}
    bin_of = np.full(len(graph.nodes), -1, dtype=np.int64)
    new: list[dict] = []
    for row, (kind, layer, pos) in zip(
        sources.tolist(),
        graph.nodes[["kind", "layer", "pos"]].iloc[sources].astype(object).itertuples(index=False, name=None),
        strict=True,
    ):
        if kind == "error":
            bin_of[row] = row
            continue
        placed = kind == "feature" and not pd.isna(layer) and not pd.isna(pos)
        node = (
            {"id": f"{layer}_-1_{pos}", "kind": "error", "layer": layer, "pos": pos, "influence": 0.0}
            if placed
            else {"id": "constant", "kind": "constant"}
        )
        if node["id"] not in rows:
            rows[node["id"]] = len(graph.nodes) + len(new)
            new.append(node)
        bin_of[row] = rows[node["id"]]
    table = pd.DataFrame(new, columns=list(graph.nodes.columns))
    return bin_of, table.astype(graph.nodes.dtypes.to_dict())


def _order_with_new(nodes: pd.DataFrame, n_old: int) -> Int[np.ndarray, " node"]:
    """The old order, with new constants first and new errors before the first old error or feature."""
    kind = nodes["kind"].to_numpy(dtype=object)
    old = np.arange(n_old)
    new = np.arange(n_old, len(nodes))
    later = np.flatnonzero(np.isin(kind[:n_old], ("error", "feature", "logit")))
    split = int(later[0]) if later.size else n_old
    constants, errors = new[kind[new] == "constant"], new[kind[new] == "error"]
    return np.concatenate([constants, old[:split], errors, old[split:]])


def scores(graph: Graph) -> Scores:
    """The replacement and completeness scores, as the paper's "Evaluating our graphs" defines them."""
    constant, error = graph.kind_mask("constant"), graph.kind_mask("error")
    start = logit_weights(graph.nodes)
    reach = influence(graph.links, start, ~constant)
    ends = reach[error].sum() + reach[graph.kind_mask("token")].sum()
    replacement = float(reach[graph.kind_mask("token")].sum() / ends) if ends else float("nan")

    # Σ over targets of (error share of the input)·(v_t + p_t) is, by the definition of v, Σ over errors of v.
    output = reach + start
    output[constant] = 0.0
    total = output.sum()
    completeness = float((total - reach[error].sum()) / total) if total else float("nan")
    return Scores(replacement, completeness)
