"""What a user arranged on a graph: pinned nodes, supernodes, labels, positions, thresholds, link mode.

A `View` is data without a graph: widgets edit it, figures draw it, and graph files carry it. `check` holds it against
a graph, `of` reads it from one, `applied_to` writes it into one, so that `graph.save()` keeps everything. Files hold it
as `qParams`, the way circuit-tracer's and Neuronpedia's pages do (pinnedIds, supernodes, clickedId, linkType). There a
supernode shows only the members that are pinned, so `pinnedIds` lists them too. What those pages have no place for goes
under `qParams["circuitlab"]`: the thresholds, and positions by name. (`sg_pos` lists positions without saying of what,
in an order that follows from that page's inner numbers; it is kept while the arrangement is the file's, and emptied
when ours takes its place, which makes that page lay its boxes out itself instead of mixing them up.) Labels stand in
the nodes, whoever gave them; which of them the user gave is known from `clerps`, or in our files from `labelled`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from circuitlab.graph import Graph

LINK_MODES = ("inputs", "outputs", "either", "both")
THRESHOLDS = ("node_threshold", "edge_threshold", "density_threshold")
_LINK_TYPES = {"input": "inputs", "output": "outputs", "either": "either", "both": "both"}


@dataclass(frozen=True)
class View:
    """What a user arranged; ids are those of `graph.nodes`.

    `supernodes` maps a name to its members (a node is in at most one). `labels` are those the user gave, in place of
    the graph's own; "" takes one away. `positions` are of nodes and supernodes, x and y from 0 to 1 in the subgraph's
    panel, y downwards. `node_threshold` and `edge_threshold` are shares of influence; features active on more than
    `density_threshold` of all tokens are hidden where that is known.
    """

    pinned: Sequence[str] = ()
    supernodes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    positions: Mapping[str, Sequence[float | int]] = field(default_factory=dict)
    clicked: str | None = None
    node_threshold: float | int = 0.8
    edge_threshold: float | int = 0.98
    density_threshold: float | int = 1.0
    link_mode: str = "both"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pinned", _texts("pinned", self.pinned))
        for name in ("supernodes", "labels", "positions"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name}={getattr(self, name)!r:.60}: expected a mapping from names, e.g. {{}}")
        groups = {name: _texts(f"supernodes[{name!r}]", members) for name, members in self.supernodes.items()}
        object.__setattr__(self, "supernodes", groups)
        object.__setattr__(self, "labels", dict(self.labels))
        places = {name: _place(name, place) for name, place in self.positions.items()}
        object.__setattr__(self, "positions", places)

    def check(self, graph: Graph) -> None:
        """Refuse what does not fit the graph: one ValueError that names the value, and the nearest valid one."""
        for where, node_id in self._mentions():
            _known(graph, where, node_id)
        twice = next((node_id for node_id in self.pinned if self.pinned.count(node_id) > 1), None)
        if twice is not None:
            raise ValueError(f"pinned: {twice!r} is there more than once")
        for node_id, text in self.labels.items():
            require_text(f"labels[{node_id!r}]", text)
        self._check_groups(graph)
        for name in self.positions:
            if name not in self.supernodes:
                _known(graph, "positions", name)
        for name in THRESHOLDS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}={value!r}: expected a share from 0 to 1")
        if self.link_mode not in LINK_MODES:
            raise ValueError(f"link_mode={self.link_mode!r}: expected {', '.join(map(repr, LINK_MODES))}")

    def _mentions(self) -> list[tuple[str, str]]:
        """Where a node is named, and the name."""
        found = [("pinned", node_id) for node_id in self.pinned]
        found += [(f"supernodes[{name!r:.60}]", m) for name, members in self.supernodes.items() for m in members]
        found += [("labels", node_id) for node_id in self.labels]
        return found + ([] if self.clicked is None else [("clicked", self.clicked)])

    def _check_groups(self, graph: Graph) -> None:
        owner: dict[str, str] = {}
        ids = set(graph.nodes["id"])
        for name, members in self.supernodes.items():
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"supernodes has a group named {name!r}; expected a name that can be read")
            require_text("a name in supernodes", name)
            if name in ids:
                raise ValueError(f"supernodes[{name!r:.60}] is named like a node of the graph; give it another name")
            if not members:
                raise ValueError(f"supernodes[{name!r:.60}] is empty; expected at least one node id, or no such group")
            for node_id in members:
                if node_id in owner:
                    where = "twice in" if owner[node_id] == name else f"in {owner[node_id]!r:.60} and"
                    raise ValueError(
                        f"node {node_id!r} is {where} {name!r:.60}; a node is in at most one supernode, once"
                    )
                owner[node_id] = name

    @property
    def owners(self) -> dict[str, str]:
        """Node id → the name of its supernode."""
        return {node_id: name for name, members in self.supernodes.items() for node_id in members}

    @property
    def is_empty(self) -> bool:
        """Nothing pinned and nothing grouped: there is no subgraph to show."""
        return not self.pinned and not self.supernodes

    def within(self, graph: Graph) -> View:
        """What of it concerns nodes that this graph has: the view of a whole graph, for its pruned part."""
        ids = set(graph.nodes["id"])
        groups = {name: [m for m in members if m in ids] for name, members in self.supernodes.items()}
        groups = {name: members for name, members in groups.items() if members}
        return replace(
            self,
            pinned=[node_id for node_id in self.pinned if node_id in ids],
            supernodes=groups,
            labels={node_id: text for node_id, text in self.labels.items() if node_id in ids},
            positions={name: at for name, at in self.positions.items() if name in ids or name in groups},
            clicked=self.clicked if self.clicked in ids else None,
        )

    @staticmethod
    def of(graph: Graph) -> View:
        """The view a graph carries; of what an older view names, only what the graph still has."""
        raw = stored_view(graph)
        own = raw.get("circuitlab")
        own = own if isinstance(own, dict) else {}
        groups = _groups(graph, raw)
        members = {m for who in groups.values() for m in who}
        pinned = _pinned(raw, own, members)
        clicked = raw.get("clickedId")
        shares = {name: own[name] for name in THRESHOLDS if _is_share(own.get(name))}
        if "node_threshold" not in shares and _is_share(raw.get("pruningThreshold")):
            shares["node_threshold"] = float(raw["pruningThreshold"])
        return View(
            pinned=pinned,
            supernodes=groups,
            labels=_own_labels(graph, raw, own),
            positions=_readable_positions(own),
            clicked=clicked if isinstance(clicked, str) and clicked else None,
            link_mode=_LINK_TYPES.get(str(raw.get("linkType", "both")), "both"),
            **shares,
        ).within(graph)

    def applied_to(self, graph: Graph) -> Graph:
        """The graph with this view in its tables (label, supernode) and metadata (`qParams`)."""
        self.check(graph)
        nodes = graph.nodes.copy()
        ids = nodes["id"]
        owners, labels = self.owners, dict(self.labels)
        nodes["supernode"] = pd.array([owners.get(i, pd.NA) for i in ids], dtype="string")
        named = zip(ids, nodes["label"], strict=True)
        nodes["label"] = pd.array([(labels[i] or pd.NA) if i in labels else old for i, old in named], "string")
        grouped = [m for members in self.supernodes.values() for m in members if m not in self.pinned]
        before = stored_view(graph)
        own = {"pinned": list(self.pinned), "positions": {name: list(at) for name, at in self.positions.items()}}
        ours = {
            "pinnedIds": [*self.pinned, *grouped],
            "supernodes": [[name, *members] for name, members in self.supernodes.items()],
            "linkType": {mode: word for word, mode in _LINK_TYPES.items()}[self.link_mode],
            "clickedId": self.clicked or "",
            "sg_pos": "",
            "circuitlab": {**own, "labelled": list(labels), **{n: float(getattr(self, n)) for n in THRESHOLDS}},
        }
        same = _pinned(before, {}, set()) == ours["pinnedIds"] and _groups(graph, before) == self.supernodes
        if same and not self.positions:
            ours["sg_pos"] = before.get("sg_pos", "")
        rest = {key: value for key, value in before.items() if key not in ("clerps", *ours)}
        return replace(graph, nodes=nodes, metadata={**graph.metadata, "qParams": {**rest, **ours}})


def stored_view(graph: Graph) -> dict[str, Any]:
    """The graph's qParams, by the ids of its table: set by `applied_to`, else those of the file it came from."""
    ours = graph.metadata.get("qParams")
    if isinstance(ours, dict):
        return ours
    side = graph.metadata.get("json")
    if not isinstance(side, dict) or not isinstance(raw := side["file"].get("qParams"), dict):
        return {}
    ids = {node["node_id"]: node_id for node_id, node in side["nodes"].items()}
    raw = dict(raw)
    raw["pinnedIds"] = [ids.get(node_id, node_id) for node_id in _pinned(raw, {}, set())]
    raw["supernodes"] = [[entry[0], *(ids.get(m, m) for m in entry[1:])] for entry in _entries(raw)]
    raw["clickedId"] = ids.get(raw.get("clickedId"), raw.get("clickedId"))
    raw["clerps"] = [[ids.get(entry[0], entry[0]), *entry[1:]] for entry in _entries(raw, "clerps")]
    return raw


def _entries(raw: dict[str, Any], key: str = "supernodes") -> list[list[str]]:
    """[[name, id, …], …] or [[id, label], …], which a saved page holds as JSON text."""
    value = raw.get(key) or []
    value = json.loads(value) if isinstance(value, str) else value
    return [entry for entry in value if isinstance(entry, list) and entry]


def _own_labels(graph: Graph, raw: dict[str, Any], own: dict[str, Any]) -> dict[str, str]:
    """The labels that the user gave, as the table has them: of `labelled` in our files, of `clerps` in others'."""
    named = own.get("labelled")
    if not isinstance(named, list):
        named = [entry[0] for entry in _entries(raw, "clerps") if len(entry) > 1]
    now = dict(zip(graph.nodes["id"], graph.nodes["label"].fillna(""), strict=True))
    return {node_id: now[node_id] for node_id in named if isinstance(node_id, str) and node_id in now}


def _pinned(raw: dict[str, Any], own: dict[str, Any], members: set[str]) -> list[str]:
    """Pinned ids; with `own`, without those that stand there only because their supernode needs them."""
    value = raw.get("pinnedIds") or []
    value = value.split(",") if isinstance(value, str) else value
    listed = list(dict.fromkeys(node_id for node_id in value if isinstance(node_id, str) and node_id))
    ours = own.get("pinned")
    if isinstance(ours, list) and all(isinstance(i, str) for i in ours) and {*ours, *members} == {*listed, *members}:
        return list(dict.fromkeys(ours))
    return listed


def _groups(graph: Graph, raw: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Supernodes as the table has them, names and members in the order in which the file lists them."""
    grouped = graph.nodes.loc[graph.nodes["supernode"].notna(), ["id", "supernode"]]
    owner = {i: name for i, name in zip(grouped["id"], grouped["supernode"], strict=True) if name.strip()}
    found: dict[str, dict[str, None]] = {}
    for name, *members in _entries(raw):
        for node_id in members:
            if owner.get(node_id) == name:
                found.setdefault(name, {})[node_id] = None
    for node_id, name in owner.items():
        found.setdefault(name, {})[node_id] = None
    ids = set(graph.nodes["id"])
    return {name if name not in ids else f"{name} (group)": tuple(members) for name, members in found.items()}


def _readable_positions(own: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Positions of the file, each held inside the panel; what is no position is left out."""
    value = own.get("positions")
    found = {}
    for name, at in (value if isinstance(value, dict) else {}).items():
        try:
            found[name] = _place(name, [min(max(float(number), 0.0), 1.0) for number in at])
        except (TypeError, ValueError):
            continue
    return found


def _is_share(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError):
        return False


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | pd.Series | pd.Index | np.ndarray):
        raise ValueError(f"{where}={value!r:.60}: expected a list of node ids")
    wrong = next((item for item in value if not isinstance(item, str)), None)
    if wrong is not None:
        raise ValueError(f"{where} holds {wrong!r:.60}; expected node ids, which are text")
    return tuple(str(item) for item in value)


def require_text(where: str, value: Any) -> None:
    """Text that a file can hold: no halves of characters, which scripts can produce."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{where} is {value!r:.60}; expected text of whole characters")


def _place(name: Any, place: Any) -> tuple[float, float]:
    pair = tuple(place) if isinstance(place, Sequence | np.ndarray) and not isinstance(place, str) else ()
    if len(pair) != 2 or not all(isinstance(n, int | float | np.number) and 0.0 <= n <= 1.0 for n in pair):
        raise ValueError(f"positions[{name!r:.60}] is {place!r:.60}; expected (x, y), each from 0 to 1")
    return float(pair[0]), float(pair[1])


def _known(graph: Graph, where: str, node_id: Any) -> None:
    try:
        graph.row(node_id)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
