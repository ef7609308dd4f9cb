"""The scene of a user's subgraph: pinned nodes and supernodes as a flowchart.

Edges between boxes are the sums of `circuitlab.grouping`. Of them the strongest are drawn, and of every box its two
strongest inputs and its strongest output. Where no token (no answer) is pinned or grouped, the tokens that feed the
boxes most, and the likeliest answer, are added, so that the figure begins and ends somewhere; `ends=False` leaves them
out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from circuitlab.evidence import NEURONS
from circuitlab.figures.chart import draw_arrows, draw_box, sized, with_room
from circuitlab.figures.flowchart import BOTTOM, TOP, Arrows, Box, Line, place
from circuitlab.figures.scene import Scene, fit, percent, readable, sign_key, wrap
from circuitlab.graph import Graph
from circuitlab.grouping import Grouped, group
from circuitlab.layout import Theme, text_width
from circuitlab.view import View

LABEL_ROOM = 8.6
"""Width of a label in em; longer ones take a second line, then are clipped."""
TOKENS_ADDED = 8
WEAKEST = 0.02
"""Edges below this share of the strongest are not drawn."""


def subgraph_scene(
    graph: Graph,
    view: View,
    width: float | int,
    em: float | int,
    theme: Theme,
    title: str | None = None,
    caption: bool = True,
    ends: bool = True,
    height: float | int | None = None,
    max_edges: int | None = None,
) -> Scene:
    """The user's subgraph in this width, in points, at this font size."""
    view.check(graph)
    if view.is_empty:
        raise ValueError(
            "the view has no pinned nodes and no supernodes, so there is no subgraph to draw; give it some "
            "(View(pinned=[…], supernodes={…})) or leave view out for the whole graph"
        )
    shown = [*view.pinned, *(_ends(graph, view) if ends else [])]
    grouped = group(graph, view, only=list(dict.fromkeys(shown)))
    boxes = [_box(graph, row, em) for row in grouped.nodes.to_dict("records")]
    arrows = strongest(grouped, [box.name for box in boxes], max_edges or max(round(1.6 * len(boxes)), 8))
    boxes = with_room(boxes, arrows, em)
    foot, heading = (1.9 * em if caption else 0.0), (1.9 * em if title else 0.0)
    at, high = place(boxes, arrows, width, em, dict(view.positions), height)  # pyright: ignore[reportArgumentType]
    scene = Scene(width, -heading, high + foot, em, theme)
    draw_arrows(scene, boxes, at, arrows)
    for box, middle in zip(boxes, at, strict=True):
        draw_box(scene, box, middle)
    if title:
        scene.write_fitting(0.4 * em, scene.top + 0.95 * em, readable(title), size=1.15, bold=True)
    if caption:
        note = f"edges between boxes added up; {len(arrows.weight)} of {len(grouped.edges)} drawn"
        note += f"; {NEURONS}" if graph.in_neurons else ""
        if text_width(note) * 0.85 * em + 15 * em < width:
            scene.write(0.4 * em, high + 0.9 * em, note, size=0.85, muted=True)
        sign_key(scene, high + 0.9 * em)
    return scene


def _ends(graph: Graph, view: View) -> list[str]:
    """Tokens and the answer to add where the view has none."""
    kinds = graph.nodes["kind"].to_numpy(dtype=object)
    mine = np.zeros(len(graph.nodes), dtype=bool)
    mine[[graph.row(i) for i in (*view.pinned, *view.owners)]] = True
    found = []
    if not (mine & (kinds == "token")).any():
        source, weight = graph.links.source, np.abs(graph.links.weight, dtype=np.float64)
        feeds = np.bincount(source, weights=weight * mine[graph.links.targets()], minlength=len(kinds))
        feeds[kinds != "token"] = 0.0
        order = np.argsort(-feeds, kind="stable")[:TOKENS_ADDED]
        found += [graph.nodes["id"].iat[row] for row in sorted(order) if feeds[row] > 0.04 * feeds.max(initial=0.0)]
    if len(graph.targets) and not (mine & (kinds == "logit")).any():
        found.append(graph.targets["id"].iat[0])
    return found


def _box(graph: Graph, row: dict[str, Any], em: float | int) -> Box:
    kind = row["kind"] if row["n_members"] == 1 or row["kind"] not in ("token", "logit") else "mixed"
    lines = _lines(graph, row, kind)
    wide, high = sized(lines, em, least=2.2)
    first = 0 if pd.isna(row["pos_first"]) else row["pos_first"]
    last = first if pd.isna(row["pos_last"]) else row["pos_last"]
    rows = graph.nodes.iloc[[graph.row(m) for m in row["members"]]]
    layer = {"token": BOTTOM, "logit": TOP}.get(kind)
    if layer is None:
        layers = rows["layer"].dropna().to_numpy(float)
        layer = float(layers.mean()) if layers.size else (graph.n_layers if row["kind"] == "logit" else 0.0)
    column = float(rows["pos"].dropna().to_numpy(float).mean()) if rows["pos"].notna().any() else (first + last) / 2
    share = 0.0 if np.isnan(row["probability"]) else min(max(float(row["probability"]), 0.0), 1.0)
    behind = 0 if row["n_members"] == 1 else 1 if row["n_members"] == 2 else 2
    return Box(row["name"], tuple(lines), wide, high, layer, column, behind, kind, share)


def _lines(graph: Graph, row: dict[str, Any], kind: str) -> list[Line]:
    node = graph.node(row["members"][0])
    if kind in ("token", "logit"):
        own = node["token"] if isinstance(node["token"], str) else row["label"]
        text = fit(readable(str(own)), LABEL_ROOM)
        if kind == "token" or np.isnan(row["probability"]):
            return [Line(text)]
        chance = float(row["probability"])
        return [Line(text, bold=True), Line(percent(chance), 0.85, muted=True)]
    lines = [Line(text) for text in wrap(readable(row["label"]), LABEL_ROOM)]
    where = _where(row)
    says_it = not where or (row["n_members"] == 1 and row["label"].startswith(f"{where}/"))
    return lines if says_it else [*lines, Line(where, 0.72, muted=True)]


def _where(row: dict[str, Any]) -> str:
    """The layers of a box, and how many nodes it stands for."""
    first, last = row["layer_first"], row["layer_last"]
    layers = "" if pd.isna(first) else f"L{first}" if first == last else f"L{first}–{last}"
    return layers if row["n_members"] == 1 else f"{layers} × {row['n_members']}".strip()


def strongest(grouped: Grouped, names: list[str], limit: int) -> Arrows:
    """The edges to draw, see above."""
    number = {name: i for i, name in enumerate(names)}
    table = grouped.edges
    source = np.array([number[name] for name in table["source"]], dtype=np.int64)
    target = np.array([number[name] for name in table["target"]], dtype=np.int64)
    weight = table["weight"].to_numpy(dtype=np.float64)
    size = np.abs(weight)
    order = np.argsort(-size, kind="stable")
    order = order[size[order] > WEAKEST * size.max(initial=0.0)]
    chosen = set(order[:limit].tolist())
    for ends, n in ((target, 2), (source, 1)):
        for box in range(len(names)):
            own = np.flatnonzero((ends == box) & (size > 0))
            chosen |= set(own[np.argsort(-size[own], kind="stable")[:n]].tolist())
    keep = np.array(sorted(chosen), dtype=np.int64)
    return Arrows(source[keep], target[keep], weight[keep])
