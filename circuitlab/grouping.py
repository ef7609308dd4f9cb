"""Supernodes: nodes that belong together stand as one, and the edges between two groups add up.

With S the membership matrix (S_{ng} = 1 where node n is in group g; a node in no group is a group of its own) and A the
graph's edges (row = target), the grouped edges are

    G = Sᵀ A S,    G_{gh} = Σ_{t∈g, s∈h} A_{s→t}

in float64, each edge touched once, no dense matrix. What runs inside a group (the diagonal) is no edge; it stands in
the column `within`. Groups of nodes at several layers may point at each other both ways: then there are two edges.
Supernodes: "Circuit Tracing" (2025), https://transformer-circuits.pub/2025/attribution-graphs/methods.html, whose
edges between supernodes are normalised by inputs; these are plain sums, so that they still add up to pre-activations.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from circuitlab.graph import Graph
from circuitlab.view import View


@dataclass(frozen=True, eq=False)
class Grouped:
    """A graph of groups.

    `nodes`: `name` (the supernode's, or the id of a node that stands alone; unique), `label` (to be read), `kind` (the
    members', or "mixed"), `members` (ids), `n_members`, `layer_first`, `layer_last`, `pos_first`, `pos_last` (missing
    where no member has one), `activation`, `probability` and `influence` (sums over members; missing where no member
    has one), `within` (Σ of edges between its own members); in the order of the first member in the graph.
    `edges`: `source`, `target` (names), `weight` (sum), `n_edges`; by target, then source.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame

    def inputs(self, name: str) -> pd.DataFrame:
        """Edges into a group, strongest first."""
        return self._strongest("target", name)

    def outputs(self, name: str) -> pd.DataFrame:
        """Edges out of a group, strongest first."""
        return self._strongest("source", name)

    def _strongest(self, end: str, name: str) -> pd.DataFrame:
        if name not in set(self.nodes["name"]):
            near = difflib.get_close_matches(str(name), self.nodes["name"].tolist(), n=3, cutoff=0.4)
            raise ValueError(f"no group {name!r:.60} among {len(self.nodes)}; nearest: {', '.join(near) or 'none'}")
        rows = np.flatnonzero((self.edges[end] == name).to_numpy(bool))
        size = self.edges["weight"].abs().to_numpy(float)[rows]
        return self.edges.iloc[rows[np.argsort(-size, kind="stable")]].reset_index(drop=True)


def group(graph: Graph, supernodes: Mapping[str, Sequence[str]] | View, only: Sequence[str] | None = None) -> Grouped:
    """The graph with each supernode (name → node ids) as one node; `only`: besides them just these nodes.

    Raises ValueError for an unknown id (naming the nearest), an empty group, a node in two groups.
    """
    view = supernodes if isinstance(supernodes, View) else View(supernodes=supernodes)
    view.check(graph)
    owner, names = _owners(graph, view, only)
    return Grouped(_group_nodes(graph, view, owner, names), _group_edges(graph, owner, names))


def _owners(graph: Graph, view: View, only: Sequence[str] | None) -> tuple[Int[np.ndarray, " node"], list[str]]:
    """Per node its group's number (−1: left out), and the groups' names, by first member."""
    key = graph.nodes["id"].to_numpy(dtype=object).copy()
    keep = np.full(len(key), only is None)
    keep[[graph.row(node_id) for node_id in only or ()]] = True
    for name, members in view.supernodes.items():
        rows = [graph.row(node_id) for node_id in members]
        key[rows] = name
        keep[rows] = True
    numbers: dict[str, int] = {}
    owner = np.full(len(key), -1, dtype=np.int64)
    for row in np.flatnonzero(keep):
        owner[row] = numbers.setdefault(key[row], len(numbers))
    return owner, list(numbers)


def _group_nodes(graph: Graph, view: View, owner: Int[np.ndarray, " node"], names: list[str]) -> pd.DataFrame:
    rows = np.flatnonzero(owner >= 0)
    nodes = graph.nodes.iloc[rows]
    by = nodes.groupby(owner[rows], sort=True)
    kinds = by["kind"].agg(lambda kind: kind.iloc[0] if kind.nunique() == 1 else "mixed")
    ids = nodes["id"].to_numpy(dtype=object)
    members = [tuple(ids[where]) for _, where in sorted(by.indices.items())]
    labels = [
        name if name in view.supernodes else view.labels.get(name) or graph.names[graph.row(name)] for name in names
    ]
    table: dict[str, Any] = {
        "name": pd.array(names, dtype="string"),
        "label": pd.array(labels, dtype="string"),
        "kind": kinds.astype("string").array,
        "members": pd.Series(members, dtype=object),
        "n_members": [len(who) for who in members],
        "layer_first": by["layer"].min().array,
        "layer_last": by["layer"].max().array,
        "pos_first": by["pos"].min().array,
        "pos_last": by["pos"].max().array,
    }
    for column in ("activation", "probability", "influence"):
        table[column] = by[column].sum(min_count=1).to_numpy(float)
    source, target = owner[graph.links.source], owner[graph.links.targets()]
    inside = (source == target) & (source >= 0)
    weight = graph.links.weight[inside].astype(np.float64)
    table["within"] = np.bincount(source[inside], weights=weight, minlength=len(names))
    return pd.DataFrame(table)


def _group_edges(graph: Graph, owner: Int[np.ndarray, " node"], names: list[str]) -> pd.DataFrame:
    source, target = owner[graph.links.source], owner[graph.links.targets()]
    between = np.flatnonzero((source >= 0) & (target >= 0) & (source != target))
    pair = target[between] * len(names) + source[between]
    pairs, place = np.unique(pair, return_inverse=True)
    weight = graph.links.weight[between].astype(np.float64)
    spelled = np.array(names, dtype=object)
    return pd.DataFrame(
        {
            "source": pd.array(spelled[pairs % max(len(names), 1)], dtype="string"),
            "target": pd.array(spelled[pairs // max(len(names), 1)], dtype="string"),
            "weight": np.bincount(place, weights=weight, minlength=len(pairs)),
            "n_edges": np.bincount(place, minlength=len(pairs)),
        }
    )
