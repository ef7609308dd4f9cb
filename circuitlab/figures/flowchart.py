"""Where the boxes of a flowchart go: rows from the first layer upwards, columns by position in the prompt.

Boxes of one layer share a row; neighbouring layers share one too while that joins no two boxes with an edge between
them, until there are few rows. Tokens stand below, answers on top. Within a row a box wants to stand over its position
and near its neighbours by edges; the places nearest to that without overlap are found exactly, by isotonic regression.
Boxes the user placed stay where they are, pushed apart where they would overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

BOTTOM, TOP = -1.0, 1e9
"""Layers of tokens and answers."""
FEW_ROWS = 7


@dataclass(frozen=True)
class Line:
    """A line of text in a box; `size` in em."""

    text: str
    size: float | int = 1.0
    bold: bool = False
    muted: bool = False


@dataclass(frozen=True)
class Box:
    """A box of the flowchart: `wide` and `high` in points; `layer` and `column` (position in the prompt) say where it
    belongs; `behind` sheets are drawn behind it."""

    name: str
    lines: tuple[Line, ...]
    wide: float | int
    high: float | int
    layer: float | int
    column: float | int
    behind: int = 0
    kind: str = "feature"
    share: float | int = 0.0


@dataclass(frozen=True, eq=False)
class Arrows:
    """Edges between boxes, by their numbers."""

    source: Int[np.ndarray, " edge"]
    target: Int[np.ndarray, " edge"]
    weight: Float[np.ndarray, " edge"]


def place(
    boxes: list[Box],
    arrows: Arrows,
    width: float | int,
    em: float | int,
    fixed: dict[str, tuple[float, float]] | None = None,
    height: float | int | None = None,
) -> tuple[Float[np.ndarray, "box 2"], float]:
    """The middle of every box, and the height of it all; `fixed` are places from 0 to 1 by name."""
    rows = _rows(boxes, arrows, float(width), float(em))
    at = np.zeros((len(boxes), 2))
    _set_columns(at, boxes, rows, arrows, float(width), float(em))
    needed = _set_heights(at, boxes, rows, float(width), float(em), height)
    fixed = {name: spot for name, spot in (fixed or {}).items() if name in {box.name for box in boxes}}
    if fixed:
        needed = float(height or max(0.62 * width, needed if len(fixed) < len(boxes) else 0.0))
        at[:, 1] *= needed / max(at[:, 1].max() + at[:, 1].min(), 1e-9)
        _set_fixed(at, boxes, fixed, float(width), needed, float(em))
    return at, needed


def _rows(boxes: list[Box], arrows: Arrows, width: float, em: float) -> list[list[int]]:
    """Numbers of boxes by row, from the bottom row up."""
    linked = _linked(len(boxes), arrows)
    inner = [i for i, box in enumerate(boxes) if BOTTOM < box.layer < TOP]
    levels = sorted({round(boxes[i].layer, 3) for i in inner})
    clusters = [[i for i in inner if round(boxes[i].layer, 3) == level] for level in levels]
    clusters = [part for cluster in clusters for part in _unlinked(cluster, arrows)]
    while True:
        layer = [float(np.mean([boxes[i].layer for i in cluster])) for cluster in clusters]
        free = [
            (layer[k + 1] - layer[k], k)
            for k in range(len(clusters) - 1)
            if not linked[np.ix_(clusters[k], clusters[k + 1])].any()
        ]
        gap, k = min(free, default=(np.inf, 0))
        if gap == np.inf or (gap >= 0.75 and len(clusters) <= FEW_ROWS):
            break
        clusters[k : k + 2] = [clusters[k] + clusters[k + 1]]
    ends = [[i for i, box in enumerate(boxes) if box.layer == end] for end in (BOTTOM, TOP)]
    return [part for row in (ends[0], *clusters, ends[1]) if row for part in _fitting(row, boxes, width, em)]


def _linked(n: int, arrows: Arrows) -> Bool[np.ndarray, "box box"]:
    linked = np.zeros((n, n), dtype=bool)
    linked[arrows.source, arrows.target] = linked[arrows.target, arrows.source] = True
    return linked


def _unlinked(cluster: list[int], arrows: Arrows) -> list[list[int]]:
    """Boxes of one layer in rows without edges: of two groups that point at each other, the stronger edge counts."""
    net: dict[tuple[int, int], float] = {}
    for s, t, w in zip(arrows.source.tolist(), arrows.target.tolist(), np.abs(arrows.weight).tolist(), strict=True):
        if s in cluster and t in cluster:
            net[s, t] = w
    up = [(s, t) for (s, t), w in net.items() if w >= net.get((t, s), 0.0)]
    level = dict.fromkeys(cluster, 0)
    for _ in cluster:
        for s, t in up:
            level[t] = max(level[t], min(level[s] + 1, len(cluster)))
    return [[i for i in cluster if level[i] == k] for k in sorted(set(level.values()))]


def _fitting(row: list[int], boxes: list[Box], width: float, em: float) -> list[list[int]]:
    """The row, or several where it is wider than the figure; neighbours go to different ones."""
    row = sorted(row, key=lambda i: (boxes[i].column, i))
    n_rows = 1
    while n_rows < len(row):
        parts = [row[k::n_rows] for k in range(n_rows)]
        if all(sum(boxes[i].wide + 0.8 * em for i in part) <= width for part in parts):
            break
        n_rows += 1
    return [row[k::n_rows] for k in range(n_rows)]


def _set_columns(
    at: Float[np.ndarray, "box 2"], boxes: list[Box], rows: list[list[int]], arrows: Arrows, width: float, em: float
) -> None:
    """x: over the box's position, drawn towards its neighbours, without overlap."""
    wide = np.array([box.wide for box in boxes])
    columns = np.array([box.column for box in boxes], dtype=float)
    taken, rank = np.unique(np.round(columns), return_inverse=True)
    home = (rank + 0.5) / max(len(taken), 1) * width
    at[:, 0] = home
    strength = np.sqrt(np.abs(arrows.weight))
    # Low boxes stand over their words; high ones, most of which belong to the last word, over what feeds them.
    stay = np.ones(len(boxes))
    for k, row in enumerate(rows):
        stay[row] = 0.8 - 0.72 * k / max(len(rows) - 1, 1)
    stay[[i for i, box in enumerate(boxes) if box.layer == BOTTOM]] = 1.0
    for sweep in range(7):
        pull, mass = np.zeros(len(boxes)), np.full(len(boxes), 1e-9)
        for here, there in ((arrows.source, arrows.target), (arrows.target, arrows.source)):
            np.add.at(pull, here, strength * at[there, 0])
            np.add.at(mass, here, strength)
        wish = np.where(mass > 1e-6, stay * home + (1 - stay) * pull / mass, home) if sweep else home
        for row in rows:
            numbers = np.array(row)
            aim = wish[numbers]
            at[numbers, 0] = _spread(aim, columns[numbers], wide[numbers], width, 0.9 * em)
    _stretch(at, wide / 2, width, 0.6 * em)


def _stretch(at: Float[np.ndarray, "box 2"], half: Float[np.ndarray, " box"], width: float, margin: float) -> None:
    """Use the width there is, up to 1.6 times what is needed; in the middle."""
    x = at[:, 0]
    middle, reach = (x.min() + x.max()) / 2, np.ptp(x) / 2
    if reach < 1e-6:
        at[:, 0] = width / 2
        return
    sides = (x - middle) / reach
    with np.errstate(divide="ignore"):
        room = np.min(np.where(np.abs(sides) > 1e-9, (width / 2 - margin - half) / np.abs(sides), np.inf))
    at[:, 0] = width / 2 + sides * max(min(1.6 * reach, room), min(reach, room))


def _spread(
    aim: Float[np.ndarray, " box"],
    order: Float[np.ndarray, " box"],
    wide: Float[np.ndarray, " box"],
    width: float,
    gap: float,
) -> Float[np.ndarray, " box"]:
    """The places nearest to `aim` (in squares) that keep its order, gaps and both margins."""
    ranked = np.lexsort((order, aim))
    half = wide[ranked] / 2
    room = width - wide.sum()
    gap = min(gap, max(room, 0.0) / max(len(wide), 1))
    steps = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + gap)])
    free = _isotonic(aim[ranked] - steps)
    low, high = half[0] + gap / 2, width - half[-1] - gap / 2 - steps[-1]
    found = np.empty(len(aim))
    found[ranked] = np.clip(free, low, max(low, high)) + steps
    return found


def _isotonic(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The nearest rising sequence: neighbours that fall are pooled into their mean."""
    pools: list[list[float]] = []
    for value in values.tolist():
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, n = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + mean * n) / (before[1] + n)
            before[1] += n
    return np.concatenate([np.full(round(n), mean) for mean, n in pools]) if pools else values


def _set_heights(
    at: Float[np.ndarray, "box 2"],
    boxes: list[Box],
    rows: list[list[int]],
    width: float,
    em: float,
    height: float | int | None,
) -> float:
    """y of each row, and the height: the gaps grow until the figure is half as high as wide, or fill `height`."""
    tall = [max(boxes[i].high + 0.3 * em * boxes[i].behind for i in row) for row in rows]
    margin, n_gaps = 0.6 * em, max(len(rows) - 1, 1)
    gap = (0.5 * width - sum(tall) - 2 * margin) / n_gaps
    gap = float(np.clip(gap, 2.4 * em, 4.2 * em))
    if height is not None:
        gap = max((float(height) - sum(tall) - 2 * margin) / n_gaps, 0.8 * em)
    y = sum(tall) + gap * (len(rows) - 1) + 2 * margin
    needed, y = y, y - margin
    for row, high in zip(rows, tall, strict=True):
        at[row, 1] = y - high / 2
        y -= high + gap
    return float(needed)


def _set_fixed(
    at: Float[np.ndarray, "box 2"],
    boxes: list[Box],
    fixed: dict[str, tuple[float, float]],
    width: float,
    height: float,
    em: float,
) -> None:
    """Boxes where the user put them, inside the figure; then those that overlap are pushed apart."""
    sheets = np.array([0.3 * em * box.behind for box in boxes])
    half = np.array([[box.wide, box.high] for box in boxes]) / 2 + sheets[:, None] / 2
    low, high = half + 0.4 * em, np.array([width, height]) - half - 0.4 * em
    high = np.maximum(low, high)
    for i, box in enumerate(boxes):
        if box.name in fixed:
            at[i] = np.array(fixed[box.name]) * (width, height)
    loose = np.array([box.name not in fixed for box in boxes])
    at[:] = np.clip(at, low, high)
    need = half[:, None] + half[None] + 0.5 * em
    for _ in range(300):
        apart = at[:, None] - at[None]
        over = need - np.abs(apart)
        np.fill_diagonal(over[:, :, 0], -1.0)
        hit = np.argwhere(np.triu((over > 0.01).all(axis=2), 1))
        if not len(hit):
            break
        for i, j in hit:
            axis = int(over[i, j, 1] < over[i, j, 0])
            sign = 1.0 if apart[i, j, axis] > 0 or (apart[i, j, axis] == 0 and i > j) else -1.0
            share = 0.5 if loose[i] == loose[j] else float(loose[i])
            at[i, axis] += sign * share * over[i, j, axis]
            at[j, axis] -= sign * (1 - share) * over[i, j, axis]
        at[:] = np.clip(at, low, high)
