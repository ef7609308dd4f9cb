"""The scene of a whole graph: the `Layout` of `circuitlab.layout`, drawn.

Tokens in boxes below, logits with their probabilities above, features as circles, errors as diamonds, edges as curves,
blue and solid for positive, orange and dashed for negative weights. A graph too large to read is pruned first, and the
caption says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from circuitlab.evidence import NEURONS
from circuitlab.figures.scene import (
    Scene,
    blend,
    circle,
    curve,
    line,
    polygon,
    readable,
    rectangle,
    rounded,
    sign_key,
)
from circuitlab.graph import Graph
from circuitlab.layout import Layout, Theme, lay_out, text_width
from circuitlab.pruning import cumulative_influence


def whole_scene(
    graph: Graph,
    width: float | int,
    em: float | int,
    theme: Theme,
    title: str | None = None,
    caption: bool = True,
    max_nodes: int | None = None,
    **layout: Any,
) -> Scene:
    """The graph in this width, in points, at this font size; `layout` goes to `lay_out`."""
    shown, note = legible(graph, max_nodes or _room_for(width, em))
    options = {"max_edges": round(3.2 * max(len(shown.nodes), 30)), **layout}
    plan = lay_out(shown, width, em, theme=theme, **options)
    scene = Scene(plan.width, -1.9 * em if title else 0.0, plan.height + (1.7 * em if caption else 0.0), em, theme)
    _add_frame(scene, plan)
    _add_edges(scene, plan)
    _add_veils(scene, plan)
    _add_dots(scene, plan)
    _add_boxes(scene, plan)
    _add_texts(scene, plan)
    if title:
        scene.write_fitting(0.4 * em, scene.top + 0.95 * em, readable(title), size=1.15, bold=True)
    if caption:
        note = f"{note}, {len(plan.edge):,} of {graph.counts[1]:,} edges{_before(graph)}{_basis(graph)}"
        scene.write_fitting(0.4 * em, plan.height + 0.8 * em, note, size=0.85, muted=True)
        if text_width(note) * 0.85 * em + 16 * em < plan.width:
            sign_key(scene, plan.height + 0.8 * em)
    return scene


def legible(graph: Graph, max_nodes: int) -> tuple[Graph, str]:
    """The graph, pruned where it has more nodes than can be read, and a sentence that says what is shown."""
    n_nodes = graph.counts[0]
    if n_nodes <= max_nodes:
        return graph, f"{n_nodes:,} nodes"
    shares = np.sort(cumulative_influence(graph.nodes["influence"].fillna(0.0).to_numpy(float)))
    fixed = int(graph.kind_mask("token", "logit").sum())
    wanted = max(max_nodes - fixed, 10)
    small = graph
    for _ in range(6):
        share = float(shares[min(wanted, len(shares)) - 1])
        small = graph.prune(nodes=min(share, 1.0), edges=0.98)
        count = small.counts[0]
        if count <= max_nodes or wanted <= 10:
            break
        wanted = max(int(wanted * 0.97 * max_nodes / count), 10)
    note = f"{small.counts[0]:,} of {n_nodes:,} nodes with {share:.0%} of the influence"
    return small, note


def _before(graph: Graph) -> str:
    whole = graph.metadata.get("pruned", {}).get("of_nodes")
    return f"; pruned from {whole:,} nodes" if whole else ""


def _basis(graph: Graph) -> str:
    return f"; {NEURONS}" if graph.in_neurons else ""


def _room_for(points: float | int, em: float | int) -> int:
    """How many nodes can be read at this width."""
    return int(np.clip(1.9 * points / em, 40, 150))


def _add_frame(scene: Scene, plan: Layout) -> None:
    """Bands behind every other column, a hairline per layer, the names of layers on the left."""
    em, theme = plan.font_size, plan.theme
    top = min((tick.y for tick in plan.ticks), default=plan.height / 2) - 1.4 * em
    for column in plan.columns[::2]:
        high = plan.height - 0.2 * em - top
        scene.add(rectangle(column.left, top, column.right - column.left, high, fill=theme.band))
    left, right = plan.columns[0].left, plan.columns[-1].right
    for tick in plan.ticks:
        scene.add(line([(left, tick.y), (right, tick.y)], stroke=theme.line, width=0.05 * em))
    for tick in plan.ticks:
        if tick.text:
            scene.write(left - 0.5 * em, tick.y, tick.text, size=0.85, align="right", muted=True)


def _add_edges(scene: Scene, plan: Layout) -> None:
    for i, weight in enumerate(plan.weight.tolist()):
        colour = plan.theme.edge_color(weight)
        ink = {"stroke": colour, "width": float(plan.line_width[i]), "opacity": float(plan.opacity[i])}
        scene.add(curve(plan.curve[i], dashed=weight < 0, **ink))


def _add_veils(scene: Scene, plan: Layout) -> None:
    """What keeps labels readable on top of edges (an outline would turn their text into curves)."""
    em = plan.font_size
    for row, text in enumerate(plan.label):
        if text and plan.visible[row]:
            x, y = float(plan.label_x[row]), float(plan.label_y[row])
            wide = (0.92 * text_width(text) + 0.2) * em
            ground = plan.theme.background
            scene.add(rectangle(x - 0.1 * em, y - 0.55 * em, wide, 1.1 * em, fill=ground, opacity=0.72))


def _add_dots(scene: Scene, plan: Layout) -> None:
    em, theme = plan.font_size, plan.theme
    faint = {"fill": theme.box_fill, "stroke": theme.muted, "width": 0.07 * em}
    for row in sorted(range(len(plan.shape)), key=lambda row: plan.shape[row] == "circle"):
        x, y, half = float(plan.x[row]), float(plan.y[row]), float(plan.wide[row] / 2)
        shape = plan.shape[row]
        if not plan.visible[row] or (shape == "box" and plan.text[row]):
            continue
        if shape == "diamond":
            scene.add(polygon([(x, y - half), (x + half, y), (x, y + half), (x - half, y)], **faint))
        elif shape == "circle":
            scene.add(circle(x, y, half, fill=theme.node_fill, stroke=theme.node_line, width=0.1 * em))
        else:
            scene.add(rectangle(x - half, y - half, 2 * half, 2 * half, **faint))


def _add_boxes(scene: Scene, plan: Layout) -> None:
    """Tokens and logits: rounded boxes, a logit's tinted by its probability."""
    chance = np.sqrt(np.clip(plan.probability, 0.0, 1.0))
    em, theme = plan.font_size, plan.theme
    for row, text in enumerate(plan.text):
        if plan.shape[row] == "box" and text:
            fill = blend(theme.box_fill, theme.answer_fill, float(chance[row]))
            place = (float(plan.x[row]), float(plan.y[row]), float(plan.wide[row]), float(plan.high[row]))
            scene.add(rounded(*place, 0.3 * em, fill=fill, stroke=theme.box_line, width=0.07 * em))


def _add_texts(scene: Scene, plan: Layout) -> None:
    step = 0.56 * plan.font_size
    for row, text in enumerate(plan.text):
        if plan.shape[row] != "box" or not text:
            continue
        x, y, lines = float(plan.x[row]), float(plan.y[row]), text.split("\n")
        if len(lines) == 1:
            scene.write(x, y, text, align="center", rotation=plan.token_rotation)
        else:
            scene.write(x, y - step, lines[0], align="center", bold=True)
            scene.write(x, y + step, lines[1], align="center", size=0.9, muted=True)
    for row, text in enumerate(plan.label):
        if text and plan.visible[row]:
            scene.write(plan.label_x[row], plan.label_y[row], text, size=0.95)
