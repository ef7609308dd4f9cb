"""One self-contained page for a traced graph: `dallas.html`, to open, send or print, offline.

Reads a `Graph` and gives HTML: the prompt with its answer, where it comes from and how far it can be trusted
(check, replacement and completeness scores), the interactive graph, the figure, the strongest paths, and tables of
nodes and edges that sort, filter and light up in the figure. The script and style are the bundles of `widgets/`,
written into the page; nothing is ever loaded from elsewhere, and the page's own security policy forbids it: only the
script with the hash named there runs.

Labels and tokens may come from files of strangers. They are cleaned of control and direction characters
(`layout.show_token`) and escaped; data for the script are JSON in which every "<" is written \\u003c, and the
script only ever makes text nodes of them.

The same graph gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import fields, replace
from functools import cache
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from circuitlab.formats.files import write_atomically
from circuitlab.graph import Graph
from circuitlab.layout import THEMES, Theme, lay_out
from circuitlab.page.header import below_figure, headline, masthead, summary, what_is_shown, without_bos
from circuitlab.page.listing import edge_note, listed_edges, paths_section, routes_section, script_data, table_section
from circuitlab.page.svg import figure_svg
from circuitlab.page.text import circuitlab_version, clean
from circuitlab.pruning import edge_influence
from circuitlab.view import View
from circuitlab.widgets.columns import page_data

STATIC = Path(__file__).parents[1] / "static"
WIDTH, FONT_SIZE = 1180.0, 12.0
WIDGET_EXTENT = {"alone": (884.0, 560.0), "with a subgraph": (884.0, 340.0)}
EDGES_PER_NODE = 3.2


def write_page(graph: Graph, path: str | PathLike[str], **options: Any) -> Path:
    """Write `page(graph, **options)` into an .html file; it is whole or absent."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path}: a page ends in .html, not in {path.suffix!r}")
    return write_atomically(path, [page(graph, **options).encode("utf-8")])


def page(
    graph: Graph,
    nodes: float = 0.8,
    edges: float = 0.98,
    max_drawn: int = 3000,
    max_listed: int = 5000,
    n_paths: int = 15,
) -> str:
    """The page of a graph as HTML.

    `nodes` and `edges`: the shares of influence to prune to, 1 for everything; a graph that was pruned before
    is shown as it is. The `max_drawn` most influential edges are drawn, all but a few per node only while
    they are pointed at; these and the `max_listed` strongest are in the table.
    """
    for name, value in (("max_drawn", max_drawn), ("max_listed", max_listed), ("n_paths", n_paths)):
        if value < 1:
            raise ValueError(f"page({name}={value}): at least 1 is expected")
    shown = _pruned(graph, nodes, edges)
    check = graph.check().attrs
    layout = lay_out(shown, width=WIDTH, font_size=FONT_SIZE, max_edges=max_drawn)
    resting = _resting(shown, layout.edge)
    listed = listed_edges(shown, max_listed, layout.edge)
    numbers = {int(edge): number for number, edge in enumerate(listed)}
    title = clean(without_bos(graph), 120)
    body = [
        masthead(),
        headline(graph),
        summary(graph, shown, check),
        '<h2 id="graph-title">Graph</h2><div id="graph-widget"></div>',
        "<h2>Figure</h2>",
        f'<p class="note">{escape(what_is_shown(graph, shown, int(resting.sum()), check["note"]))}</p>',
        f'<div class="stage">{figure_svg(shown, layout, numbers, resting, title)}</div>',
        below_figure(),
        routes_section(graph, shown, n_paths),
        paths_section(graph, shown, n_paths),
        table_section("node", "Nodes", "Click a row, or press Enter on it, to pin its node in the figure."),
        table_section("edge", "Edges", edge_note(shown, len(listed))),
        f'<footer class="colophon">Written by circuitlab {circuitlab_version()}; needs no network.</footer>',
    ]
    return _document(title, "\n".join(body), script_data(graph, shown, listed, _widget(graph, nodes, edges)))


def _widget(graph: Graph, nodes: float, edges: float) -> dict[str, Any]:
    """The interactive graph's data, with the view that the graph carries; one pruned before is shown whole."""
    shares = (1.0, 1.0) if "pruned" in graph.metadata else (nodes, edges)
    view = replace(View.of(graph), node_threshold=shares[0], edge_threshold=shares[1])
    return page_data(graph, view, *WIDGET_EXTENT["alone" if view.is_empty else "with a subgraph"])


def _pruned(graph: Graph, nodes: float, edges: float) -> Graph:
    whole = "pruned" in graph.metadata or (nodes == 1.0 and edges == 1.0)
    return graph if whole else graph.prune(nodes, edges)


def _resting(graph: Graph, drawn: Int[np.ndarray, " drawn"]) -> Bool[np.ndarray, " drawn"]:
    """Which of the drawn edges show when nothing is pointed at: a few per node, the most influential."""
    rank = np.argsort(np.argsort(-edge_influence(graph)[drawn], kind="stable"), kind="stable")
    return rank < EDGES_PER_NODE * max(len(graph.nodes), 30)


def _document(title: str, body: str, data: str) -> str:
    script, style = _bundle("page.js"), _colours() + _bundle("page.css")
    policy = (
        f"default-src 'none'; script-src '{_sha256(script)}'; style-src '{_sha256(style)}'; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="circuitlab {circuitlab_version()}">
<link rel="icon" href="data:,">
<title>{escape(title)} · circuitlab</title>
<style>{style}</style>
</head>
<body>
{body}
<script type="application/json" id="graph-data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


@cache
def _bundle(name: str) -> str:
    """A built file of `widgets/`, safe to stand inside a script or style element."""
    path = STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the front end of this source tree has not been built; run `make setup` "
            "(or `pip install -e .`), which builds it"
        )
    text = path.read_text(encoding="utf-8").strip()
    assert not any(end in text.lower() for end in ("</script", "</style", "<!--")), name
    return text


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colours() -> str:
    """The themes of figures as variables: by the system's preference, or by the reader's choice."""
    light, dark = _variables(THEMES["light"]), _variables(THEMES["dark"])
    preferred, chosen = ":root:not([data-theme=light])", ":root[data-theme=dark]"
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{{preferred}{{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{{chosen}{{color-scheme:dark;{dark}}}}}\n"
    )


def _variables(theme: Theme) -> str:
    names = [field.name for field in fields(theme) if field.name != "name"]
    return ";".join(f"--{name.replace('_', '-')}:{getattr(theme, name)}" for name in names)
