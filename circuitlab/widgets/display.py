"""What `graph` at the end of a cell shows: the widget, and a picture for where no widget can run."""

from __future__ import annotations

from typing import Any

from circuitlab.figures import static_mimebundle
from circuitlab.graph import Graph
from circuitlab.widgets.attribution_graph import AttributionGraph

_KEPT = "_own_view"


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
    return {**data, **static_mimebundle(graph)}, metadata
