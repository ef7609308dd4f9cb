"""How far two graphs of one prompt are apart: circuit-tracer's dense matrix and circuitlab's sparse links.

    disagreement = max_{t,s} |A_{s→t} - A'_{s→t}| / max_{t,s} |A'_{s→t}|        (A' is the peer's)

over every pair of nodes that either program knows, constants apart (the peer has none). Nodes are matched
by what they are, (kind, layer, position, feature or token), never by their place; an edge that one program
does not have counts as 0 there. Needs numpy only.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

Node = tuple[str, int, int, int]  # kind, layer, position, feature or token; -1 where it does not apply


@dataclass(frozen=True)
class Agreement:
    """`edges` is the largest difference over the largest edge; the others are plain largest differences."""

    edges: float
    activations: float
    probabilities: float
    features_only_in_one: int
    edges_ours: int
    edges_peer: int
    scores_ours: tuple[float, float]
    scores_peer: tuple[float, float]


def compare(ours_file: Path, peer_file: Path) -> Agreement:
    """The agreement of a graph written by ours.py with one written by peer_circuit_tracer.py."""
    ours, peer = np.load(ours_file, allow_pickle=False), np.load(peer_file, allow_pickle=False)
    if ours["tokens"].tolist() != peer["tokens"].tolist():
        raise ValueError(f"the graphs are of other prompts: {ours['tokens'].tolist()} and {peer['tokens'].tolist()}")
    our_nodes, peer_nodes = nodes_of_ours(ours), nodes_of_peer(peer)
    place = {node: row for row, node in enumerate(peer_nodes)}
    rows = np.array([place.get(node, -1) for node in our_nodes])
    edges, n_edges = _edge_difference(ours, peer["matrix"], rows, ours["kind"] == "constant")
    features = [{node for node in nodes if node[0] == "feature"} for nodes in (our_nodes, peer_nodes)]
    both = {kind: np.flatnonzero((ours["kind"] == kind) & (rows >= 0)) for kind in ("feature", "logit")}
    first_logit = len(peer_nodes) - len(peer["logits"])
    return Agreement(
        edges=edges,
        activations=_largest(ours["activation"][both["feature"]] - peer["activations"][rows[both["feature"]]]),
        probabilities=_largest(
            ours["probability"][both["logit"]] - peer["probabilities"][rows[both["logit"]] - first_logit]
        ),
        features_only_in_one=len(features[0] ^ features[1]),
        edges_ours=n_edges,
        edges_peer=int(np.count_nonzero(peer["matrix"])),
        scores_ours=tuple(ours["scores"].tolist()),
        scores_peer=tuple(peer["scores"].tolist()),
    )


def nodes_of_ours(graph) -> list[Node]:
    columns = [graph[name].tolist() for name in ("layer", "pos", "feature", "token_id")]
    nodes = []
    for kind, layer, pos, feature, token in zip(graph["kind"].tolist(), *columns, strict=True):
        name = {"feature": (layer, pos, feature), "error": (layer, pos, -1), "token": (-1, pos, token)}
        nodes.append((kind, *name.get(kind, (-1, -1, token))))
    return nodes


def nodes_of_peer(graph) -> list[Node]:
    tokens, n_layers = graph["tokens"].tolist(), int(graph["n_layers"])
    nodes: list[Node] = [("feature", *row) for row in graph["features"].tolist()]
    nodes += [("error", layer, pos, -1) for layer in range(n_layers) for pos in range(len(tokens))]
    nodes += [("token", -1, pos, token) for pos, token in enumerate(tokens)]
    return nodes + [("logit", -1, -1, token) for token in graph["logits"].tolist()]


def _edge_difference(ours, matrix: np.ndarray, rows: np.ndarray, constant: np.ndarray) -> tuple[float, int]:
    """Largest difference over the peer's largest edge, and how many edges between nodes ours has."""
    target = np.repeat(np.arange(len(rows)), np.diff(ours["indptr"]))
    kept = ~constant[ours["source"]]
    target, source, weight = target[kept], ours["source"][kept], ours["weight"][kept]
    unknown = (rows[target] < 0) | (rows[source] < 0)
    difference = matrix.copy()
    np.subtract.at(difference, (rows[target[~unknown]], rows[source[~unknown]]), weight[~unknown])
    worst = max(_largest(difference), _largest(weight[unknown]))
    return worst / _largest(matrix), int(np.count_nonzero(weight))


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max()) if values.size else 0.0
