"""What a slider stands for: a supernode, a label, a feature or a node of the graph, found by its name.

Reads the graph's node table and the session's supernodes and labels; gives `Row`s. A name is, in this order: a
supernode, a node id, a feature (`L3/55`), a label.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from circuitlab.graph import Graph
from circuitlab.layout import clip_text, show_token

FEATURE = re.compile(r"L(\d+)/(\d+)$")
SETTABLE = ("feature", "error", "token")
OPENING_ROWS = 5
WATCHED = 12
OFFERED = 60
"""So many names the widget offers; every other one can be typed."""


@dataclass(frozen=True)
class Row:
    """One slider. `kind`: supernode, label, feature or node; `members`: node ids; `features`: (layer, feature).

    `places`: the members' positions; `own`: the largest activation among the members, 0 where none is active;
    `vector`: it holds an error or a token, which can be scaled but has no activation.
    """

    name: str
    kind: str
    title: str
    detail: str
    members: tuple[str, ...]
    features: tuple[tuple[int, int], ...]
    places: tuple[int, ...]
    own: float
    vector: bool

    def sent(self) -> dict[str, object]:
        """What the browser shows of it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "title": shown(self.title),
            "detail": shown(self.detail),
            "own": self.own,
            "vector": self.vector,
            "places": list(self.places),
        }


def shown(text: str) -> str:
    """A text as it can be shown: short, and without control characters."""
    return show_token(clip_text(str(text)[:400], 100))


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Everything that a name can be looked up in: the graph, supernodes (name → node ids), labels (node id → text)."""

    graph: Graph
    supernodes: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]

    def row(self, name: str) -> Row:
        """The row of a name; ValueError, with the nearest names, for one that does not exist."""
        if not isinstance(name, str):
            raise ValueError(f"a row is named by a text, like 'Texas' or 'L3/55'; got {name!r:.60}")
        if name in self.supernodes:
            return self._group(name, "supernode", self.supernodes[name])
        if name in self._rows:
            return self._node(name)
        if found := FEATURE.match(name):
            return self._feature(name, int(found[1]), int(found[2]))
        if name in self.groups_by_label:
            return self._group(name, "label", self.groups_by_label[name])
        raise ValueError(self._unknown(name))

    def has(self, name: str) -> bool:
        """Whether there is a row of this name."""
        try:
            self.row(name)
        except ValueError:
            return False
        return True

    @cached_property
    def groups_by_label(self) -> dict[str, tuple[str, ...]]:
        """The features of each label, as node ids; the most influential label first."""
        groups: dict[str, list[str]] = {}
        weight: dict[str, float] = {}
        for node_id, label, influence in zip(*self._feature_columns("id", "label", "influence"), strict=True):
            text = self.labels.get(node_id) or label
            if isinstance(text, str) and text:
                groups.setdefault(text, []).append(node_id)
                weight[text] = weight.get(text, 0.0) + (float(influence) if influence == influence else 0.0)
        return {text: tuple(groups[text]) for text in sorted(groups, key=lambda text: -weight[text])}

    def opening(self, pinned: Sequence[str] = ()) -> list[str]:
        """The rows to begin with: supernodes, else what is pinned, else the most influential labels or features."""
        if self.supernodes:
            return list(self.supernodes)
        kinds = self.graph.nodes["kind"].to_numpy(dtype=object)
        if chosen := [node_id for node_id in pinned if kinds[self._rows[node_id]] in SETTABLE]:
            return chosen
        return [*self.groups_by_label, *self.by_influence][:OPENING_ROWS]

    @cached_property
    def offered(self) -> list[dict[str, str]]:
        """Names that the widget offers to add, with a hint: supernodes, labels, then the most influential nodes."""
        names = [*self.supernodes, *list(self.groups_by_label)[:OFFERED], *self.by_influence[:OFFERED]]
        rows = [self.row(name) for name in dict.fromkeys(names)]
        return [{"name": row.name, "hint": f"{row.kind}, {shown(row.detail)}"} for row in rows]

    def context(self, **more: object) -> str:
        """What is offered, the prompt and its tokens, as JSON for the browser."""
        tokens = [shown(token) for token in self.graph.tokens]
        text = clip_text(show_token(self.graph.prompt[:4000]), 1000)
        return json.dumps({"offered": self.offered, "prompt": tokens, "text": text, **more}, ensure_ascii=False)

    def watched(self, chosen: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Groups (name → node ids) of which is shown what is left: the rows, the supernodes; without these, labels."""
        rows = {row.name: row.members for row in map(self.row, chosen) if row.members}
        if self.supernodes:
            return {**{name: tuple(ids) for name, ids in self.supernodes.items()}, **rows}
        taken = {member for ids in rows.values() for member in ids}
        others = [name for name, ids in self.groups_by_label.items() if not taken & set(ids)]
        return {**rows, **{name: self.groups_by_label[name] for name in others[: max(0, WATCHED - len(rows))]}}

    # ---- rows ----

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {node_id: row for row, node_id in enumerate(self.graph.nodes["id"])}

    def _node(self, name: str) -> Row:
        node = self.graph.node(name).to_dict()
        if node["kind"] not in SETTABLE:
            raise ValueError(f"{name!r} is a {node['kind']}: only features, errors and tokens can be set")
        token = show_token(self.graph.tokens[int(node["pos"])])
        title = self.labels.get(name) or self.graph.names[self._rows[name]]
        what = f"L{node['layer']}/{node['feature']}" if node["kind"] == "feature" else str(node["kind"])
        return self._made(name, "node", title, f"{what} at {token}", (name,))

    def _feature(self, name: str, layer: int, feature: int) -> Row:
        same = (self.graph.nodes["layer"] == layer) & (self.graph.nodes["feature"] == feature)
        ids = self.graph.nodes.loc[(same.fillna(False) & self.graph.kind_mask("feature")).to_numpy(bool), "id"].tolist()
        labels = [self.labels.get(node_id) or self.graph.names[self._rows[node_id]] for node_id in ids]
        detail = f"{name}, {count(len(ids), 'place')}" if ids else f"{name}, not active"
        return self._made(name, "feature", labels[0] if ids else name, detail, ids, [(layer, feature)])

    def _group(self, name: str, kind: str, ids: Sequence[str]) -> Row:
        return self._made(name, kind, name, count(len(ids), "node"), ids)

    def _made(
        self,
        name: str,
        kind: str,
        title: str,
        detail: str,
        ids: Sequence[str],
        features: Sequence[tuple[int, int]] | None = None,
    ) -> Row:
        part = self.graph.nodes.iloc[[self._rows[node_id] for node_id in ids]]
        if len(bad := part[~part["kind"].isin(SETTABLE)]):
            raise ValueError(f"{name!r} holds the {bad['kind'].iloc[0]} {bad['id'].iloc[0]!r}, which cannot be set")
        active = part[(part["kind"] == "feature").to_numpy(bool)]
        if features is None:
            pairs = zip(active["layer"], active["feature"], strict=True)
            features = list(dict.fromkeys((int(layer), int(feature)) for layer, feature in pairs))
        own = active["activation"].max() if len(active) else 0.0
        places = sorted({int(pos) for pos in part["pos"]})
        return Row(
            name, kind, title, detail, tuple(ids), tuple(features), tuple(places), float(own), len(active) < len(part)
        )

    # ---- tables ----

    def _feature_columns(self, *names: str) -> list[np.ndarray]:
        part = self.graph.nodes.loc[self.graph.kind_mask("feature"), list(names)]
        return [part[name].to_numpy(dtype=object) for name in names]

    @cached_property
    def by_influence(self) -> list[str]:
        """Ids of the features, the most influential first."""
        ids, influence = self._feature_columns("id", "influence")
        size = np.array([value if value == value else 0.0 for value in influence], dtype=np.float64)
        return ids[np.argsort(-size, kind="stable")].tolist()

    def _unknown(self, name: str) -> str:
        known = [*self.supernodes, *self.groups_by_label, *self._rows]
        folded = {text.lower(): text for text in reversed(known)}
        near = [folded[low] for low in difflib.get_close_matches(name.lower()[:200], list(folded), n=3, cutoff=0.5)]
        hint = f"; nearest: {', '.join(map(repr, near))}" if near else ""
        return (
            f"nothing is called {name!r:.60}{hint}. Name a supernode, a label, a feature like 'L3/55', or a node id "
            "like '3_55_10'"
        )


def count(n: int, noun: str) -> str:
    """1 node, 2 nodes."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
