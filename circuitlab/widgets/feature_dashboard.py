"""What a feature stands for, in a notebook cell.

    cl.FeatureDashboard(model.features, "L3/55")
    view = graph.view()
    cl.FeatureDashboard(model.features, session=view.session)     # follows the clicked node of `view`

It reads `Evidence` and runs nothing itself: `features` is anything with `features["L3/55"]`, and, for "try a text",
with `features.live(text, layer, index)`. What is shown travels as JSON, so a saved notebook shows it without a kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import traitlets

from circuitlab.evidence import Evidence, FeatureSource, parse_name
from circuitlab.figures import feature_mimebundle
from circuitlab.layout import clip_text
from circuitlab.view import require_text
from circuitlab.widgets.base import Widget, bundle, refuse_unknown, refusing
from circuitlab.widgets.session import Session

OPTIONS = ("feature", "labels", "text", "height")
LONGEST_TOKEN = 120
LONGEST_TEXT = 20_000
MOST_FOUND = 12


class FeatureDashboard(Widget):
    """The dashboard of one feature at a time. Traits as keyword arguments: `text="…"`, `height=800`, …

    `session` links it to the widgets of a graph: it goes where a feature node is clicked, and labels edited in either
    are labels of both. Setting `feature` to what does not exist is a ValueError with the valid range.
    """

    _esm = bundle("dashboard.js")
    _following = False

    feature = traitlets.Unicode("", help="the feature shown: L3/55, or empty for none").tag(sync=True)
    labels = traitlets.Dict(help="feature → label, where one was edited here or in a linked widget").tag(sync=True)
    text = traitlets.Unicode("", help="the text under “try a text”").tag(sync=True)
    _evidence = traitlets.Unicode("").tag(sync=True)
    _can_try = traitlets.Bool(False).tag(sync=True)
    _here = traitlets.List(traitlets.Unicode(), help="features that are nodes of the linked graph").tag(sync=True)

    def __init__(
        self,
        features: FeatureSource | Mapping[str, Evidence] | Any,
        feature: str | tuple[int, int] | None = None,
        session: Session | None = None,
        **traits: Any,
    ) -> None:
        refuse_unknown("FeatureDashboard", traits, (*OPTIONS, "session"))
        if not hasattr(features, "__getitem__"):
            raise TypeError(f"FeatureDashboard() reads model.features or a mapping; got {type(features).__name__}")
        self.session, self._features = session, features
        self._in_graph = _feature_nodes(session)
        if session is not None:
            labels = {**self._session_labels(), **traits.get("labels", {})}
            traits = {"text": session.graph.prompt, **traits, "labels": labels}
        feature = traits.pop("feature", feature)
        super().__init__(**traits, _can_try=hasattr(features, "live"), _here=list(self._in_graph))
        self.observe(self._show, "feature")
        self.observe(self._labels_to_session, "labels")
        self.observe(self._keep_labels, "labels")
        self._labels_to_session({"new": self.labels})
        if feature is not None:
            self.go(feature)
        if session is not None:
            session.observe(self._follow, "clicked")
            session.observe(self._labels_from_session, "labels")
            if feature is None:
                self._follow()

    @property
    def evidence(self) -> Evidence | None:
        """What is shown now."""
        return self._features[self.feature] if self.feature else None

    def go(self, feature: str | tuple[int, int]) -> None:
        """Show this feature, "L3/55" or (3, 55); in a linked graph it becomes the clicked node, if it is there."""
        self.feature = feature if isinstance(feature, str) else f"L{feature[0]}/{feature[1]}"

    def refresh(self) -> None:
        """Read the evidence again, after other texts were shown or a corpus was harvested."""
        self._show()

    def close(self) -> None:
        session = self.__dict__.get("session")
        if session is not None:
            session.unobserve(self._follow, "clicked")
            session.unobserve(self._labels_from_session, "labels")
        super().close()

    def _picture(self) -> dict[str, Any]:
        evidence = self.evidence
        if evidence is None:
            return {}
        label = self.labels.get(self.feature) or evidence.label
        return feature_mimebundle(evidence, label, f"<FeatureDashboard {self.feature} {clip_text(label, 80)!r}>")

    @traitlets.validate("feature")
    def _known(self, proposal: Any) -> str:
        name = proposal["value"]
        with refusing():
            return self._look_up(name).name if name else ""

    @traitlets.validate("labels")
    def _are_texts(self, proposal: Any) -> dict[str, str]:
        with refusing():
            for name, label in proposal["value"].items():
                require_text(f"labels[{name!r:.60}]", label)
        return proposal["value"]

    def _look_up(self, name: str) -> Evidence:
        try:
            found = self._features[name]
        except KeyError:
            known = list(self._features) if isinstance(self._features, Mapping) else []
            raise ValueError(f"there is no evidence of {name!r}; there is of {', '.join(known[:5])}, …") from None
        if not isinstance(found, Evidence):
            raise TypeError(f"features[{name!r}] is no Evidence but {type(found).__name__}")
        return found

    def _show(self, _change: Any = None) -> None:
        evidence = self.evidence
        with self.hold_sync():
            self._evidence = "" if evidence is None else wire(evidence)
        if self.session is not None and evidence is not None:
            here = self._in_graph.get(self.feature, [])
            if here and self.session.clicked not in here:
                self.session.clicked = here[0]

    # ---- the linked graph ----

    def _follow(self, _change: Any = None) -> None:
        """Go to the feature of the clicked node; what is no feature, or not one of these, changes nothing."""
        assert self.session is not None
        name = next((name for name, ids in self._in_graph.items() if self.session.clicked in ids), None)
        if name is None:
            return
        try:
            self.feature = name
        except ValueError:
            return

    def _session_labels(self) -> dict[str, str]:
        assert self.session is not None
        labels = self.session.labels
        named = {name: next((labels[i] for i in ids if labels.get(i)), "") for name, ids in self._in_graph.items()}
        return {name: label for name, label in named.items() if label}

    def _labels_from_session(self, _change: Any) -> None:
        mine = {name: label for name, label in self.labels.items() if name not in self._in_graph}
        self._following = True
        try:
            self.labels = {**mine, **self._session_labels()}
        finally:
            self._following = False

    def _keep_labels(self, change: Any) -> None:
        """A label edited here is kept where the features keep theirs (a store, with history).

        What comes from the linked graph, by undo too, is the graph's alone.
        """
        keep = getattr(self._features, "label", None)
        if keep is None or self._following:
            return
        for name, label in change["new"].items():
            if change["old"].get(name) != label:
                with suppress(ValueError):  # a name that is none of these features
                    keep(name, label)

    def _labels_to_session(self, change: Any) -> None:
        """A label given here is that of all nodes of the feature."""
        if self.session is None:
            return
        labels, shared = dict(self.session.labels), self._session_labels()
        for name, ids in self._in_graph.items():
            label = change["new"].get(name, "")
            if label == shared.get(name, ""):
                continue
            for node in ids:
                labels.pop(node, None)
                if label:
                    labels[node] = label
        if labels != self.session.labels:
            self.session.update(labels=labels)

    # ---- what the browser asks for ----

    def _on_go(self, content: Mapping[str, Any]) -> dict[str, Any]:
        self.go(str(content.get("feature", "")))
        return {}

    def _on_find(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Triples of name, label and promoted token: features by their name, by their label (those that begin with the
        text first) and, where a store is at hand, by the tokens that they promote."""
        text = str(content.get("text", ""))[:200].strip().casefold()
        labels = {**dict(getattr(self._features, "labels", {})), **self.labels}
        found = [(name, label) for name, label in labels.items() if text and text in label.casefold()]
        found.sort(key=lambda pair: (not pair[1].casefold().startswith(text), len(pair[1])))
        named = parse_name(text)
        first = [(f"L{named[0]}/{named[1]}", labels.get(f"L{named[0]}/{named[1]}", ""))] if named else []
        rows = {name: (label, "") for name, label in first + found}
        for name, token in self._search_store(text) if text and len(rows) < MOST_FOUND else ():
            rows.setdefault(name, (labels.get(name, ""), token))
        shown = list(rows.items())[:MOST_FOUND]
        return {"found": [[name, *(clip_text(part, LONGEST_TOKEN) for part in parts)] for name, parts in shown]}

    def _search_store(self, text: str) -> list[tuple[str, str]]:
        """Names from the store's search, with the token that led there ("" where a label did)."""
        store = getattr(self._features, "store", self._features)
        search = getattr(store, "search", None)
        if search is None:
            return []
        table = search(text, MOST_FOUND)
        tokens = table["text"].where(table["found_in"] == "promoted", "")
        return list(zip(table["name"].tolist(), tokens.tolist(), strict=True))

    def _on_live(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The feature's activations on a text. The model's complaint about a text travels back as an error."""
        live = getattr(self._features, "live", None)
        if live is None:
            raise ValueError("There is no model here to try a text on.")
        text = str(content.get("text", ""))
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"the text has {len(text):,} characters; try one of at most {LONGEST_TEXT:,}")
        shown = self._look_up(str(content.get("feature", "")))
        seen = live(text, shown.layer, shown.index)
        return {
            "tokens": [clip_text(token, LONGEST_TOKEN) for token in seen.tokens],
            "activations": list(seen.activations),
            "weights": None if seen.logit_weights is None else list(seen.logit_weights),
        }


def wire(evidence: Evidence) -> str:
    """The evidence as JSON without overlong texts, numbers short, and null for what is not a number."""
    return json.dumps(_short(evidence.to_json(extra=False)), ensure_ascii=False, separators=(",", ":"))


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _short(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(part) for part in value]
    if isinstance(value, str):
        return clip_text(value, 400)
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    return value


def _feature_nodes(session: Session | None) -> dict[str, list[str]]:
    """Of each feature of the linked graph its nodes, the most active first."""
    if session is None:
        return {}
    graph = session.graph
    nodes = graph.nodes
    strength = nodes["activation"].to_numpy(dtype=np.float64, na_value=-np.inf)
    rows = np.flatnonzero(graph.kind_mask("feature"))
    ids, layers, features = (nodes[name].tolist() for name in ("id", "layer", "feature"))
    found: dict[str, list[str]] = {}
    for row in rows[np.argsort(-strength[rows], kind="stable")].tolist():
        found.setdefault(f"L{layers[row]}/{features[row]}", []).append(ids[row])
    return found
