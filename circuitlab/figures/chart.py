"""Draws a flowchart: rounded boxes, stacked where several nodes are in one, and arrows between them.

An arrow is a curve from the top of its source to the bottom of its target, its width by |weight|, blue and solid for
positive, orange and dashed for negative weights. Arrows leave and arrive side by side in the order of where they lead,
and bow out of the way of other boxes where they can.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from circuitlab.figures.flowchart import Arrows, Box, Line
from circuitlab.figures.scene import Path, Scene, blend, polygon, rounded
from circuitlab.layout import text_width

SHEET = 0.28
"""How far, in em, each sheet of a stack stands out behind the one before."""


def sized(lines: list[Line], em: float | int, least: float | int = 0.0) -> tuple[float, float]:
    """Width and height in points of a box around these lines."""
    wide = max((text_width(line.text) * line.size * (1.06 if line.bold else 1.0) for line in lines), default=1.0)
    high = sum(1.22 * line.size for line in lines)
    return float(max(wide + 1.1, least) * em), float((high + 0.62) * em)


def with_room(boxes: list[Box], arrows: Arrows, em: float | int) -> list[Box]:
    """The boxes, each wide enough for its arrows to stand side by side."""
    n = np.maximum(np.bincount(arrows.source, minlength=len(boxes)), np.bincount(arrows.target, minlength=len(boxes)))
    least = np.minimum(n, 8) * 0.85 * em
    return [replace(box, wide=float(max(box.wide, wide))) for box, wide in zip(boxes, least.tolist(), strict=True)]


def draw_arrows(scene: Scene, boxes: list[Box], at: Float[np.ndarray, "box 2"], arrows: Arrows) -> None:
    """All arrows, the weakest first."""
    em = scene.em
    size = np.sqrt(np.abs(arrows.weight) / max(float(np.abs(arrows.weight).max(initial=0.0)), 1e-300))
    starts, ends = _ports(boxes, at, arrows, em)
    lanes: dict[float, int] = {}
    for i in np.argsort(size, kind="stable").tolist():
        strength = float(size[i])
        width = float(em * (0.07 + 0.26 * strength))
        colour = blend(scene.theme.background, scene.theme.edge_color(float(arrows.weight[i])), 0.4 + 0.55 * strength)
        up = -1.0 if ends[i, 1] <= starts[i, 1] else 1.0
        head, side = up * (0.42 * em + 1.15 * width), 0.2 * em + 0.75 * width
        x, y = ends[i].tolist()
        ends_at = np.array([x, y - 0.9 * head])
        skip = (int(arrows.source[i]), int(arrows.target[i]))
        points = _route(boxes, at, starts[i], ends_at, float(scene.width), float(em), skip, lanes)
        steps = "M" + "C" * (len(points) // 3)
        scene.add(Path(steps, points, stroke=colour, width=width, dashed=bool(arrows.weight[i] < 0)))
        scene.add(polygon([(x, y), (x + side, y - head), (x - side, y - head)], fill=colour))


def _ports(
    boxes: list[Box], at: Float[np.ndarray, "box 2"], arrows: Arrows, em: float | int
) -> tuple[Float[np.ndarray, "edge 2"], Float[np.ndarray, "edge 2"]]:
    """Where arrows leave and arrive: on the sides that face each other, in the order of the other ends."""
    starts, ends = np.zeros((len(arrows.weight), 2)), np.zeros((len(arrows.weight), 2))
    sides: dict[tuple[int, int], list[tuple[float, int, bool]]] = {}
    for e, (s, t) in enumerate(zip(arrows.source.tolist(), arrows.target.tolist(), strict=True)):
        up = 1 if at[s, 1] >= at[t, 1] else -1
        sides.setdefault((s, up), []).append((float(at[t, 0]), e, True))
        sides.setdefault((t, -up), []).append((float(at[s, 0]), e, False))
    for (box, up), users in sides.items():
        reach = min(0.5 * boxes[box].wide - 0.55 * em, 0.5 * em * (len(users) - 1))
        slots = np.linspace(-reach, reach, len(users)) if len(users) > 1 else np.zeros(1)
        for slot, (_, e, leaves) in zip(slots.tolist(), sorted(users), strict=True):
            # Leaving arrows begin at the front sheet of a stack, under those behind it; arriving ones end above them.
            sheets = 0.0 if leaves or up < 0 else SHEET * em * boxes[box].behind
            (starts if leaves else ends)[e] = at[box] + (slot, -up * (boxes[box].high / 2 + sheets))
    return starts, ends


def _route(
    boxes: list[Box],
    at: Float[np.ndarray, "box 2"],
    start: Float[np.ndarray, " 2"],
    end: Float[np.ndarray, " 2"],
    width: float,
    em: float,
    skip: tuple[int, int],
    lanes: dict[float, int],
) -> Float[np.ndarray, "point 2"]:
    """The points of a curve, of one or more cubic pieces, that leaves and arrives upright and passes beside boxes;
    `lanes` counts the curves that pass the side of a box already, so that they run next to each other."""
    others = [k for k in range(len(boxes)) if k not in skip]
    middle = at[others]
    sheets = np.array([SHEET * em * boxes[k].behind for k in others])[:, None]
    half = np.array([[boxes[k].wide, boxes[k].high] for k in others]).reshape(-1, 2) / 2 + 0.1 * em + sheets
    way = [start, end]
    best, fewest = _smooth(way), np.inf
    for _ in range(6):
        points = _smooth(way)
        path = _sampled(points)
        inside = (np.abs(path[:, None] - middle[None]) < half[None]).all(axis=2)
        hits = int(inside.any(axis=0).sum())
        if hits < fewest:
            best, fewest = points, hits
        if not hits:
            break
        hit = int(np.argwhere(inside)[0, 1])
        y = middle[hit, 1]
        above, below = y - half[hit, 1], y + half[hit, 1]
        if above < min(start[1], end[1]) or below > max(start[1], end[1]) or any(above < p[1] < below for p in way):
            break
        x = float(path[np.argmin(np.abs(path[:, 1] - y)), 0])
        row = [k for k in range(len(others)) if abs(middle[k, 1] - y) < half[k, 1]]
        sides = []
        for k in row:
            for sign in (-1, 1):
                edge = float(middle[k, 0] + sign * half[k, 0])
                side = edge + sign * (0.5 + 0.42 * lanes.get(edge, 0)) * em
                clear = all(abs(side - middle[m, 0]) > half[m, 0] + 0.1 * em for m in row)
                if 0.4 * em <= side <= width - 0.4 * em and clear:
                    sides.append((abs(side - x), side, edge))
        if not sides:
            break
        _, side, edge = min(sides)
        lanes[edge] = lanes.get(edge, 0) + 1
        beside = [np.array([side, below]), np.array([side, above])]
        way = sorted([*way, *beside], key=lambda point: -point[1])
        way = way if start[1] >= end[1] else way[::-1]
    return best


def _smooth(way: list[np.ndarray]) -> Float[np.ndarray, "point 2"]:
    """Cubic pieces through these points, upright at each of them."""
    points = [way[0]]
    for first, last in pairwise(way):
        reach = np.array([0.0, 0.5 * (last[1] - first[1])])
        points += [first + reach, last - reach, last]
    return np.array(points)


def _sampled(points: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "sample 2"]:
    t = np.linspace(0.0, 1.0, 24)[:, None]
    pieces = []
    for k in range(0, len(points) - 1, 3):
        a, b, c, d = points[k : k + 4]
        pieces.append((1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d)
    return np.concatenate(pieces)


def draw_box(
    scene: Scene,
    box: Box,
    middle: Float[np.ndarray, " 2"],
    fill: str | tuple[float, float, float] | None = None,
    border: str | None = None,
    border_width: float | int = 0.09,
) -> None:
    """A box with the sheets behind it and its lines of text."""
    em, theme = scene.em, scene.theme
    x, y = float(middle[0]), float(middle[1])
    ends = box.kind in ("token", "logit")
    chosen = fill or (blend(theme.box_fill, theme.answer_fill, box.share**0.5) if ends else theme.node_fill)
    edge = border or (theme.box_line if ends else theme.node_line)
    radius = 0.35 * em if ends else 0.6 * em
    for sheet in range(box.behind, -1, -1):
        off = SHEET * em * sheet
        ink = blend(edge, theme.background, 0.25 * sheet)
        place = (x + off, y - off, box.wide, box.high)
        scene.add(rounded(*place, radius, fill=chosen, stroke=ink, width=border_width * em))
    total = sum(1.22 * line.size for line in box.lines) * em
    top = y - total / 2
    for line in box.lines:
        step = 1.22 * line.size * em
        text = {"size": line.size, "bold": line.bold, "muted": line.muted}
        scene.write(x, top + step / 2, line.text, align="center", **text)
        top += step
