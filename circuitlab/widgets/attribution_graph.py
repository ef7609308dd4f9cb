"""The attribution graph in a notebook cell, and the handle to what is arranged in it.

    view = graph.view()             # or cl.AttributionGraph(graph, session=session)
    view                            # shows it; so does `graph` itself
    view.pinned, view.clicked       # what was done in the browser; can be set, and observed
    view.graph.save("dallas.json")  # the graph with labels, groups and pins

Columns travel once (`circuitlab.widgets.columns`); the layout travels again when thresholds or the drawing area
change. The state is a `Session`'s, which several widgets can share.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from circuitlab.graph import Graph
from circuitlab.widgets.base import Refused, Widget, bundle, refuse_unknown
from circuitlab.widgets.columns import columns, extent, known_densities, placed
from circuitlab.widgets.session import STATE, Session, ViewTraits

EXPORTS = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "pgf": "application/x-tex",
    "json": "application/json",
}
OPTIONS = ("height", "badges")
KNOWLEDGE = ("densities", "evidence")


class AttributionGraph(ViewTraits, Widget):
    """An interactive attribution graph. State traits as keyword arguments: `pinned=["1_2_3"]`, `height=800`, …

    `session` shares the state with other widgets of the same graph. `densities` gives the share of tokens on which
    features are active, by `L3/55` or node id, for the density slider; so does `evidence` (a store), and what the graph
    itself knows (`graph.metadata["densities"]`). Where nothing is known there is no such slider. `badges` (node id →
    short text) are shown at nodes, such as a changed activation.
    """

    _esm = bundle("graph.js")
    _linked = False

    badges = traitlets.Dict(help="node id → short text shown at the node").tag(sync=True)
    _changed = traitlets.Dict(help="badges of what the session's interventions leave").tag(sync=True)
    _strings = traitlets.Unicode().tag(sync=True)
    _nodes = traitlets.Bytes().tag(sync=True)
    _edges = traitlets.Bytes().tag(sync=True)
    _placed = traitlets.Bytes().tag(sync=True)
    _placed_strings = traitlets.Unicode().tag(sync=True)
    _extent = traitlets.List([820, 520], help="drawing area in pixels, as the browser reports it").tag(sync=True)

    def __init__(
        self,
        graph: Graph,
        session: Session | None = None,
        densities: Mapping[str, float | int] | None = None,
        evidence: Any = None,
        **traits: Any,
    ) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"AttributionGraph() shows a circuitlab Graph; got {type(graph).__name__}")
        refuse_unknown("AttributionGraph", traits, (*STATE, *OPTIONS, "session", *KNOWLEDGE))
        self.session = session or Session(graph)
        self._checked_graph = graph
        state = {name: value for name, value in traits.items() if name in STATE}
        self.session.update(**state)
        sent = columns(graph, known_densities(graph, densities, evidence))
        super().__init__(
            **{name: traits[name] for name in OPTIONS if name in traits},
            **{name: getattr(self.session, name) for name in STATE},
            _changed=changes(self.session.changed),
            _strings=sent.strings,
            _nodes=sent.nodes,
            _edges=sent.edges,
        )
        self._place()
        self.observe(self._to_session, list(STATE))
        self.observe(self._place, ["node_threshold", "edge_threshold", "_extent"])
        self.session.observe(self._from_session, list(STATE))
        self.session.observe(self._show_changed, "changed")
        self._linked = True

    @property
    def graph(self) -> Graph:
        """The graph with labels, groups, pins and thresholds as they are now; `save` keeps them all."""
        assert self._checked_graph is not None
        return self.view.applied_to(self._checked_graph)

    def set_options(self, **traits: Any) -> None:
        """Set several traits at once, as one step."""
        refuse_unknown("view", traits, (*STATE, *OPTIONS, *KNOWLEDGE))
        knowledge = {name: traits[name] for name in KNOWLEDGE if name in traits}
        if knowledge:
            graph = self._checked_graph
            assert graph is not None
            self._nodes = columns(graph, known_densities(graph, **knowledge)).nodes
        self.session.update(**{name: value for name, value in traits.items() if name in STATE})
        for name in OPTIONS:
            if name in traits:
                setattr(self, name, traits[name])

    def undo(self) -> None:
        """Take back the last change; see `Session.undo`."""
        self.session.undo()

    def redo(self) -> None:
        """Bring back what `undo` took away."""
        self.session.redo()

    def close(self) -> None:
        if self._linked:
            self._linked = False
            self.session.unobserve(self._from_session, list(STATE))
            self.session.unobserve(self._show_changed, "changed")
        super().close()

    @traitlets.validate("_extent")
    def _is_an_area(self, proposal: Any) -> list[float]:
        sides = proposal["value"]
        if len(sides) != 2 or not all(isinstance(side, int | float) and math.isfinite(side) for side in sides):
            raise Refused(f"the drawing area is {sides!r:.60}; expected width and height in pixels")
        return sides

    def _to_session(self, _change: Any) -> None:
        self.session.update(**{name: getattr(self, name) for name in STATE})

    def _from_session(self, _change: Any) -> None:
        with self.hold_trait_notifications():
            for name in STATE:
                if getattr(self, name) != getattr(self.session, name):
                    setattr(self, name, getattr(self.session, name))

    def _show_changed(self, change: Any) -> None:
        self._changed = changes(change["new"])

    def _place(self, _change: Any = None) -> None:
        graph = self._checked_graph
        assert graph is not None
        whole = self.node_threshold >= 1.0 and self.edge_threshold >= 1.0
        shown = graph if whole else graph.prune(self.node_threshold, self.edge_threshold)
        done = placed(graph, shown, *extent(*self._extent))
        with self.hold_sync():
            self._placed, self._placed_strings = done.numbers, done.strings

    def _on_export(self, content: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The same bytes as `graph.savefig` writes, or the graph file."""
        kind = str(content.get("format", "svg"))
        if kind not in EXPORTS:
            raise ValueError(f"format={kind!r}: expected one of {', '.join(EXPORTS)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"graph.{kind}"
            if kind == "json":
                self.graph.save(path)
            else:
                self.savefig(path)
            return {"name": path.name, "type": EXPORTS[kind]}, path.read_bytes()

    def savefig(self, path: str | Path, **options: Any) -> Path:
        """The figure of the subgraph as arranged here, or of the graph where nothing is pinned or grouped; options as
        in `graph.savefig`."""
        view = self.view
        return self.graph.savefig(path, **{"view": None if view.is_empty else view, **options})


def changes(changed: Mapping[str, float]) -> dict[str, str]:
    """Badges by node id or supernode: 0.4 → "−60%", 1.5 → "+50%", by how much of itself its activation changes."""
    return {name: f"{100 * (share - 1.0):+,.0f}%".replace("-", "−") for name, share in changed.items()}
