"""What linked widgets share about one graph: what is clicked, pinned, grouped, labelled, hidden, intervened on.

    session = cl.Session(graph)
    cl.AttributionGraph(graph, session=session)      # clicks in it …
    session.clicked, session.pinned                  # … are state here, can be set, observed and undone

A value that does not fit the graph (an unknown node, a group of nothing, a threshold of 7) is refused with a
ValueError that names it. `undo` and `redo` go through everything that is arranged; a click is no arrangement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import traitlets

from circuitlab.graph import Graph
from circuitlab.view import View
from circuitlab.widgets.base import refuse_unknown, refusing
from circuitlab.widgets.sliders.request import checked_amounts, checked_setting
from circuitlab.widgets.sliders.rows import Catalogue

ARRANGED = (
    "pinned",
    "supernodes",
    "labels",
    "positions",
    "node_threshold",
    "edge_threshold",
    "density_threshold",
    "link_mode",
)
"""The traits that make a View, but for the click, in the order in which they are applied."""

STATE = (*ARRANGED, "clicked")
SLID = ("interventions", "setting")
"""What sliders move: no part of a View, but undone and redone with it."""
SAME_STEP = 0.8
"""Seconds within which further changes of the same one trait belong to one step: a slider being dragged."""


class ViewTraits(traitlets.HasTraits):
    """The traits of a `View`, checked against `self._checked_graph` when they are set."""

    clicked = traitlets.Unicode(None, allow_none=True, help="id of the node that was clicked").tag(sync=True)
    pinned = traitlets.List(traitlets.Unicode(), help="ids of pinned nodes").tag(sync=True)
    supernodes = traitlets.Dict(help="name → ids of its nodes").tag(sync=True)
    labels = traitlets.Dict(help="node id → label").tag(sync=True)
    positions = traitlets.Dict(help="node id or supernode → (x, y) in the subgraph").tag(sync=True)
    node_threshold = traitlets.Float(0.8, help="share of influence that shown nodes carry").tag(sync=True)
    edge_threshold = traitlets.Float(0.98, help="share of influence that shown edges carry").tag(sync=True)
    density_threshold = traitlets.Float(1.0, help="densest features shown, as a share of tokens").tag(sync=True)
    link_mode = traitlets.Unicode("both", help="inputs, outputs, either or both").tag(sync=True)

    _checked_graph: Graph | None = None

    @property
    def view(self) -> View:
        """The state as a frozen `View`, without positions of what is no longer there."""
        state = {name: getattr(self, name) for name in STATE}
        ids = set() if self._checked_graph is None else set(self._checked_graph.nodes["id"])
        known = {key: at for key, at in self.positions.items() if key in ids or key in self.supernodes}
        return View(**{**state, "positions": known})

    @traitlets.validate(*STATE)
    def _fits_the_graph(self, proposal: Any) -> Any:
        name = proposal["trait"].name
        with refusing():
            value = _plain(name, proposal["value"])
            self._require_fit({name: value})
        return value

    def _require_fit(self, state: Mapping[str, Any]) -> None:
        """ValueError for a value that does not fit the graph; positions may also be of these supernodes."""
        if self._checked_graph is None:
            return
        for name, value in state.items():
            beside = {"supernodes": state.get("supernodes", self.supernodes)} if name == "positions" else {}
            View(**{**beside, name: value}).check(self._checked_graph)


class Session(ViewTraits):
    """The shared state of one graph's widgets. Keyword arguments are its traits."""

    interventions = traitlets.Dict(help="node id, supernode, label or feature → factor times its own value")
    setting = traitlets.Dict(help="what sliders hold besides: values, where, mode, end_layer, freeze_attention")
    changed = traitlets.Dict(help="node id or supernode → share of its activation that an intervention leaves")

    def __init__(self, graph: Graph, **traits: Any) -> None:
        refuse_unknown("Session", traits, (*STATE, *SLID))
        self._checked_graph = graph
        self._past: list[dict[str, Any]] = []
        self._future: list[dict[str, Any]] = []
        self._last_change: tuple[frozenset[str], float] = (frozenset(), -math.inf)
        self._gesture: str | None = None
        self._last_gesture: str | None = None
        self._amends = False
        super().__init__(**{**opening_state(graph), **traits})
        self._present = self._arranged()
        self.observe(self._record, [*ARRANGED, *SLID])

    @traitlets.validate("interventions")
    def _can_be_set(self, proposal: Any) -> Any:
        with refusing():
            factors = checked_amounts("interventions", proposal["value"])
            if self._checked_graph is not None:
                catalogue = Catalogue(self._checked_graph, self.supernodes, self.labels)
                for name in factors:
                    catalogue.row(name)
        return factors

    @traitlets.validate("setting")
    def _can_be_held(self, proposal: Any) -> Any:
        assert self._checked_graph is not None
        with refusing():
            setting = checked_setting(proposal["value"], len(self._checked_graph.tokens))
            catalogue = Catalogue(self._checked_graph, self.supernodes, self.labels)
            for name in (*setting.get("values", {}), *setting.get("where", {})):
                catalogue.row(name)
        return setting

    @property
    def graph(self) -> Graph:
        """The graph with the view applied: labels and groups in its nodes, the rest in its metadata."""
        assert self._checked_graph is not None
        return self.view.applied_to(self._checked_graph)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def update(self, **state: Any) -> None:
        """Set several traits as one step that `undo` takes back together."""
        refuse_unknown("update", state, (*STATE, *SLID))
        changed = {name: value for name, value in state.items() if getattr(self, name) != _plain(name, value)}
        self._require_fit({name: value for name, value in changed.items() if name in STATE})
        with self.hold_trait_notifications():
            for name, value in changed.items():
                setattr(self, name, value)

    @contextmanager
    def gesture(self, name: str) -> Iterator[None]:
        """What changes inside is one step for `undo`, with what changed before it under the same name: a drag."""
        before, self._gesture = self._gesture, name
        try:
            yield
        finally:
            self._gesture = before

    @contextmanager
    def amending(self) -> Iterator[None]:
        """What changes inside follows from the last change, and is undone with it."""
        before, self._amends = self._amends, True
        try:
            yield
        finally:
            self._amends = before

    def undo(self) -> None:
        """Take back the last change, whether it came from Python or from the browser."""
        if self._past:
            self._go_to(self._past.pop(), self._future)

    def redo(self) -> None:
        """Bring back what `undo` took away."""
        if self._future:
            self._go_to(self._future.pop(), self._past)

    def _go_to(self, state: dict[str, Any], other: list[dict[str, Any]]) -> None:
        other.append(self._present)
        self._present = state
        self._begin_anew()
        self.update(**state)

    def _begin_anew(self) -> None:
        """The next change belongs to no step before it."""
        self._last_change, self._last_gesture = (frozenset(), -math.inf), None

    def _arranged(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*ARRANGED, *SLID)}

    def _record(self, _change: Any) -> None:
        """One step per change. A step back to the previous state, as the browser's own undo makes it, is an undo."""
        if any(getattr(self, name) != self._present[name] for name in ("supernodes", "labels")):
            self._forget_strays()
        new = self._arranged()
        if new == self._present:
            return
        if self._amends:
            self._present = new
        elif self._past and new == self._past[-1]:
            self._future.append(self._present)
            self._past.pop()
            self._begin_anew()
        elif self._future and new == self._future[-1]:
            self._past.append(self._present)
            self._future.pop()
            self._begin_anew()
        else:
            if not self._is_same_step(frozenset(name for name in new if new[name] != self._present[name])):
                self._past.append(self._present)
            self._future.clear()
        self._present = new

    def _forget_strays(self) -> None:
        """What goes with a supernode or label that is no more, its place and its amounts, goes in the same step."""
        held = [self.interventions, *(self.setting.get(name, {}) for name in ("values", "where"))]
        gone = {name for amounts in held for name in amounts}
        if gone:
            assert self._checked_graph is not None
            catalogue = Catalogue(self._checked_graph, self.supernodes, self.labels)
            gone = {name for name in gone if not catalogue.has(name)}
        positions = {name: list(at) for name, at in self.view.positions.items()}
        if not gone and len(positions) == len(self.positions):
            return

        def kept(amounts: Mapping[str, Any]) -> dict[str, Any]:
            return {name: amount for name, amount in amounts.items() if name not in gone}

        setting = {name: kept(value) if isinstance(value, Mapping) else value for name, value in self.setting.items()}
        setting = {name: value for name, value in setting.items() if value != {}}
        self.update(positions=positions, interventions=kept(self.interventions), setting=setting)

    def _is_same_step(self, names: frozenset[str]) -> bool:
        """Whether a change of these traits goes on with the last one: its gesture, or a threshold being dragged."""
        (last_names, last_time), last_gesture, now = self._last_change, self._last_gesture, monotonic()
        self._last_change, self._last_gesture = (names, now), self._gesture
        if self._gesture is not None:
            return self._gesture == last_gesture
        dragged = len(names) == 1 and next(iter(names)).endswith("threshold")
        return dragged and names == last_names and now - last_time < SAME_STEP


def opening_state(graph: Graph) -> dict[str, Any]:
    """What the graph's file says of its view; a graph that was pruned before is shown whole."""
    view = View.of(graph)
    state = {name: _plain(name, getattr(view, name)) for name in STATE}
    if "pruned" in graph.metadata:
        state |= {"node_threshold": 1.0, "edge_threshold": 1.0}
    return state


def _plain(name: str, value: Any) -> Any:
    """A trait's value in the types that travel as JSON; what is of another shape stays, for `View` to refuse."""
    if name == "pinned":
        return _listed(value)
    if not isinstance(value, Mapping):
        return value
    if name == "supernodes":
        return {key: _listed(ids) for key, ids in value.items()}
    return {key: _pair(at) for key, at in value.items()} if name == "positions" else dict(value)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else value


def _pair(place: Any) -> Any:
    try:
        x, y = place
        return [float(x), float(y)]
    except (TypeError, ValueError):
        return place
