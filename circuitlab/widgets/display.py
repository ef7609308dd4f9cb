"""What `graph` at the end of a cell shows: the widget, and a picture for where no widget can run."""

from __future__ import annotations

from typing import Any

from circuitlab.figures import static_mimebundle
from circuitlab.graph import Graph
from circuitlab.widgets.attribution_graph import AttributionGraph

_KEPT = "_own_view"
_PICTURE = "_own_picture"


def own_view(graph: Graph, **options: Any) -> AttributionGraph:
    """The graph's one handle, made on first use; a closed one is made anew."""
    kept = graph.__dict__.get(_KEPT)
    if kept is None or kept.comm is None:
        kept = AttributionGraph(graph, **options)
        graph.__dict__[_KEPT] = kept
    elif options:
        kept.set_options(**options)
    return kept


def mimebundle(graph: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
    """MIME type → data: the widget's view, `image/png`, `image/svg+xml` and text."""
    data, metadata = own_view(graph)._repr_mimebundle_() or ({}, {})
    return {**data, **_picture(graph)}, metadata


def _picture(graph: Graph) -> dict[str, Any]:
    """The picture of the whole graph, drawn once as long as names and groups in its table stay as they are."""
    drawn_from = graph.names, tuple(graph.nodes["supernode"].astype(object).fillna(""))
    kept = graph.__dict__.get(_PICTURE)
    if kept is None or kept[0] != drawn_from:
        kept = drawn_from, static_mimebundle(graph)
        graph.__dict__[_PICTURE] = kept
    return kept[1]
