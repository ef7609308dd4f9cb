"""The figure of an intervention: supernodes with the activation they have left, and the answers before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from circuitlab.figures.chart import draw_arrows, draw_box, sized, with_room
from circuitlab.figures.flowchart import Arrows, Box, Line, place
from circuitlab.figures.render import new_axes, paint
from circuitlab.figures.scene import Scene, blend, fit, percent, readable, rectangle, wrap
from circuitlab.layout import Theme, text_width, theme_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 183.0 * 72 / 25.4
NARROW = 130.0 * 72 / 25.4
BESIDE = 56.0
"""Width in em from which the answers stand beside the boxes, not below them."""
LABEL_ROOM = 9.0
MAX_TOKENS = 10
WEAKEST = 0.02


def plot_intervention(
    before_after: pd.DataFrame,
    remaining: pd.DataFrame,
    edges: pd.DataFrame,
    ax: Axes | None = None,
    title: str | None = None,
    theme: str | Theme = "light",
    font_size: float | int | None = None,
) -> Axes:
    """Draw an intervention into `ax`, or a new double-column figure, and return the axes.

    before_after: `token`, `before`, `after`: probabilities (0 to 1) of the likeliest tokens, drawn as bars, at most
        ten, in the order given.
    remaining: `name` (supernode or node; unique), `factor` (what its activation was multiplied by, infinite where it
        was 0 before, missing where it was left alone) and `remaining` (activation after / before: 1 unchanged, 0 gone;
        missing where unknown). Optional: `layer` and `pos` (numbers) to place the boxes by, else they follow the edges;
        `label`, to be shown instead of the name.
    edges: `source`, `target` (names of `remaining`) and `weight`; others are left out.

    A box is the paler the less activation it has left, and says how much; what was intervened on has its factor and
    a thick border, orange for less and blue for more. To a file:
    `save_intervention("run.pdf", …)`.
    """
    points = WIDTH if ax is None else float(ax.get_window_extent().width / ax.figure.dpi * 72)
    scene = intervention_scene(before_after, remaining, edges, points, title, theme, font_size)
    return paint(scene, new_axes(scene) if ax is None else ax)


def intervention_scene(
    before_after: pd.DataFrame,
    remaining: pd.DataFrame,
    edges: pd.DataFrame,
    points: float | int,
    title: str | None = None,
    theme: str | Theme = "light",
    font_size: float | int | None = None,
) -> Scene:
    """What `plot_intervention` draws, `points` wide; ValueError for tables that lack a column or name a box twice."""
    _check(before_after, ("token", "before", "after"), "before_after")
    _check(remaining, ("name", "factor", "remaining"), "remaining")
    _check(edges, ("source", "target", "weight"), "edges")
    if remaining["name"].duplicated().any():
        raise ValueError(f"remaining names {remaining.loc[remaining['name'].duplicated(), 'name'].iloc[0]!r} twice")
    em = float(font_size or (5.5 if points < NARROW else 7.0))
    return _scene(before_after, remaining, edges, float(points), em, theme_named(theme), title)


def _check(table: pd.DataFrame, columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns)) or "none"
        raise ValueError(f"{name} lacks the column {missing[0]!r}; expected {', '.join(columns)}, found {found}")


def _scene(
    before_after: pd.DataFrame,
    remaining: pd.DataFrame,
    edges: pd.DataFrame,
    width: float,
    em: float,
    theme: Theme,
    title: str | None,
) -> Scene:
    rows = remaining.to_dict("records")
    arrows = _arrows([row["name"] for row in rows], edges)
    beside = width >= BESIDE * em or not rows or not len(before_after)
    left = 0.0 if not rows else 0.62 * width if beside and len(before_after) else width
    boxes = [_box(row, layer, em) for row, layer in zip(rows, _layers(rows, arrows), strict=True)]
    boxes = with_room(boxes, arrows, em)
    at, high = place(boxes, arrows, left, em) if boxes else (np.zeros((0, 2)), 0.0)
    bars = (2.2 * min(len(before_after), MAX_TOKENS) + 3.2) * em if len(before_after) else 0.0
    whole = max(high, bars, 4 * em) if beside else high + 1.6 * em + bars
    at[:, 1] += (whole - high) / 2 if beside else 0.0
    scene = Scene(width, -2.1 * em if title else 0.0, whole, em, theme)
    draw_arrows(scene, boxes, at, arrows)
    for box, row, middle in zip(boxes, rows, at, strict=True):
        _draw(scene, box, row, middle)
    if len(before_after):
        start = left + 1.5 * em if beside else 0.4 * em
        _bars(scene, before_after.head(MAX_TOKENS), start, (whole - bars) / 2 if beside else whole - bars)
    if title:
        scene.write_fitting(0.4 * em, scene.top + 0.95 * em, readable(title), size=1.15, bold=True)
    return scene


def _arrows(names: Sequence[str], edges: pd.DataFrame) -> Arrows:
    number = {name: i for i, name in enumerate(names)}
    ends = [np.array([number.get(name, -1) for name in edges[end]], dtype=np.int64) for end in ("source", "target")]
    weight = edges["weight"].to_numpy(dtype=np.float64)
    known = (ends[0] >= 0) & (ends[1] >= 0) & (ends[0] != ends[1])
    size = np.where(known, np.abs(weight), 0.0)
    keep = np.flatnonzero(size > WEAKEST * size.max(initial=0.0))
    return Arrows(ends[0][keep], ends[1][keep], weight[keep])


def _layers(rows: list[dict[str, Any]], arrows: Arrows) -> list[float]:
    """The layer of each box: as given, else how many edges the longest path into it has."""
    if rows and all(_given(row.get("layer")) for row in rows):
        return [max(float(row["layer"]), 0.0) for row in rows]
    depth = np.zeros(len(rows), dtype=np.int64)
    pairs = list(zip(arrows.source.tolist(), arrows.target.tolist(), np.abs(arrows.weight).tolist(), strict=True))
    size = {(s, t): w for s, t, w in pairs}
    up = [(s, t) for s, t, w in pairs if w >= size.get((t, s), 0.0)]
    for _ in rows:
        for s, t in up:
            depth[t] = max(depth[t], min(depth[s] + 1, len(rows)))
    return depth.astype(float).tolist()


def _box(row: dict[str, Any], layer: float, em: float) -> Box:
    label = row.get("label")
    shown = readable(label if isinstance(label, str) and label else str(row["name"]))
    lines = [Line(text) for text in wrap(shown, LABEL_ROOM)]
    lines.append(Line(_left(row), 1.0, bold=True))
    if np.isfinite(row["factor"]):
        lines.append(Line(f"× {_number(row['factor'])}", 0.8))
    wide, high = sized(lines, em, least=4.5)
    pos: Any = row.get("pos")
    return Box(str(row["name"]), tuple(lines), wide, high, layer, float(pos) if _given(pos) else 0.0)


def _given(value: Any) -> bool:
    return value is not None and bool(pd.notna(value))


def _left(row: dict[str, Any]) -> str:
    share = row["remaining"]
    return "from 0" if pd.isna(share) else f"{share:.0%}".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _draw(scene: Scene, box: Box, row: dict[str, Any], middle: np.ndarray) -> None:
    theme = scene.theme
    share = 1.0 if pd.isna(row["remaining"]) else float(np.clip(row["remaining"], 0.0, 1.0))
    fill = blend(theme.background, theme.answer_fill, 0.9 * share)
    touched = not pd.isna(row["factor"])
    border = theme.node_line if not touched else theme.edge_color(float(row["factor"]) - 1.0)
    draw_box(scene, box, middle, fill, border, 0.26 if touched else 0.09)


def _bars(scene: Scene, table: pd.DataFrame, left: float, top: float) -> None:
    """Per token two bars, before and after, and the probabilities."""
    em, theme = scene.em, scene.theme
    tokens = [fit(readable(str(token)), 8.0) for token in table["token"]]
    start = left + (max(text_width(token) for token in tokens) + 0.8) * em
    room = scene.width - start - 4.2 * em
    inks = (("before", theme.muted), ("after", theme.positive))
    at = start
    for name, ink in inks:
        scene.add(rectangle(at, top + 0.55 * em, 0.8 * em, 0.8 * em, fill=ink))
        scene.write(at + 1.15 * em, top + 0.95 * em, name, size=0.9, muted=True)
        at += 5.4 * em
    y = top + 2.6 * em
    for token, row in zip(tokens, table.to_dict("records"), strict=True):
        scene.write(start - 0.5 * em, y + 0.85 * em, token, align="right")
        for k, (name, ink) in enumerate(inks):
            chance = float(np.nan_to_num(row[name]))
            high, mid = 0.72 * em, y + (0.45 + 0.82 * k) * em
            long = max(np.clip(chance, 0.0, 1.0) * room, 0.1 * em)
            scene.add(rectangle(start, mid - high / 2, long, high, fill=ink))
            scene.write(start + long + 0.4 * em, mid, percent(chance), size=0.75, muted=True)
        y += 2.2 * em
