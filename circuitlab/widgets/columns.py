"""A graph as the browser reads it: two byte strings of columns, and its texts as JSON.

Nodes: float32, one column of `NODE_NUMBERS` after the other, each as long as the graph has nodes; what is missing is
NaN. Edges: int32 sources, int32 targets, float32 weights, by target (as in `graph.links`); at most `MAX_EDGES`, those
that carry most influence. `into` and `out_of` are Σ |weight| over all edges of the whole graph, so that shares are
true where edges are left out. `enter` is the share of influence from which on a node is shown (see `pruning.cutoff`).

`placed` gives the layout of what two thresholds show, as `layout.lay_out` makes it for figures, and for every other
node a place in its own cell, where it stands until a new layout arrives.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from circuitlab.graph import KINDS, Graph
from circuitlab.layout import Layout, clip_text, lay_out, show_token, text_width
from circuitlab.neuronpedia import page_address
from circuitlab.pruning import ROUNDING, edge_influence, influence, logit_weights
from circuitlab.view import View

MAX_EDGES = 100_000
LONGEST_TEXT = 400
NODE_NUMBERS = (
    "kind",
    "layer",
    "pos",
    "feature",
    "activation",
    "pre_activation",
    "probability",
    "influence",
    "enter",
    "into",
    "out_of",
    "density",
)
TEXTS = ((12.0, None), (11.0, None), (10.0, None), (10.0, 24), (9.5, 12))
"""Sizes of text in pixels and how many labels (None: as many as a figure has), the best first."""
CROWDING = 1.42
"""How much closer than in a figure lines may stand where that brings the whole graph into view."""
PAGE_EDGES = 30_000
"""At most so many edges go into an offline page."""


@dataclass(frozen=True)
class Columns:
    """`strings`: JSON of prompt, tokens, ids and names; `nodes` and `edges`: see the module's docstring."""

    strings: str
    nodes: bytes
    edges: bytes


def columns(graph: Graph, densities: Mapping[str, float | int] | None = None, max_edges: int | None = None) -> Columns:
    """The columns of a graph. `densities`: share of tokens on which a feature is active, by `L3/55` or node id."""
    edge = _sent(graph, MAX_EDGES if max_edges is None else max_edges)
    target = graph.links.targets()[edge]
    pieces = [
        graph.links.source[edge].astype("<i4"),
        target.astype("<i4"),
        graph.links.weight[edge].astype("<f4"),
    ]
    strings = {
        "prompt": _text(graph.prompt, 4000),
        "tokens": [_text(token, 80) for token in graph.tokens],
        "id": graph.nodes["id"].tolist(),
        "name": [_text(name) for name in graph.names],
        "n_edges": graph.counts[1],
        "n_layers": graph.n_layers,
        "pruned": "pruned" in graph.metadata,
        "neurons": graph.in_neurons,
        "neuronpedia": page_address(graph),
    }
    numbers = _node_numbers(graph, densities or {})
    return Columns(
        json.dumps(strings, ensure_ascii=False, separators=(",", ":")),
        b"".join(numbers[name].astype("<f4").tobytes() for name in NODE_NUMBERS),
        b"".join(piece.tobytes() for piece in pieces),
    )


def _text(text: str, limit: int = LONGEST_TEXT) -> str:
    """Without control characters or lone surrogates, and no longer than a reader reads."""
    return show_token(clip_text(str(text)[: 4 * limit], limit))


def _sent(graph: Graph, limit: int) -> Int[np.ndarray, " sent"]:
    """Indices of the edges to send, by target."""
    found = np.flatnonzero(graph.links.weight)
    if len(found) > limit:
        carried = edge_influence(graph)[found]
        found = np.sort(found[np.argsort(-carried, kind="stable")[:limit]])
    return found.astype(np.int64)


def _node_numbers(graph: Graph, densities: Mapping[str, float | int]) -> dict[str, Float[np.ndarray, " node"]]:
    nodes, links = graph.nodes, graph.links
    size = np.abs(links.weight).astype(np.float64)
    size[graph.kind_mask("constant")[links.source]] = 0.0
    numbers = {
        name: nodes[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        for name in ("layer", "pos", "feature", "activation", "pre_activation", "probability", "influence")
    }
    reach = influence(links, logit_weights(nodes), ~graph.kind_mask("constant"))
    return {
        **numbers,
        "kind": np.array([KINDS.index(kind) for kind in nodes["kind"]], dtype=np.float64),
        "enter": _enter(reach, graph.kind_mask("token", "logit", "constant")),
        "into": links.row_sums(absolute=True),
        "out_of": np.bincount(links.source, np.abs(links.weight), minlength=len(nodes)),
        "density": _densities(graph, densities),
    }


def _densities(graph: Graph, densities: Mapping[str, float | int]) -> Float[np.ndarray, " node"]:
    columns = graph.nodes[["id", "layer", "feature"]].astype(object).itertuples(index=False, name=None)
    return np.array(
        [densities.get(node_id, densities.get(f"L{layer}/{feature}", np.nan)) for node_id, layer, feature in columns],
        dtype=np.float64,
    ).reshape(len(graph.nodes))


def known_densities(
    graph: Graph, densities: Mapping[str, float | int] | None = None, evidence: Any = None
) -> Mapping[str, float | int]:
    """Share of tokens on which a feature is active, by `L3/55` or node id: as given, else `evidence.densities` (a store
    of evidence), else what the graph's metadata hold under "densities". Shares outside 0 to 1 are refused."""
    if densities is None and evidence is not None:
        densities = getattr(evidence, "densities", None)
        if densities is None:
            raise TypeError(f"evidence={evidence!r:.60} has no densities; expected a store of evidence")
    if densities is None:
        densities = graph.metadata.get("densities")
        return densities if isinstance(densities, Mapping) else {}
    if not isinstance(densities, Mapping):
        raise TypeError(f"densities={densities!r:.60}: expected a mapping such as {{'L3/55': 0.01}}")
    wrong = next(((name, share) for name, share in densities.items() if not 0 <= share <= 1), None)
    if wrong is not None:
        raise ValueError(f"densities[{wrong[0]!r}] is {wrong[1]!r}: expected a share of tokens, from 0 to 1")
    return densities


def _enter(reach: Float[np.ndarray, " node"], fixed: np.ndarray) -> Float[np.ndarray, " node"]:
    """Of each node the share of influence held by what is more influential; 0 for those that always stay, and 2 for
    nodes without influence, which never show."""
    order = np.argsort(-reach, kind="stable")
    falling = np.maximum(reach[order], 0.0)
    held = np.cumsum(falling) / (falling.sum() or 1.0)
    before = np.concatenate([[0.0], held[:-1]])
    new_value = np.concatenate([[True], falling[1:] < falling[:-1] * (1 - ROUNDING)])
    first = np.maximum.accumulate(np.where(new_value, np.arange(len(falling)), 0)) if len(falling) else order
    enter = np.empty(len(reach))
    enter[order] = np.where(falling > 0, before[first], 2.0)
    enter[fixed] = 0.0
    return enter


@dataclass(frozen=True)
class Placed:
    """`numbers`: float32 columns x, y, wide, high of every node of the graph, in pixels; `strings`: JSON of the extent,
    the columns, the ticks, the texts in boxes, and of each label its text, place and SVG's text-anchor, by row."""

    numbers: bytes
    strings: str


def placed(graph: Graph, shown: Graph, width: float | int, height: float | int) -> Placed:
    """Lay out `shown`, a part of `graph`, in this width, and in this height unless lines would crowd too much."""
    plan = _in_view(shown, float(width), float(height))
    place = np.full(len(graph.nodes), -1)
    place[[graph.row(node_id) for node_id in shown.nodes["id"]]] = np.arange(len(shown.nodes))
    here = place >= 0
    numbers = np.full((4, len(graph.nodes)), np.nan)
    numbers[:, here] = np.stack((plan.x, plan.y, plan.wide, plan.high))[:, place[here]]
    numbers[:, ~here] = _in_cells(graph, plan, ~here)
    rows = np.flatnonzero(here)
    strings = {
        "width": plan.width,
        "height": plan.height,
        "em": plan.font_size,
        "rotation": plan.token_rotation,
        "columns": [[column.pos, round(column.left, 2), round(column.right, 2)] for column in plan.columns],
        "ticks": [[tick.layer, round(tick.y, 2), tick.text] for tick in plan.ticks],
        "text": {int(row): plan.text[place[row]] for row in rows if plan.text[place[row]]},
        "label": {int(row): _label(plan, int(place[row])) for row in rows if plan.label[place[row]]},
    }
    return Placed(numbers.astype("<f4").tobytes(), json.dumps(strings, ensure_ascii=False, separators=(",", ":")))


def _in_view(shown: Graph, width: float, height: float) -> Layout:
    """The layout with the largest text that shows everything at once; where none can, one that is higher."""
    for size, labels in TEXTS:
        plan = lay_out(shown, width, size, height, max_edges=1500, max_labels=labels)
        if plan.crowding <= CROWDING:
            return plan
    return lay_out(shown, width, size, height * plan.crowding / CROWDING, max_edges=1500, max_labels=labels)


def _label(plan: Layout, row: int) -> tuple[str, float, float, str]:
    """Text, x, y and text-anchor: a label left of its node ends there, since the layout allows for a wider font."""
    x, start = float(plan.x[row]), float(plan.label_x[row])
    room = text_width(plan.label[row]) * plan.font_size
    at, anchor = start, "start"
    if start + room <= x:
        at, anchor = start + room, "end"
    elif abs(start + room / 2 - x) < 0.01 * plan.font_size:
        at, anchor = x, "middle"
    return plan.label[row], round(at, 2), round(float(plan.label_y[row]), 2), anchor


def _in_cells(graph: Graph, plan: Layout, hidden: np.ndarray) -> Float[np.ndarray, "4 hidden"]:
    """x, y, width and height for nodes that the layout leaves out: spread over the cell of their layer and token."""
    pos = graph.nodes["pos"].fillna(0).to_numpy(np.int64)[hidden]
    layer = graph.nodes["layer"].fillna(0).to_numpy(np.float64)[hidden]
    ticks = sorted((tick.layer, tick.y) for tick in plan.ticks) or [(0, plan.height / 2)]
    y = np.interp(layer, [at for at, _ in ticks], [at for _, at in ticks])
    left = np.array([column.left for column in plan.columns])[pos]
    right = np.array([column.right for column in plan.columns])[pos]
    turn = (np.arange(len(pos)) * 0.6180339887) % 1.0
    x = left + (right - left) * (0.12 + 0.76 * turn)
    size = np.full(len(pos), 0.5 * plan.font_size)
    return np.stack([x, y + 1.6 * plan.font_size * (((turn * 7) % 1.0) - 0.5), size, size])


def extent(width: Any, height: Any) -> tuple[float, float]:
    """The drawing area that the browser reports, within reason."""
    return float(np.clip(width, 320, 4000)), float(np.clip(height, 200, 4000))


def page_data(graph: Graph, view: View, width: float, height: float) -> dict[str, Any]:
    """Everything a widget holds, as JSON for an offline page: bytes in base64 (see widgets/src/page/main.ts)."""
    sent = columns(graph, known_densities(graph), PAGE_EDGES)
    whole = view.node_threshold >= 1.0 and view.edge_threshold >= 1.0
    shown = graph if whole else graph.prune(view.node_threshold, view.edge_threshold)
    done = placed(graph, shown, width, height)
    names = {name: _text(name) for name in view.supernodes}
    state = {
        **{field.name: getattr(view, field.name) for field in fields(View)},
        "labels": {node_id: _text(text) for node_id, text in view.labels.items()},
        "supernodes": {names[name]: members for name, members in view.supernodes.items()},
        "positions": {names.get(name, name): at for name, at in view.positions.items()},
    }
    return {
        "strings": sent.strings,
        "nodes": base64.b64encode(sent.nodes).decode("ascii"),
        "edges": base64.b64encode(sent.edges).decode("ascii"),
        "placed": base64.b64encode(done.numbers).decode("ascii"),
        "placed_strings": done.strings,
        "state": state,
    }
