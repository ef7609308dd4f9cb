"""Where a graph's nodes, edges and labels go: pure geometry, shared by figures, pages and widgets.

Reads a `Graph` and gives a `Layout`: flat arrays in the unit of the font size (points on paper, pixels on
screen), x to the right and y downwards. A column per token position, as wide as what stands in it; a row per
layer, tokens in boxes at the bottom, logits in boxes at the top; a feature or error sits in the cell of its
layer and position, side by side with its neighbours, its label to its right or where there is room nearby.
Cells wrap into lines, so neither dots nor labels overlap; within a cell nodes are ordered by where their
strongest edges lead, which keeps edges short. An edge is a cubic Bézier curve from the top of its source to the
bottom of its target.

The same graph and options give the same layout.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from circuitlab.graph import Graph, percent
from circuitlab.pruning import edge_influence


@dataclass(frozen=True)
class Theme:
    """Colours. Blue and orange stay apart in every common colour blindness; sign is also shown by dashes."""

    name: str
    background: str
    band: str
    line: str
    text: str
    muted: str
    node_fill: str
    node_line: str
    box_fill: str
    box_line: str
    answer_fill: str
    positive: str
    negative: str

    def edge_color(self, weight: float | int) -> str:
        return self.negative if weight < 0 else self.positive


THEMES = {
    "light": Theme(
        name="light",
        background="#ffffff",
        band="#f6f7f9",
        line="#e3e6ea",
        text="#1d2430",
        muted="#7a8494",
        node_fill="#ffffff",
        node_line="#39424f",
        box_fill="#eef0f4",
        box_line="#c5cbd5",
        answer_fill="#9cc4e8",
        positive="#1f6fb5",
        negative="#d8690f",
    ),
    "dark": Theme(
        name="dark",
        background="#14171c",
        band="#1a1e25",
        line="#2b313b",
        text="#e9ecf1",
        muted="#8d97a6",
        node_fill="#343c48",
        node_line="#d5dbe5",
        box_fill="#242a33",
        box_line="#434c5a",
        answer_fill="#2b5f8f",
        positive="#62aef0",
        negative="#f59a45",
    ),
}
LONGEST = 400
"""Characters of a label that are looked at; one may be a megabyte long."""
MOST_FOR_TOKENS = 0.6
"""Share of the width that tokens may take where nodes lack room; beyond it they stand upright."""
LINE = 1.35
"""Height of a line of nodes in em."""
DASHES = (2.2, 1.4)
"""Dash and gap of a negative edge, in line widths."""


@dataclass(frozen=True)
class Column:
    """The strip of one token position."""

    pos: int
    left: float
    right: float


@dataclass(frozen=True)
class Tick:
    """A layer on the axis; `text` is empty where ticks would crowd."""

    layer: int
    y: float
    text: str


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions for everything, in draw order where there is one. Arrays of nodes are parallel to
    `graph.nodes`.

    `shape`: "circle" (feature), "diamond" (error), "box" (token, logit), "square" (constant); `wide` and
    `high` are full extents, of a circle its diameter; `text` stands inside a box (tinted by `probability`),
    `label` at (label_x, label_y), left-aligned and centred in height; a label is empty where there is no room. `edge`
    holds indices into
    `graph.links`, weakest first; `curve` the four control points of each; `strength` from 0 to 1 stands for
    |weight|. `crowding` is above 1 where a given height leaves too little room: so much closer do lines stand than text
    wants.
    """

    width: float
    height: float
    font_size: float
    x: Float[np.ndarray, " node"]
    y: Float[np.ndarray, " node"]
    wide: Float[np.ndarray, " node"]
    high: Float[np.ndarray, " node"]
    shape: tuple[str, ...]
    visible: Bool[np.ndarray, " node"]
    text: tuple[str, ...]
    probability: Float[np.ndarray, " node"]
    label: tuple[str, ...]
    label_x: Float[np.ndarray, " node"]
    label_y: Float[np.ndarray, " node"]
    edge: Int[np.ndarray, " edge"]
    source: Int[np.ndarray, " edge"]
    target: Int[np.ndarray, " edge"]
    weight: Float[np.ndarray, " edge"]
    strength: Float[np.ndarray, " edge"]
    curve: Float[np.ndarray, "edge 4 2"]
    line_width: Float[np.ndarray, " edge"]
    opacity: Float[np.ndarray, " edge"]
    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    token_rotation: int = 0
    crowding: float = 1.0
    theme: Theme = field(default_factory=lambda: THEMES["light"])


def theme_named(name: str | Theme) -> Theme:
    """A theme by its name; a `Theme` is passed through."""
    if isinstance(name, Theme):
        return name
    if name not in THEMES:
        raise ValueError(f"theme={name!r} is unknown; known are {', '.join(THEMES)}")
    return THEMES[name]


def lay_out(
    graph: Graph,
    width: float | int = 960.0,
    font_size: float | int = 11.0,
    height: float | int | None = None,
    max_edges: int = 1500,
    max_labels: int | None = None,
    constants: bool = False,
    theme: str | Theme = "light",
) -> Layout:
    """Lay a graph out in this width; the height follows from the content unless given.

    Of the edges the `max_edges` that carry most influence get a curve; of the features the `max_labels` most
    influential (those with a label of their own first) are labelled as far as there is room. `constants` also
    shows constants and their edges.
    """
    if not (width > 0 and font_size > 0):
        raise ValueError(f"width={width} and font_size={font_size}: both must be above 0 (points or pixels)")
    plan = _Plan(graph, float(width), float(font_size), max_labels, constants)
    edge = _strongest(graph, max_edges, plan.visible)
    target = (np.searchsorted(graph.links.indptr, edge, side="right") - 1).astype(np.int64)
    source = graph.links.source[edge].astype(np.int64)
    weight = graph.links.weight[edge].astype(np.float64)
    plan.arrange(source, target, np.abs(weight), height)
    strength = _strength(weight)
    return Layout(
        width=plan.width,
        height=plan.height,
        font_size=plan.em,
        x=plan.x,
        y=plan.y,
        wide=plan.wide,
        high=plan.high,
        shape=tuple(_SHAPES[kind] for kind in plan.kind),
        visible=plan.visible,
        text=tuple(plan.text),
        probability=graph.nodes["probability"].fillna(0.0).to_numpy(float),
        label=tuple(plan.label),
        label_x=plan.label_x,
        label_y=plan.label_y,
        edge=edge,
        source=source,
        target=target,
        weight=weight,
        strength=strength,
        curve=_curves(plan, source, target),
        line_width=plan.em * (0.03 + 0.13 * strength),
        opacity=np.clip((0.12 + 0.7 * strength**1.5) * _thinning(len(edge)), 0.04, 0.85),
        columns=tuple(plan.columns),
        ticks=tuple(plan.ticks),
        token_rotation=plan.rotation,
        crowding=plan.crowding,
        theme=theme_named(theme),
    )


_SHAPES = {"feature": "circle", "error": "diamond", "token": "box", "logit": "box", "constant": "square"}


class _Plan:
    """The working state of one layout: sizes first, then columns, rows and places."""

    def __init__(self, graph: Graph, width: float, em: float, max_labels: int | None, constants: bool) -> None:
        nodes = graph.nodes
        self.graph, self.width, self.em = graph, width, em
        self.kind = nodes["kind"].to_numpy(dtype=object)
        self.pos = nodes["pos"].fillna(max(len(graph.tokens) - 1, 0)).to_numpy(dtype=np.int64)
        self.layer = nodes["layer"].fillna(0).to_numpy(dtype=np.int64)
        self.influence = nodes["influence"].fillna(0.0).to_numpy(dtype=float)
        self.visible = (self.kind != "constant") | constants
        self.inner = np.flatnonzero((self.kind == "feature") | (self.kind == "error"))
        self.text = [""] * len(nodes)
        self.label = [""] * len(nodes)
        self.crowding = 1.0
        self._size_dots()
        self._size_boxes()
        self._choose_labels(max_labels)
        self.x, self.y = np.zeros(len(nodes)), np.zeros(len(nodes))

    def _size_dots(self) -> None:
        top = self.influence[self.inner].max(initial=0.0) or 1.0
        size = 0.42 + 0.5 * np.sqrt(np.clip(self.influence / top, 0.0, 1.0))
        self.wide = self.em * np.where(self.kind == "error", 0.85 * size, size)
        self.high = self.wide.copy()

    def _size_boxes(self) -> None:
        nodes = self.graph.nodes
        for row in np.flatnonzero((self.kind == "token") | (self.kind == "logit")):
            chance = nodes["probability"].iat[row]
            token = nodes["token"].iat[row]
            shown = show_token((self.graph.names[row] if pd.isna(token) else token)[:LONGEST])
            lines = [clip_text(shown, 14)]
            if self.kind[row] == "logit" and not np.isnan(chance):
                lines.append(percent(float(chance)))
            self.text[row] = "\n".join(lines)
            self.wide[row] = self.em * (max(text_width(line) for line in lines) + 0.7)
            self.high[row] = self.em * (1.15 * len(lines) + 0.45)

    def _choose_labels(self, max_labels: int | None) -> None:
        nodes = self.graph.nodes
        own: list[str] = nodes["label"].fillna(nodes["supernode"]).fillna("").tolist()
        limit = round(self.width / self.em * 0.6) if max_labels is None else max_labels
        features = self.inner[self.kind[self.inner] == "feature"]
        order = sorted(features, key=lambda row: (not own[row], -self.influence[row], row))
        for row in order[: max(limit, 0)]:
            self.label[row] = clip_text(show_token((own[row] or self.graph.names[row])[:LONGEST]), 22)
        self.wanted = [(int(row), self.label[row]) for row in order[: max(limit, 0)]]

    def footprint(self, row: int) -> float:
        """Width of a dot with its label and the gap to the next."""
        text = self.label[row]
        return self.wide[row] + self.em * (0.5 + (0.35 + text_width(text) if text else 0.0))

    def arrange(self, source: np.ndarray, target: np.ndarray, size: np.ndarray, height: float | int | None) -> None:
        self._cells()
        self._columns()
        for _ in range(3):
            self._pack()
            self._place_ends()
            self._sort_cells(source, target, size)
        self._pack()
        self._rows(height)
        self._place_ends()
        self._place_labels()

    def _cells(self) -> None:
        self.cells: dict[tuple[int, int], list[int]] = {}
        for row in self.inner:
            self.cells.setdefault((int(self.layer[row]), int(self.pos[row])), []).append(int(row))

    def _columns(self) -> None:
        n = max(len(self.graph.tokens), int(self.pos.max(initial=0)) + 1)
        left = 2.6 * self.em
        room = max(self.width - left - 0.4 * self.em, self.em)
        least = np.full(n, 1.5 * self.em)
        for row in np.flatnonzero(self.kind == "token"):
            least[self.pos[row]] = max(least[self.pos[row]], self.wide[row] + 0.5 * self.em)
        wanted = self._wanted(least)
        self.rotation = 0
        if least.sum() > room or (least.sum() > MOST_FOR_TOKENS * room and wanted.sum() > room):
            self.rotation, least = 90, np.full(n, 1.6 * self.em)
            tokens = self.kind == "token"
            self.wide[tokens], self.high[tokens] = self.high[tokens].copy(), self.wide[tokens].copy()
            wanted = self._wanted(least)
        if least.sum() >= room:
            widths = least * (room / least.sum())
        elif wanted.sum() > room:
            widths = least + (wanted - least) * ((room - least.sum()) / (wanted - least).sum())
        else:
            widths = wanted * (room / wanted.sum())
        edges = left + np.concatenate([[0.0], np.cumsum(widths)])
        self.columns = [Column(p, float(edges[p]), float(edges[p + 1])) for p in range(n)]

    def _wanted(self, least: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
        """Widths at which every cell fits into one line."""
        wanted = least.copy()
        for (_, pos), rows in self.cells.items():
            wanted[pos] = max(wanted[pos], sum(self.footprint(row) for row in rows) + 0.8 * self.em)
        return wanted

    def _pack(self) -> None:
        """Break each cell into lines that fit its column, dropping labels that cannot fit, and set x."""
        self.lines: dict[tuple[int, int], list[list[int]]] = {}
        for (layer, pos), rows in self.cells.items():
            column = self.columns[pos]
            room = column.right - column.left - 0.4 * self.em
            for row in rows:
                if self.label[row] and self.footprint(row) > room:
                    self.label[row] = ""
            lines = self._wrap(rows, room)
            weakest = sorted((r for r in rows if self.label[r]), key=lambda r: (self.influence[r], r))
            while len(lines) > 3 and weakest:
                self.label[weakest.pop(0)] = ""
                lines = self._wrap(rows, room)
            self.lines[layer, pos] = lines
            for line in lines:
                total = sum(self.footprint(row) for row in line) - 0.5 * self.em
                squeeze = min(1.0, room / total) if total > 0 else 1.0
                at = (column.left + column.right - total * squeeze) / 2
                for row in line:
                    self.x[row] = at + self.wide[row] / 2 * squeeze
                    at += self.footprint(row) * squeeze

    def _wrap(self, rows: list[int], room: float) -> list[list[int]]:
        total = sum(self.footprint(row) for row in rows)
        count = max(int(np.ceil(total / max(room + 0.5 * self.em, 1e-9))), 1)
        lines: list[list[int]] = [[]]
        used = 0.0
        for row in rows:
            step = self.footprint(row)
            full = used + step - 0.5 * self.em > room
            balanced = used + step / 2 > total / count and len(lines) < count
            if lines[-1] and (full or balanced):
                lines.append([])
                used = 0.0
            lines[-1].append(row)
            used += step
        return lines

    def _sort_cells(self, source: np.ndarray, target: np.ndarray, size: np.ndarray) -> None:
        """Order each cell by the mean x of its nodes' neighbours, weighted by |weight|."""
        n = len(self.x)
        pull = np.bincount(source, size * self.x[target], n) + np.bincount(target, size * self.x[source], n)
        mass = np.bincount(source, size, n) + np.bincount(target, size, n)
        centre = np.where(mass > 0, pull / np.where(mass > 0, mass, 1.0), self.x)
        for rows in self.cells.values():
            rows.sort(key=lambda row: (round(float(centre[row]), 6), row))

    def _rows(self, height: float | int | None) -> None:
        """y of every layer, from the top; layers without nodes take little room."""
        em = self.em
        logits, tokens = self.kind == "logit", self.kind == "token"
        top = 0.5 * em + self.high[logits].max(initial=0.0) + 1.6 * em
        bottom = self.high[tokens].max(initial=0.0) + 0.5 * em + 1.6 * em
        present = sorted({layer for layer, _ in self.cells})
        span = range(present[-1], present[0] - 1, -1) if present else range(0)
        most = {layer: max(len(lines) for (own, _), lines in self.lines.items() if own == layer) for layer in present}
        rows = np.array([most.get(layer, 0) for layer in span], dtype=float)
        between = np.where(rows > 0, 0.9, 0.3) * em
        natural = top + float(np.sum(LINE * em * rows + between)) + bottom
        self.height = float(height) if height else max(natural, 0.6 * self.width)
        line, between = self._fit_rows(self.height - top - bottom, rows, between)
        self.ticks, last, at = [], -np.inf, top
        for layer, gap in zip(span, line * rows + between, strict=True):
            middle = at + gap / 2
            for (own, _), lines in self.lines.items():
                if own == layer:
                    step = min(line, gap / max(len(lines), 1))
                    for i, nodes in enumerate(lines):
                        self.y[nodes] = middle + (i - (len(lines) - 1) / 2) * step
            if layer in most:
                self.ticks.append(Tick(layer, float(middle), f"L{layer}" if middle - last >= 1.2 * em else ""))
                last = middle if self.ticks[-1].text else last
            at += gap

    def _fit_rows(self, room: float, rows: np.ndarray, between: np.ndarray) -> tuple[float, np.ndarray]:
        """Height of a line and what stands between layers: if room is short, less between, then lower lines."""
        line, tight = LINE * self.em, between / 6
        total = float(line * rows.sum())
        if room >= total + between.sum():
            stretch = room / max(total + between.sum(), 1e-9)
            return line, between * stretch + line * rows * (stretch - 1)
        if room >= total + tight.sum():
            share = (room - total - tight.sum()) / max(float(between.sum() - tight.sum()), 1e-9)
            return line, tight + share * (between - tight)
        stretch = max(room / max(total + tight.sum(), 1e-9), 0.05)
        self.crowding = 1 / stretch
        return line * stretch, tight * stretch

    def _place_ends(self) -> None:
        """Tokens under their columns, logits above theirs, constants at the foot of the axis."""
        bottom = getattr(self, "height", self.width)
        for row in np.flatnonzero(self.kind == "token"):
            column = self.columns[self.pos[row]]
            self.x[row] = (column.left + column.right) / 2
            self.y[row] = bottom - 0.5 * self.em - self.high[row] / 2
        constants = np.flatnonzero(self.kind == "constant")
        self.x[constants] = 1.3 * self.em
        self.y[constants] = bottom - (1.2 + 1.2 * np.arange(len(constants))) * self.em
        for pos in sorted(set(self.pos[self.kind == "logit"].tolist())):
            self._place_logits([int(r) for r in np.flatnonzero((self.kind == "logit") & (self.pos == pos))], pos)

    def _place_labels(self) -> None:
        """Labels stand right of their nodes; one that its cell had no room for goes where there is some, or nowhere."""
        em, high = self.em, 1.1 * self.em
        self.label_x = self.x + self.wide / 2 + 0.25 * em
        self.label_y = self.y.copy()
        taken = [
            (
                self.x[r] - self.wide[r] / 2,
                self.y[r] - self.high[r] / 2,
                self.x[r] + self.wide[r] / 2,
                self.y[r] + self.high[r] / 2,
            )
            for r in np.flatnonzero(self.visible)
        ]
        for row, _ in self.wanted:
            if not self.label[row]:
                continue
            x, y, wide = self.label_x[row], self.label_y[row], text_width(self.label[row]) * em
            if self.crowding > 1 and not _first_free(np.array(taken), [(x, y)], wide, 0.9 * em, x, x + wide):
                self.label[row] = ""
            else:
                taken.append((x, y - high / 2, x + wide, y + high / 2))
        for row, text in self.wanted:
            if self.label[row]:
                continue
            for shown in dict.fromkeys((text, clip_text(text, 12))):
                wide, beside = text_width(shown) * em, self.wide[row] / 2 + 0.25 * em
                above, x, y = self.high[row] / 2 + 0.62 * em, self.x[row], self.y[row]
                places = [(x + beside, y), (x - beside - wide, y), (x - wide / 2, y - above), (x - wide / 2, y + above)]
                places += [(x - 0.3 * em, y - above), (x - 0.3 * em, y + above), (x - wide + 0.3 * em, y - above)]
                free = _first_free(np.array(taken), places, wide, high, 2.6 * em, self.width)
                if free:
                    self.label[row], (self.label_x[row], self.label_y[row]) = shown, free
                    taken.append((free[0], free[1] - high / 2, free[0] + wide, free[1] + high / 2))
                    break

    def _place_logits(self, rows: list[int], pos: int) -> None:
        em, gap = self.em, 0.35 * self.em
        room = self.width - 3.0 * em
        for row in reversed(rows):
            if sum(self.wide[r] + gap for r in rows) <= room:
                break
            self.text[row] = ""
            self.wide[row] = 0.9 * em
        total = sum(self.wide[row] + gap for row in rows) - gap
        column = self.columns[pos]
        at = (column.left + column.right - total) / 2
        at = max(min(at, self.width - 0.4 * em - total), 2.6 * em)
        for row in rows:
            self.x[row] = at + self.wide[row] / 2
            self.y[row] = 0.5 * em + self.high[row] / 2
            at += self.wide[row] + gap


def _first_free(
    taken: np.ndarray, places: list[tuple[float, float]], wide: float, high: float, left: float, right: float
) -> tuple[float, float] | None:
    """The first of the places (left edge, middle) where a text of this size touches nothing taken."""
    for x, y in places:
        apart = (taken[:, 0] >= x + wide) | (taken[:, 2] <= x)
        apart |= (taken[:, 1] >= y + high / 2) | (taken[:, 3] <= y - high / 2)
        if left <= x and x + wide <= right and apart.all():
            return x, y
    return None


def _strongest(graph: Graph, limit: int, visible: np.ndarray) -> np.ndarray:
    """Indices of the edges that carry most influence, among visible nodes; the smallest |weight| first."""
    size = np.abs(graph.links.weight)
    found = np.flatnonzero((size > 0) & visible[graph.links.source])
    if len(found) > limit:
        carried = edge_influence(graph)[found]
        carried = np.where(graph.kind_mask("constant")[graph.links.source[found]], np.inf, carried)
        found = np.sort(found[np.argsort(-carried, kind="stable")[: max(limit, 0)]])
    return found[np.argsort(size[found], kind="stable")].astype(np.int64)


def _strength(weight: np.ndarray) -> np.ndarray:
    if not len(weight):
        return np.zeros(0)
    size = np.abs(weight)
    return np.sqrt(np.clip(size / max(float(np.quantile(size, 0.98)), 1e-300), 0.0, 1.0))


def _thinning(n_edges: int) -> float:
    """Many edges are drawn fainter, so that the strong ones stand out."""
    return float(np.clip((250 / max(n_edges, 1)) ** 0.25, 0.5, 1.1))


def _curves(plan: _Plan, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    start = np.stack([plan.x[source], plan.y[source] - plan.high[source] / 2], axis=1)
    end = np.stack([plan.x[target], plan.y[target] + plan.high[target] / 2], axis=1)
    rise = start[:, 1] - end[:, 1]
    reach = 0.45 * np.maximum(rise, 1.2 * plan.em)
    # Edges that would run straight up through their own column bow outwards, away from its middle.
    across = end[:, 0] - start[:, 0]
    middle = np.array([(c.left + c.right) / 2 for c in plan.columns])[plan.pos[source]]
    side = np.where(start[:, 0] <= middle, -1.0, 1.0)
    bow = side * np.clip(0.12 * rise - 0.5 * np.abs(across), 0.0, 1.8 * plan.em)
    bow *= rise > 3.5 * plan.em
    first = np.stack([start[:, 0] + bow, start[:, 1] - reach], axis=1)
    second = np.stack([end[:, 0] + bow, end[:, 1] + reach], axis=1)
    return np.stack([start, first, second, end], axis=1)


# Text: shown safely, clipped, and measured without a font file.


def show_token(text: str) -> str:
    """A token as it can stand in a figure: line breaks and tabs as signs, other control characters as ·."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    shown = "".join("·" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") else c for c in shown)
    return shown.strip() or "␣" * max(len(shown), 1)


def clip_text(text: str, limit: int) -> str:
    """At most `limit` characters, an ellipsis in place of the rest."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_NARROW = {**dict.fromkeys("iljI|!.,:;'`", 0.32), **dict.fromkeys('ftr()[]{}/\\- "', 0.4)}
_BROAD = {**dict.fromkeys("mwMW%@", 0.95), **dict.fromkeys("ABCDGHKNOQRUVXY&", 0.73)}


def text_width(text: str) -> float:
    """Width of a line in em, for a wide sans serif (DejaVu Sans): an upper estimate, so that boxes fit."""
    return sum(_NARROW.get(c) or _BROAD.get(c) or _plain_width(c) for c in text)


def _plain_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(character) in ("W", "F") else 0.64
