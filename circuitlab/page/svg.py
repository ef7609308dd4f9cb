"""The figure of a graph as SVG elements that a page can style and a script can find.

Reads a `Layout` and gives markup: positions, shapes and strengths are the layout's, colours come from the
page's style sheet by class (`edge positive`, `node feature`, …), so one drawing serves the light and the dark
theme. A node's group carries `data-row`, its row in `graph.nodes`; an edge's path `data-edge`, its number in
the page's edge table. Edges come first, weakest first, then nodes. Every string is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from jaxtyping import Bool

from circuitlab.graph import Graph
from circuitlab.layout import DASHES, Layout, text_width

LABEL_SIZE = 0.92


def figure_svg(
    graph: Graph,
    layout: Layout,
    edge_number: Mapping[int, int],
    resting: Bool[np.ndarray, " edge"],
    title: str,
) -> str:
    """The whole figure. `edge_number` gives the number in the table of an index into `graph.links`; edges
    that are not `resting` are of class `idle`, to be shown only while they are pointed at."""
    parts = [
        f'<svg class="figure" viewBox="0 0 {_n(layout.width)} {_n(layout.height)}" role="group" '
        f'aria-label="Attribution graph of: {escape(title)}" font-size="{_n(layout.font_size)}">',
        *_bands(layout),
        *_ticks(layout),
        '<g class="edges">',
        *(_edge(layout, i, edge_number[int(edge)], bool(resting[i])) for i, edge in enumerate(layout.edge)),
        "</g>",
        '<g class="nodes">',
        *_nodes(graph, layout),
        "</g></svg>",
    ]
    return "\n".join(parts)


def _bands(layout: Layout) -> list[str]:
    return [
        f'<rect class="band" x="{_n(column.left)}" width="{_n(column.right - column.left)}" '
        f'height="{_n(layout.height)}"/>'
        for column in layout.columns[::2]
    ]


def _ticks(layout: Layout) -> list[str]:
    x = _n(0.5 * layout.font_size)
    ticks = [tick for tick in layout.ticks if tick.text]
    return [f'<text class="tick" x="{x}" y="{_n(tick.y)}">{escape(tick.text)}</text>' for tick in ticks]


def _edge(layout: Layout, i: int, number: int, resting: bool) -> str:
    start, first, second, end = ([_n(x), _n(y)] for x, y in layout.curve[i])
    sign = "negative" if layout.weight[i] < 0 else "positive"
    wide = float(layout.line_width[i])
    dashes = f' stroke-dasharray="{_n(DASHES[0] * wide)} {_n(DASHES[1] * wide)}"' if sign == "negative" else ""
    idle = "" if resting else " idle"
    return (
        f'<path class="edge {sign}{idle}" d="M{" ".join(start)}C{" ".join([*first, *second, *end])}" '
        f'stroke-width="{_n(wide)}" stroke-opacity="{layout.opacity[i]:.2f}"{dashes} data-edge="{number}"/>'
    )


def _nodes(graph: Graph, layout: Layout) -> list[str]:
    kinds = graph.nodes["kind"].to_numpy(dtype=object)
    return [
        f'<g class="node {escape(kind)}" data-row="{row}">{_mark(layout, row)}{_tint(layout, row)}'
        f"{_box_text(layout, row, kind)}{_label(layout, row)}</g>"
        for row, kind in enumerate(kinds)
        if layout.visible[row]
    ]


def _tint(layout: Layout, row: int) -> str:
    """An answer's box again, filled by how probable it is."""
    chance = float(layout.probability[row])
    if layout.shape[row] != "box" or not chance > 0:
        return ""
    return _mark(layout, row).replace('class="mark"', f'class="tint" fill-opacity="{min(chance, 1.0):.3f}"')


def _mark(layout: Layout, row: int) -> str:
    x, y = float(layout.x[row]), float(layout.y[row])
    wide, high = float(layout.wide[row]), float(layout.high[row])
    shape = layout.shape[row]
    if shape == "circle":
        return f'<circle class="mark" cx="{_n(x)}" cy="{_n(y)}" r="{_n(wide / 2)}"/>'
    if shape == "diamond":
        corners = [(x, y - high / 2), (x + wide / 2, y), (x, y + high / 2), (x - wide / 2, y)]
        points = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
        return f'<polygon class="mark" points="{points}"/>'
    round_ = 0.3 * layout.font_size if shape == "box" else 0.0
    return (
        f'<rect class="mark" x="{_n(x - wide / 2)}" y="{_n(y - high / 2)}" width="{_n(wide)}" '
        f'height="{_n(high)}" rx="{_n(round_)}"/>'
    )


def _box_text(layout: Layout, row: int, kind: str) -> str:
    lines = layout.text[row].split("\n") if layout.text[row] else []
    x, y, step = float(layout.x[row]), float(layout.y[row]), 1.15 * layout.font_size
    turn = layout.token_rotation if kind == "token" else 0
    turned = f' transform="rotate({-turn} {_n(x)} {_n(y)})"' if turn else ""
    return "".join(
        f'<text x="{_n(x)}" y="{_n(y + (i - (len(lines) - 1) / 2) * step)}" text-anchor="middle"{turned}>'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )


def _label(layout: Layout, row: int) -> str:
    """A node's label; where the layout put it left of the node or over it, it ends or centres there, since the
    layout allows for a wider font than the page's."""
    if not layout.label[row]:
        return ""
    x, start = float(layout.x[row]), float(layout.label_x[row])
    room = text_width(layout.label[row]) * layout.font_size
    at, anchor = start, ""
    if start + room <= x:
        at, anchor = start + room, ' text-anchor="end"'
    elif abs(start + room / 2 - x) < 0.01 * layout.font_size:
        at, anchor = x, ' text-anchor="middle"'
    return (
        f'<text class="label" x="{_n(at)}" y="{_n(float(layout.label_y[row]))}"{anchor} '
        f'font-size="{_n(LABEL_SIZE * layout.font_size)}">{escape(layout.label[row])}</text>'
    )


def _n(value: float) -> str:
    """A coordinate to a tenth or hundredth of a pixel, without needless zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
