"""Static figures for papers and notebook cells: SVG, PDF, PNG and PGF, without browser, display or LaTeX.

`savefig` writes a whole graph (pruned until it can be read) or, with `view`, the user's subgraph; `draw` puts either
into the user's own axes; `plot_intervention` and `save_intervention` show what an intervention did. What is drawn is
decided once (a `Scene`) and painted by matplotlib or written as PGF. The same graph and options give the same bytes.
Table side: no torch.
"""

from __future__ import annotations

import base64
import difflib
import inspect
import shutil
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitlab.evidence import Evidence
from circuitlab.figures.cell import DPI, can_paint, cell_png, cell_svg
from circuitlab.figures.feature import feature_scene
from circuitlab.figures.intervention import intervention_scene, plot_intervention
from circuitlab.figures.pgf import pgf_text
from circuitlab.figures.render import figure_bytes, new_axes, paint, small_png
from circuitlab.figures.scene import Scene
from circuitlab.figures.subgraph import subgraph_scene
from circuitlab.figures.whole import legible, whole_scene
from circuitlab.formats.files import write_atomically
from circuitlab.graph import Graph
from circuitlab.layout import lay_out, show_token, theme_named
from circuitlab.view import View

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MILLIMETRES = {"single-column": 89.0, "double-column": 183.0}
"""Widths that journals ask for."""
FORMATS = ("svg", "pdf", "png", "pgf")
INTERVENTION = "Intervention"
POINTS_PER_MILLIMETRE = 72 / 25.4

__all__ = [
    "FORMATS",
    "MILLIMETRES",
    "draw",
    "feature_mimebundle",
    "intervention_mimebundle",
    "legible",
    "plot_intervention",
    "save_intervention",
    "savefig",
    "static_mimebundle",
]


def savefig(
    graph: Graph,
    path: str | PathLike[str],
    width: str | float | int = "double-column",
    view: Any = None,
    dpi: int = 300,
    ax: Axes | None = None,
    **options: Any,
) -> Path:
    """Draw a graph into a file; the ending of `path` says which: .svg, .pdf, .png or .pgf.

    `width` is "single-column" (89 mm), "double-column" (183 mm) or millimetres; the height follows from the content
    (or `height`, in points). With `view` (a View, or a widget such as `graph.view()`) the user's subgraph is drawn:
    pinned nodes and supernodes, where the view's positions put them, else by layer and token. `ax` also draws into the
    user's own axes and saves their figure.

    Options of both: `theme` ("light", "dark"), `title`, `caption`, `font_size` (points), `height`, `max_edges`. Of the
    whole graph: `max_nodes` (beyond which it is pruned; by default as many as can be read at this width), `max_labels`,
    `constants`. Of a subgraph: `ends` (add tokens and the answer where none is pinned).
    """
    path, kind = Path(path), _kind(path)
    _check_range("dpi", dpi)
    if ax is None:
        scene = _scene(graph, _points(width), view, options)
        return write_atomically(path, [_content(scene, kind, dpi, *_about(graph))])
    if kind == "pgf" and not shutil.which("xelatex"):
        raise ValueError(f"{path}: only LaTeX's xelatex can write PGF of your own axes, and it is not installed; "
                         "save a .pdf, or leave ax out: the graph alone needs no LaTeX")  # fmt: skip
    figure = draw(graph, ax=ax, view=view, **options).get_figure(root=True)
    assert figure is not None
    return write_atomically(path, [figure_bytes(figure, kind, dpi, _provenance(kind, *_about(graph)))])


def save_intervention(
    path: str | PathLike[str],
    before_after: pd.DataFrame,
    remaining: pd.DataFrame,
    edges: pd.DataFrame,
    about: str = "",
    width: str | float | int = "double-column",
    dpi: int = 300,
    **options: Any,
) -> Path:
    """Draw an intervention into a file, .svg, .pdf, .png or .pgf; tables and options (`title`, `theme`, `font_size`) as
    in `plot_intervention`, `width` and `dpi` as in `savefig`; `about` says in the file what it shows."""
    path, kind = Path(path), _kind(path)
    _check_range("dpi", dpi)
    scene = intervention_scene(before_after, remaining, edges, _points(width), **options)
    return write_atomically(path, [_content(scene, kind, dpi, INTERVENTION, about)])


def draw(
    graph: Graph,
    width: str | float | int = "double-column",
    ax: Axes | None = None,
    view: Any = None,
    **options: Any,
) -> Axes:
    """The axes with the graph, or with `view` the user's subgraph, in them: a new figure's, or `ax`.

    In the user's own axes the drawing takes their width, and shrinks where they are too low. Options as in `savefig`.
    """
    scene = _scene(graph, _points(width) if ax is None else _axes_width(ax), view, options)
    return paint(scene, new_axes(scene) if ax is None else ax)


def _kind(path: str | PathLike[str]) -> str:
    """The format that a path's ending asks for."""
    ending = Path(path).suffix
    kind = ending.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: figures end in {', '.join('.' + f for f in FORMATS)}, not in {ending!r}")
    return kind


def _content(scene: Scene, kind: str, dpi: int, title: str, about: str) -> bytes:
    if kind == "pgf":
        return pgf_text(scene, about[:200] or title).encode("utf-8")
    figure = paint(scene, new_axes(scene)).get_figure(root=True)
    assert figure is not None
    return figure_bytes(figure, kind, dpi, _provenance(kind, title, about))


def _scene(graph: Graph, points: float, view: Any, options: dict[str, Any]) -> Scene:
    view = getattr(view, "view", view)  # a widget's arrangement
    if view is not None and not isinstance(view, View):
        raise ValueError(f"view={view!r:.60}: expected a View, e.g. View(pinned=[…], supernodes={{…}})")
    _check_options(options, view)
    options = dict(options)
    theme = theme_named(options.pop("theme", "light"))
    em = float(options.pop("font_size", None) or (5.5 if points < 130 * POINTS_PER_MILLIMETRE else 6.5))
    if view is not None:
        return subgraph_scene(graph, view, points, em, theme, **options)
    return whole_scene(graph, points, em, theme, **options)


_RANGES = {"font_size": (1, 100), "height": (10, 10_000), "max_edges": (0, 10**9), "max_nodes": (1, 10**9),
           "max_labels": (0, 10**9), "dpi": (10, 2400)}  # fmt: skip


def _check_options(options: dict[str, Any], view: View | None) -> None:
    """Unknown options are refused with the nearest valid name."""
    names = {"theme", "font_size"}
    for function in (whole_scene, lay_out) if view is None else (subgraph_scene,):
        names |= {name for name, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_KEYWORD}
    known = sorted(names - {"graph", "em", "view", "width"})
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "width", "view", "dpi", "ax"], n=1)
            what = "a graph" if view is None else "a view"
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"{name!r} is no option of figures of {what}; {hint}")
        _check_range(name, options[name])


def _check_range(name: str, value: Any) -> None:
    if name not in _RANGES or value is None:
        return
    low, high = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name}={value!r:.60}: expected a number from {low:,} to {high:,}")


def static_mimebundle(graph: Graph, view: View | None = None, **options: Any) -> dict[str, Any]:
    """What stands in a notebook where no widget can run: `image/svg+xml`, `image/png` (base64) and `text/plain`.

    The subgraph of `view` where it has one, else the whole graph, pruned until it can be read. Options of `savefig`.
    """
    view = None if view is None or view.is_empty else view
    scene = _scene(graph, _points(230.0), view, {"font_size": 8.0, **options})
    return _mimebundle(scene, repr(graph), *_about(graph))


def intervention_mimebundle(
    before_after: pd.DataFrame, remaining: pd.DataFrame, edges: pd.DataFrame, text: str, about: str = ""
) -> dict[str, Any]:
    """The same of an intervention, its tables as in `plot_intervention`; `text` is its `text/plain`."""
    scene = intervention_scene(before_after, remaining, edges, _points(230.0), font_size=8.0)
    return _mimebundle(scene, text, INTERVENTION, about)


def feature_mimebundle(evidence: Evidence, label: str, text: str) -> dict[str, Any]:
    """The same of a feature; `label` is the one it has here."""
    scene = feature_scene(evidence, label, _points(230.0), 8.0, theme_named("light"))
    return _mimebundle(scene, text, "Feature", f"Feature L{evidence.layer}/{evidence.index}: {show_token(label[:400])}")


def _mimebundle(scene: Scene, text: str, title: str, about: str) -> dict[str, Any]:
    png, svg = _cell_pictures(scene, _provenance("png", title, about))
    return {"text/plain": text, "image/png": base64.b64encode(png).decode("ascii"), "image/svg+xml": svg}


def _cell_pictures(scene: Scene, origin: dict[str, Any]) -> tuple[bytes, str]:
    """PNG and SVG without matplotlib; with it where a text needs fonts that it has to look for."""
    if can_paint(scene):
        return cell_png(scene, origin), cell_svg(scene, origin["Title"], origin["Description"])
    figure = paint(scene, new_axes(scene)).get_figure(root=True)
    assert figure is not None
    about = {"Title": origin["Title"], "Description": origin["Description"], "Creator": "circuitlab", "Date": None}
    png = small_png(figure, scene.theme, DPI, origin)
    return png, figure_bytes(figure, "svg", DPI, about).decode("utf-8")


def _points(width: str | float | int) -> float:
    """Points of a width in millimetres or by its name."""
    if isinstance(width, str):
        if width not in MILLIMETRES:
            near = difflib.get_close_matches(width, MILLIMETRES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            expected = ", ".join(map(repr, MILLIMETRES))
            raise ValueError(f"width={width!r}: expected {expected} or a number of millimetres{hint}")
        width = MILLIMETRES[width]
    if not isinstance(width, Real) or not 20 <= width <= 2000:
        raise ValueError(f"width={width!r:.60}: expected 20 to 2000 millimetres")
    return float(width) * POINTS_PER_MILLIMETRE


def _axes_width(ax: Axes) -> float:
    return float(ax.get_window_extent().width / ax.figure.dpi * 72)


def _about(graph: Graph) -> tuple[str, str]:
    """Title and description of a graph's figures."""
    origin = ", ".join(f"{key} {graph.metadata[key]}" for key in ("model", "transcoder") if graph.metadata.get(key))
    prompt = show_token(graph.prompt[:2000])
    return "Attribution graph", f"Attribution graph of {prompt!r}" + (f" ({origin})" if origin else "")


def _provenance(kind: str, title: str, about: str) -> dict[str, Any]:
    """What the file says about its origin, in the fields each format has; no dates."""
    if kind == "svg":
        return {"Title": title, "Description": about, "Creator": "circuitlab", "Date": None}
    if kind == "pdf":
        return {"Title": title, "Subject": about, "Creator": "circuitlab", "CreationDate": None}
    if kind == "png":
        return {"Title": title, "Description": about, "Software": "circuitlab"}
    return {}
