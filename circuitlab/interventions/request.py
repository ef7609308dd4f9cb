"""From what a user writes to the nodes that change: names, places, amounts.

A name is, in this order: a group given as `supernodes=`, a supernode of the graph, a node id (`3_55_10`, the error
`3_-1_10`, the token `E_42_4`), a feature (`L3/55`), or a label: of the graph's nodes, or of the model's features. The
label "Texas" also stands for every label that begins with that word ("Texas city").

A feature or label without a place acts where it is active; a node, alone or in a group, acts where it stands, and
`positions` that ask for other places are refused. For features and labels `positions` says where: an index (negative
from the end), a slice, a token's text (wherever it stands), `Onward(…)` for "from here on, generated tokens too", or
a list; or a mapping from name to these.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from circuitlab.interventions.baseline import Baseline
from circuitlab.interventions.edits import Edits, FeatureEdit, merged
from circuitlab.interventions.values import Amount, Onward, Positions, as_affine

if TYPE_CHECKING:
    from circuitlab.graph import Graph

FEATURE = re.compile(r"L(\d+)/(\d+)\Z")
NODE = re.compile(r"(\d+)_(-1|\d+)_(\d+)\Z")
TOKEN = re.compile(r"E_(\d+)_(\d+)\Z")

Request = Mapping[str, Any]  # name → Amount, checked in values.py


@dataclass(frozen=True)
class Place:
    """Prompt positions, ascending, and whether generated tokens belong too; `given` if the user named it."""

    positions: tuple[int, ...]
    onward: bool
    given: bool


@dataclass(frozen=True)
class Resolver:
    """Everything that names can be looked up in."""

    baseline: Baseline
    labels: Mapping[str, str]
    graph: Graph | None = None
    supernodes: Mapping[str, Sequence[str]] | None = None

    # ---- requests ----

    def edits(self, request: Request, positions: Positions | Mapping[str, Positions] | None) -> Edits:
        """The edits of a whole request."""
        if not isinstance(request, Mapping) or not request:
            raise ValueError(f"interventions must map names to amounts, like {{'Texas': -1.0}}; got {request!r}")
        for name in request:
            if not isinstance(name, str):
                raise ValueError(f"names are text, like 'Texas', 'L3/55' or '3_55_10'; got {name!r:.60}")
        if self.supernodes is not None and not isinstance(self.supernodes, Mapping):
            raise ValueError(
                f"supernodes= maps names to node ids, {{'mine': ['3_55_10']}}; got {self.supernodes!r:.60}"
            )
        if self.graph is not None:
            self._require_same_prompt(self.graph)
        if isinstance(positions, Mapping):
            stray = [name for name in positions if name not in request]
            if stray:
                raise ValueError(f"positions= names {stray[0]!r}, which is not intervened on: {', '.join(request)}")
        parts = []
        for name, amount in request.items():
            where = positions.get(name) if isinstance(positions, Mapping) else positions
            parts.append(self.edit(name, amount, where))
        return merged(parts)

    def edit(self, name: str, amount: Any, positions: Positions | None = None) -> Edits:
        """The edits of one name."""
        scale, offset = as_affine(name, amount)
        place = self.place(positions)
        ids = self.members(name)
        if ids is not None:
            edits = self._nodes(name, ids, scale, offset, amount)
            self._require_reached(name, ids, place)
            return edits
        features = self.features(name)
        return self._features(name, features, place, scale, offset, isinstance(amount, Real))

    def _require_same_prompt(self, graph: Graph) -> None:
        ids = graph.metadata.get("token_ids")
        same = ids == self.baseline.tokens.tolist() if ids else tuple(graph.tokens) == self.baseline.strings
        if not same:
            raise ValueError(
                f"the graph is of another prompt, {graph.prompt!r}: its nodes and supernodes do not exist in "
                f"{''.join(self.baseline.strings)!r}; trace that prompt, or name features and labels without graph="
            )

    # ---- names ----

    def members(self, name: str) -> list[str] | None:
        """The node ids behind a supernode or an id; None for a feature or label."""
        if self.supernodes and name in self.supernodes:
            return self._known(name, self.supernodes[name])
        if self.graph is not None:
            nodes = self.graph.nodes
            inside = nodes.loc[(nodes["supernode"] == name).fillna(False).to_numpy(bool), "id"].tolist()
            if inside:
                return inside
            if name in set(nodes["id"]):
                return [name]
        return [name] if NODE.match(name) or TOKEN.match(name) else None

    def _known(self, name: str, ids: Sequence[str]) -> list[str]:
        """A supernode's ids, each of this prompt; one of another graph is refused."""
        if isinstance(ids, str) or not all(isinstance(node_id, str) for node_id in ids):
            raise ValueError(f"the supernode {name!r} is {ids!r:.60}; expected a list of node ids, like ['3_55_10']")
        if not ids:
            raise ValueError(f"the supernode {name!r} is empty: give it at least one node id")
        for node_id in ids:
            try:
                self._check_node(node_id)
            except ValueError as error:
                raise ValueError(
                    f"the supernode {name!r} belongs to another graph, or its node is mistyped: {error}"
                ) from error
        return list(ids)

    def features(self, name: str) -> list[tuple[int, int]]:
        """(layer, feature) of a feature name or label."""
        if found := FEATURE.match(name):
            layer, feature = int(found[1]), int(found[2])
            self._check_feature(name, layer, feature)
            return [(layer, feature)]
        labels = self._labels()
        exact = {text for text in labels if text == name or text.startswith(f"{name} ")}
        if not exact:
            raise ValueError(self._unknown(name, labels))
        return sorted({feature for text in exact for feature in labels[text]})

    def _labels(self) -> dict[str, list[tuple[int, int]]]:
        """Features by label: the graph's labels, where it has some, before the model's."""
        found: dict[str, list[tuple[int, int]]] = {}
        relabelled = set()
        if self.graph is not None:
            nodes = self.graph.nodes
            nodes = nodes[(nodes["kind"] == "feature").to_numpy(bool) & nodes["label"].notna().to_numpy(bool)]
            for layer, feature, label in zip(nodes["layer"], nodes["feature"], nodes["label"], strict=True):
                found.setdefault(label, []).append((int(layer), int(feature)))
                relabelled.add((int(layer), int(feature)))
        for name, label in self.labels.items():
            match = FEATURE.match(name)
            if match and (feature := (int(match[1]), int(match[2]))) not in relabelled:
                found.setdefault(label, []).append(feature)
        return found

    def _unknown(self, name: str, labels: Iterable[str]) -> str:
        groups = list(self.supernodes or ())
        if self.graph is not None:
            groups += self.graph.nodes["supernode"].dropna().unique().tolist()
        known = list(dict.fromkeys([*groups, *labels]))
        folded = {text.lower(): text for text in known}
        near = [folded[low] for low in difflib.get_close_matches(str(name).lower(), list(folded), n=3, cutoff=0.5)]
        hint = f"; nearest: {', '.join(map(repr, near))}" if near else ""
        return (
            f"nothing is called {name!r}{hint}. Name a label, a supernode (with graph= or supernodes=), a feature like "
            "'L3/55', or a node id like '3_55_10'"
        )

    # ---- existence ----

    def _check_feature(self, name: str, layer: int, feature: int) -> None:
        config = self.baseline.local.transcoder.config
        if layer >= config.n_layers or feature >= config.n_features:
            near = f"L{min(layer, config.n_layers - 1)}/{min(feature, config.n_features - 1)}"
            raise ValueError(
                f"there is no feature {name}: layers run from 0 to {config.n_layers - 1}, features from 0 to "
                f"{config.n_features - 1}; nearest: {near}"
            )

    def _check_position(self, name: str, pos: int) -> None:
        if pos >= self.baseline.n_positions:
            raise ValueError(
                f"{name!r} is at position {pos}; the prompt has {self.baseline.n_positions} tokens, positions 0 to "
                f"{self.baseline.n_positions - 1}"
            )

    def _check_node(self, node_id: str) -> None:
        """ValueError unless a node id is one that this prompt can have."""
        if self.graph is not None and node_id in set(self.graph.nodes["id"]):
            kind = self.graph.node(node_id)["kind"]
            if kind in ("logit", "constant"):
                raise ValueError(f"{node_id!r} is a {kind}: only features, errors and tokens can be set")
        if token := TOKEN.match(node_id):
            self._check_position(node_id, int(token[2]))
            actual = int(self.baseline.tokens[int(token[2])])
            if int(token[1]) != actual:
                raise ValueError(f"there is no node {node_id!r}; the token there is E_{actual}_{token[2]}")
            return
        match = NODE.match(node_id)
        if match is None:
            near = difflib.get_close_matches(node_id, list(self.graph.nodes["id"]) if self.graph is not None else [], 3)
            raise ValueError(f"{node_id!r} is no node id{f'; nearest: {chr(44).join(near)}' if near else ''}")
        layer, feature, pos = (int(part) for part in match.groups())
        if layer > self.baseline.local.transcoder.config.n_layers:
            raise ValueError(f"{node_id!r} is a logit: only features, errors and tokens can be set")
        self._check_position(node_id, pos)
        self._check_feature(f"L{layer}/{feature}", layer, max(feature, 0))
        if pos == 0 and self.baseline.local.mask_bos:
            raise ValueError(f"{node_id!r} is at position 0, which is masked: it has neither features nor errors")

    # ---- places ----

    def place(self, positions: Positions | None) -> Place:
        """Prompt positions as indices; ValueError for what lies outside the prompt."""
        n = self.baseline.n_positions
        first = 1 if self.baseline.local.mask_bos else 0
        if positions is None:
            return Place(tuple(range(first, n)), False, False)
        if isinstance(positions, Onward):
            start = self._indices(positions.start)[0]
            return Place(tuple(range(max(start, first), n)), True, True)
        if isinstance(positions, Tensor | np.ndarray):
            positions = positions.tolist()
        if isinstance(positions, slice):
            if not all(part is None or isinstance(part, Integral) for part in _parts(positions)):
                raise ValueError(f"positions={positions}: a slice has whole numbers, like slice(3, None)")
            found = list(range(n))[positions]
            if not found:
                raise ValueError(f"positions={positions} holds none of the prompt's {n} tokens")
        elif isinstance(positions, str) or not isinstance(positions, Iterable):
            found = self._indices(positions)
        else:
            found = sorted({index for item in positions for index in self._indices(item)})
        if found == [0] and first:
            raise ValueError("position 0 is masked: it has no features")
        return Place(tuple(pos for pos in found if pos >= first), False, True)

    def _indices(self, position: Any) -> list[int]:
        n, strings = self.baseline.n_positions, [text.strip() for text in self.baseline.strings]
        if isinstance(position, str):
            found = [index for index, text in enumerate(strings) if text == position.strip()]
            if not found:
                near = difflib.get_close_matches(position.strip(), strings, n=3, cutoff=0.3)
                hint = f"; nearest: {', '.join(map(repr, near))}" if near else ""
                raise ValueError(f"the prompt has no token {position!r}{hint}; its tokens are {' '.join(strings)}")
            return found
        if isinstance(position, bool) or not isinstance(position, Integral):
            raise ValueError(f"a position is an index, a token's text, a slice or cl.Onward(…), not {position!r}")
        index = int(position)
        if not -n <= index < n:
            raise ValueError(f"position {index} is outside the prompt of {n} tokens: 0 to {n - 1}, or -{n} to -1")
        return [index % n]

    # ---- edits ----

    def _nodes(self, name: str, ids: Sequence[str], scale: float, offset: float, amount: Amount) -> Edits:
        features, errors, tokens = [], {}, {}
        for node_id in ids:
            self._check_node(node_id)
            if token := TOKEN.match(node_id):
                tokens[int(token[2])] = scale
            elif match := NODE.match(node_id):
                layer, feature, pos = (int(part) for part in match.groups())
                if feature < 0 and self.baseline.local.transcoder.exact:
                    raise ValueError(
                        f"{node_id!r} stands for all neurons that are no nodes of the graph and cannot be set as one: "
                        "name single neurons, or trace with a larger max_features"
                    )
                if feature < 0:
                    errors[layer, pos] = scale
                else:
                    features.append(FeatureEdit(layer, feature, pos, scale, offset))
            if offset != 0.0 and (tokens or errors):
                raise ValueError(
                    f"{node_id!r} is a vector, so {amount!r} says nothing; give a factor M (0 takes it away)"
                )
        if isinstance(amount, Real) and not errors and not tokens:
            self._require_active(name, features)
        return Edits(tuple(features), errors, tokens, {name: tuple(ids)})

    def _require_reached(self, name: str, ids: Sequence[str], place: Place) -> None:
        """ValueError where `positions` asks for other places than those at which the nodes stand."""
        if not place.given:
            return
        beyond = [node_id for node_id in ids if int(node_id.rpartition("_")[2]) not in place.positions]
        if beyond or place.onward:
            told = f"stands at position {beyond[0].rpartition('_')[2]}" if beyond else "stands in the prompt"
            node = beyond[0] if beyond else ids[0]
            raise ValueError(
                f"{name!r}: the node {node} {told}, and positions= asks for other places; a node has one place. Name "
                "its feature, like 'L3/55', or a label, or give positions= by name: {'L3/55': …}"
            )

    def _features(
        self, name: str, features: list[tuple[int, int]], place: Place, scale: float, offset: float, factor: bool
    ) -> Edits:
        edits = []
        for layer, feature in features:
            active = self.baseline.activations[layer][:, feature].nonzero()[:, 0].tolist()
            where = place.positions if place.given and not factor else [p for p in place.positions if p in active]
            edits += [FeatureEdit(layer, feature, pos, scale, offset) for pos in where]
            if place.onward:
                edits.append(FeatureEdit(layer, feature, None, scale, offset))
        if not edits:
            raise ValueError(self._inactive(name, features, place, factor))
        return Edits(tuple(edits), names={name: tuple(edit.node for edit in edits if edit.pos is not None)})

    def _inactive(self, name: str, features: list[tuple[int, int]], place: Place, factor: bool) -> str:
        shown = ", ".join(f"L{layer}/{feature}" for layer, feature in features[:4])
        where = " at these positions" if place.given else " in this prompt"
        advice = "give cl.Value(v) or cl.Added(v) and positions=" if factor else "say where, with positions="
        return f"{name!r} ({shown}) is not active{where}, so a factor changes nothing: {advice}, or use model.swap"

    def _require_active(self, name: str, edits: Sequence[FeatureEdit]) -> None:
        values = [float(self.baseline.activations[e.layer][e.pos, e.feature]) for e in edits if e.pos is not None]
        if values and not any(values):
            place = Place((), False, False)
            raise ValueError(self._inactive(name, [(e.layer, e.feature) for e in edits], place, factor=True))


def _parts(positions: slice) -> tuple[Any, Any, Any]:
    return positions.start, positions.stop, positions.step


def resolve(
    baseline: Baseline,
    labels: Mapping[str, str],
    request: Request,
    positions: Positions | Mapping[str, Positions] | None = None,
    graph: Graph | None = None,
    supernodes: Mapping[str, Sequence[str]] | None = None,
) -> Edits:
    """The edits that a request asks for; ValueError, naming the nearest, for what does not exist."""
    return Resolver(baseline, labels, graph, supernodes).edits(request, positions)
