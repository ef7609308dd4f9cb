"""Static figures of a graph, for papers and notebook cells: SVG, PDF, PNG and PGF by matplotlib.

Draws the `Layout` of `circuitlab.layout` (tokens in boxes below, logits with their probabilities above,
features as circles, errors as diamonds, edges as curves, blue and solid for positive, orange and dashed for
negative weights). Matplotlib's object interface only: no pyplot, no state, no window. SVG keeps text as text,
PDF embeds TrueType; the same graph and options give the same bytes. A graph too large to read is pruned
first, and the caption says so.
"""

from __future__ import annotations

import base64
import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitlab.formats.files import write_atomically
from circuitlab.graph import Graph
from circuitlab.layout import DASHES, Layout, Theme, clip_text, lay_out, show_token, text_width, theme_named
from circuitlab.pruning import cumulative_influence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MILLIMETRES = {"single-column": 89.0, "double-column": 183.0}
"""Widths that journals ask for."""
FORMATS = ("svg", "pdf", "png", "pgf")
POINTS_PER_MILLIMETRE = 72 / 25.4


def savefig(
    graph: Graph,
    path: str | PathLike[str],
    width: str | float | int = "double-column",
    theme: str | Theme = "light",
    title: str | None = None,
    max_nodes: int | None = None,
    font_size: float | int | None = None,
    caption: bool = True,
    dpi: int = 300,
    ax: Axes | None = None,
    **layout: Any,
) -> Path:
    """Draw a graph into a file; the ending of `path` says which: .svg, .pdf, .png or .pgf.

    `width` is "single-column" (89 mm), "double-column" (183 mm) or millimetres; the height follows from the
    content (or `height`, in points). A graph of more than `max_nodes` nodes (by default as many as can be
    read at this width) is pruned to its most influential ones. `ax` also draws into the user's own axes and
    saves their figure. Further options go to `layout.lay_out`.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: figures end in {', '.join('.' + f for f in FORMATS)}, not in {path.suffix!r}")
    figure = draw(graph, width, theme, title, max_nodes, font_size, caption, ax, **layout).get_figure(root=True)
    buffer = io.BytesIO()
    assert figure is not None
    _needs_latex(path, kind)
    with _settings(kind):
        figure.savefig(
            buffer, format=kind, dpi=dpi, metadata=_provenance(graph, kind), facecolor=figure.get_facecolor()
        )
    return write_atomically(path, [buffer.getvalue()])


def _needs_latex(path: Path, kind: str) -> None:
    if kind == "pgf" and not shutil.which("xelatex"):
        raise ValueError(f"{path}: PGF needs LaTeX's xelatex to measure text, and it is not installed; save a .pdf")


def draw(
    graph: Graph,
    width: str | float | int = "double-column",
    theme: str | Theme = "light",
    title: str | None = None,
    max_nodes: int | None = None,
    font_size: float | int | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    **layout: Any,
) -> Axes:
    """The axes with the graph drawn in them: a new figure's, or `ax`. Options as in `savefig`."""
    points = _points(width) if ax is None else _axes_width(ax)
    em = font_size or (5.5 if points < 130 * POINTS_PER_MILLIMETRE else 6.5)
    shown, note = legible(graph, max_nodes or _room_for(points, em))
    layout = {"max_edges": round(3.2 * max(len(shown.nodes), 30)), **layout}
    plan = lay_out(shown, points, em, theme=theme_named(theme), **layout)
    heading = 1.9 * em if title else 0.0
    foot = 1.7 * em if caption else 0.0
    if ax is None:
        ax = _new_axes(plan, heading, foot)
    with _settings("svg"):
        _draw_layout(ax, plan, heading, foot)
        if title:
            _write(
                ax,
                plan,
                0.4 * em,
                -heading + 0.95 * em,
                clip_text(title, _fitting(plan, 1.15)),
                size=1.15,
                weight="bold",
            )
        if caption:
            note = f"{note}, {len(plan.edge):,} of {len(graph.links):,} edges{_before(graph)}"
            _write(
                ax,
                plan,
                0.4 * em,
                plan.height + 0.8 * em,
                clip_text(note, _fitting(plan, 0.85)),
                size=0.85,
                muted=True,
            )
    return ax


def inline_html(graph: Graph) -> str:
    """The figure as one HTML image, for a notebook cell: nothing in it runs or is fetched."""
    figure = draw(graph, width=230.0, font_size=8.0).get_figure(root=True)
    assert figure is not None
    buffer = io.BytesIO()
    with _settings("svg"):
        figure.savefig(buffer, format="svg", metadata=_provenance(graph, "svg"))
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<img alt="attribution graph" style="width:100%;max-width:{figure.get_figwidth() * 100:.0f}px" '
        f'src="data:image/svg+xml;base64,{data}"/>'
    )


def legible(graph: Graph, max_nodes: int) -> tuple[Graph, str]:
    """The graph, pruned where it has more nodes than can be read, and a sentence that says what is shown."""
    n_nodes = int((~graph.kind_mask("constant")).sum())
    if n_nodes <= max_nodes:
        return graph, f"{n_nodes:,} nodes"
    shares = np.sort(cumulative_influence(graph.nodes["influence"].fillna(0.0).to_numpy(float)))
    fixed = int(graph.kind_mask("token", "logit").sum())
    wanted = max(max_nodes - fixed, 10)
    small = graph
    for _ in range(6):
        share = float(shares[min(wanted, len(shares)) - 1])
        small = graph.prune(nodes=min(share, 1.0), edges=0.98)
        count = int((~small.kind_mask("constant")).sum())
        if count <= max_nodes or wanted <= 10:
            break
        wanted = max(int(wanted * 0.97 * max_nodes / count), 10)
    drawn = int((~small.kind_mask("constant")).sum())
    note = f"{drawn:,} of {n_nodes:,} nodes with {share:.0%} of the influence"
    return small, note


def _before(graph: Graph) -> str:
    whole = graph.metadata.get("pruned", {}).get("of_nodes")
    return f"; pruned from {whole:,} nodes" if whole else ""


def _room_for(points: float, em: float) -> int:
    """How many nodes can be read at this width."""
    return int(np.clip(1.9 * points / em, 40, 150))


def _points(width: str | float | int) -> float:
    if isinstance(width, str):
        if width not in MILLIMETRES:
            raise ValueError(
                f"width={width!r}: expected {', '.join(map(repr, MILLIMETRES))} or a number of millimetres"
            )
        width = MILLIMETRES[width]
    if not 20 <= width <= 2000:
        raise ValueError(f"width={width}: expected 20 to 2000 millimetres")
    return float(width) * POINTS_PER_MILLIMETRE


def _axes_width(ax: Axes) -> float:
    return float(ax.get_window_extent().width / ax.figure.dpi * 72)


def _new_axes(plan: Layout, heading: float, foot: float) -> Axes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(plan.width / 72, (plan.height + heading + foot) / 72), facecolor=plan.theme.background)
    return figure.add_axes((0.0, 0.0, 1.0, 1.0))


@contextmanager
def _settings(kind: str) -> Iterator[None]:
    """matplotlib's settings for real text and bytes that do not change from run to run."""
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "circuitlab",
        "pdf.fonttype": 42,
        "font.family": _fonts(),
        "text.usetex": False,
        "path.simplify": False,
    }
    log = logging.getLogger("matplotlib.font_manager")
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        before, log.disabled = log.disabled, True
        try:
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            yield
        finally:
            log.disabled = before


_FOR_OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Hiragino Sans GB", "PingFang SC", "Microsoft "
    "YaHei",
    "WenQuanYi Micro Hei", "Noto Sans", "Segoe UI",
)  # fmt: skip


def _fonts() -> list[str]:
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FOR_OTHER_SCRIPTS if name in here)]


def _provenance(graph: Graph, kind: str) -> dict[str, Any]:
    """What the file says about its origin, in the fields each format has; no dates."""
    origin = ", ".join(f"{key} {graph.metadata[key]}" for key in ("model", "transcoder") if graph.metadata.get(key))
    prompt = show_token(graph.prompt)
    text = f"Attribution graph of {prompt!r}" + (f" ({origin})" if origin else "")
    if kind == "svg":
        return {"Title": "Attribution graph", "Description": text, "Creator": "circuitlab", "Date": None}
    if kind == "pdf":
        return {"Title": "Attribution graph", "Subject": text, "Creator": "circuitlab", "CreationDate": None}
    if kind == "png":
        return {"Title": "Attribution graph", "Description": text, "Software": "circuitlab"}
    return {}


# Drawing: everything in the layout's unit, y downwards


def _draw_layout(ax: Axes, plan: Layout, heading: float, foot: float) -> None:
    ax.set_xlim(0.0, plan.width)
    ax.set_ylim(plan.height + foot, -heading)
    ax.set_aspect("equal", adjustable="box")
    ax.set_axis_off()
    _draw_ground(ax, plan, heading, foot)
    _draw_frame(ax, plan)
    _draw_edges(ax, plan)
    _draw_dots(ax, plan)
    _draw_boxes(ax, plan)
    _draw_labels(ax, plan)


def _draw_ground(ax: Axes, plan: Layout, heading: float, foot: float) -> None:
    """The theme's background, also in axes of the user's own figure."""
    from matplotlib.patches import Rectangle

    ground = Rectangle((0.0, -heading), plan.width, plan.height + heading + foot)
    ground.set(facecolor=plan.theme.background, edgecolor="none", zorder=-1)
    ax.add_patch(ground)


def _draw_frame(ax: Axes, plan: Layout) -> None:
    """Bands behind every other column, a hairline per layer, the names of layers on the left."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    em, theme = plan.font_size, plan.theme
    tops = [tick.y for tick in plan.ticks]
    top = min(tops, default=plan.height / 2) - 1.4 * em
    for column in plan.columns[::2]:
        band = Rectangle((column.left, top), column.right - column.left, plan.height - 0.2 * em - top)
        band.set(facecolor=theme.band, edgecolor="none", zorder=0)
        ax.add_patch(band)
    left, right = plan.columns[0].left, plan.columns[-1].right
    lines = [[(left, tick.y), (right, tick.y)] for tick in plan.ticks]
    ax.add_collection(LineCollection(lines, colors=theme.line, linewidths=0.05 * em, zorder=1))
    for tick in plan.ticks:
        if tick.text:
            _write(ax, plan, left - 0.5 * em, tick.y, tick.text, size=0.85, align="right", muted=True)


def _draw_edges(ax: Axes, plan: Layout) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.colors import to_rgba
    from matplotlib.path import Path as Curve

    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    curves = [Curve(points, codes) for points in plan.curve]
    colors = [
        to_rgba(plan.theme.edge_color(weight), alpha)
        for weight, alpha in zip(plan.weight.tolist(), plan.opacity.tolist(), strict=True)
    ]
    dashes = [(0.0, DASHES) if weight < 0 else "solid" for weight in plan.weight]
    ax.add_collection(
        PathCollection(
            curves,
            facecolors="none",
            edgecolors=colors,
            linewidths=plan.line_width,
            linestyles=dashes,
            zorder=2,
        )
    )


def _draw_dots(ax: Axes, plan: Layout) -> None:
    from matplotlib.patches import Circle, Polygon, Rectangle

    em, theme = plan.font_size, plan.theme
    for row, shape in enumerate(plan.shape):
        x, y, half = plan.x[row], plan.y[row], plan.wide[row] / 2
        if not plan.visible[row] or (shape == "box" and plan.text[row]):
            continue
        if shape == "diamond":
            dot = Polygon([(x, y - half), (x + half, y), (x, y + half), (x - half, y)])
            dot.set(facecolor=theme.box_fill, edgecolor=theme.muted, linewidth=0.07 * em, zorder=4)
        elif shape == "circle":
            dot = Circle((x, y), half)
            dot.set(facecolor=theme.node_fill, edgecolor=theme.node_line, linewidth=0.1 * em, zorder=5)
        else:
            dot = Rectangle((x - half, y - half), 2 * half, 2 * half)
            dot.set(facecolor=theme.box_fill, edgecolor=theme.muted, linewidth=0.07 * em, zorder=4)
        ax.add_patch(dot)


def _blend(first: str, second: str, share: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(np.array(to_rgb(first)) * (1 - share) + np.array(to_rgb(second)) * share)


def _draw_boxes(ax: Axes, plan: Layout) -> None:
    """Tokens and logits: rounded boxes with their text, a logit's tinted by its probability."""
    from matplotlib.patches import BoxStyle, FancyBboxPatch

    chance = np.sqrt(np.clip(plan.probability, 0.0, 1.0))

    em, theme = plan.font_size, plan.theme
    for row, text in enumerate(plan.text):
        if plan.shape[row] != "box" or not text:
            continue
        wide, high = plan.wide[row], plan.high[row]
        corner = (plan.x[row] - wide / 2, plan.y[row] - high / 2)
        box = FancyBboxPatch(corner, wide, high, boxstyle=BoxStyle("Round", pad=0.0, rounding_size=0.3 * em))
        fill = _blend(theme.box_fill, theme.answer_fill, chance[row])
        box.set(facecolor=fill, edgecolor=theme.box_line, linewidth=0.07 * em, zorder=6)
        ax.add_patch(box)
        _write_lines(ax, plan, row, text.split("\n"))


def _write_lines(ax: Axes, plan: Layout, row: int, lines: list[str]) -> None:
    if len(lines) == 1:
        _write(ax, plan, plan.x[row], plan.y[row], lines[0], align="center", rotation=plan.token_rotation)
        return
    step = 0.56 * plan.font_size
    _write(ax, plan, plan.x[row], plan.y[row] - step, lines[0], align="center", weight="bold")
    _write(ax, plan, plan.x[row], plan.y[row] + step, lines[1], align="center", size=0.9, muted=True)


def _draw_labels(ax: Axes, plan: Layout) -> None:
    """Labels, each on a veil that keeps it readable (an outline would turn its text into curves)."""
    from matplotlib.patches import Rectangle

    em = plan.font_size
    for row, text in enumerate(plan.label):
        if not text or not plan.visible[row]:
            continue
        x, y = float(plan.label_x[row]), float(plan.label_y[row])
        veil = Rectangle((x - 0.1 * em, y - 0.55 * em), (0.92 * text_width(text) + 0.2) * em, 1.1 * em)
        veil.set(facecolor=plan.theme.background, edgecolor="none", alpha=0.72, zorder=3)
        ax.add_patch(veil)
        _write(ax, plan, x, y, text, size=0.95)


def _fitting(plan: Layout, size: float) -> int:
    return max(int((plan.width / plan.font_size - 1.0) / (text_width("n") * size)), 8)


def _write(
    ax: Axes,
    plan: Layout,
    x: float,
    y: float,
    text: str,
    size: float | int = 1,
    align: str = "left",
    weight: str = "normal",
    muted: bool = False,
    rotation: float | int = 0,
) -> None:
    """Text as it is: dollar signs are no formulas."""
    ax.text(
        x,
        y,
        text,
        fontsize=size * plan.font_size,
        color=plan.theme.muted if muted else plan.theme.text,
        ha=align,
        va="center_baseline" if not rotation else "center",
        fontweight=weight,
        rotation=rotation,
        zorder=8,
        parse_math=False,
    )
