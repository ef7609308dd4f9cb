"""The feature dashboard's Python side: what is sent, what is refused, and how it follows a graph's session."""

import base64
import json
import subprocess
import sys

import pytest
from graphs import closing_graph
from stores import small_store

import circuitlab as cl
from circuitlab.evidence import Example, Neighbour, TokenActivations, TokenWeight


class Known:
    """Stands in for model.features: every feature of three layers of two, and live activations."""

    def __init__(self):
        self.labels = {"L0/1": "Texas", "L1/0": "Texas city", "L2/1": "say Austin"}

    def __getitem__(self, key):
        layer, index = (int(part) for part in key.removeprefix("L").split("/"))
        if layer > 2 or index > 1:
            raise ValueError(f"there is no {key}: features are L0/0 to L2/1")
        name = f"L{layer}/{index}"
        return cl.Evidence(
            layer,
            index,
            self.labels.get(name, ""),
            examples=(Example(("a", "<b>\n"), (0.0, 2.0), 1, copies=3),),
            promoted=(TokenWeight("x" * 1_000_000, 0.123456789),),
            suppressed=(TokenWeight("y", float("nan")),),
            writes_to=(Neighbour(1, 0, -0.5, "Texas city"),),
        )

    def live(self, text, layer, index):
        if "zzz" in text:
            raise ValueError("the model does not know the words 'zzz'")
        tokens = tuple(text.split())
        return TokenActivations(tokens, tuple(float(layer + index + i) for i in range(len(tokens))))


@pytest.fixture
def graph():
    return closing_graph(n_layers=3, n_pos=3, n_features=2)


def answers(widget, monkeypatch, *questions):
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append(content))
    for number, question in enumerate(questions):
        widget._answer(widget, {"id": number, **question}, [])
    return sent


def test_what_is_sent_is_the_feature_json_kept_short():
    widget = cl.FeatureDashboard(Known(), "L0/1")
    sent = json.loads(widget._evidence)
    assert (sent["layer"], sent["index"], sent["label"]) == (0, 1, "Texas")
    assert sent["examples_quantiles"][0]["examples"][0]["tokens"] == ["a", "<b>\n"]
    assert sent["examples_quantiles"][0]["examples"][0]["copies"] == 3
    assert len(sent["top_logits"][0]) == 400
    assert sent["top_logit_weights"] == [0.123457]
    assert sent["bottom_logit_weights"] == [None]
    assert len(widget._evidence) < 5000


def test_it_goes_where_it_is_told_by_name_or_place():
    widget = cl.FeatureDashboard(Known(), (1, 0), text="hello")
    assert (widget.feature, widget.evidence.label, widget.text) == ("L1/0", "Texas city", "hello")
    widget.feature = "2/1"
    assert widget.feature == "L2/1"
    assert json.loads(widget._evidence)["label"] == "say Austin"
    widget.feature = ""
    assert (widget.evidence, widget._evidence) == (None, "")


def test_nonsense_is_refused_by_name():
    widget = cl.FeatureDashboard(Known(), "L0/1")
    with pytest.raises(ValueError, match="L0/0 to L2/1"):
        widget.feature = "L9/9"
    assert widget.feature == "L0/1"
    with pytest.raises(TypeError, match="did you mean text"):
        cl.FeatureDashboard(Known(), txet="a")
    with pytest.raises(TypeError, match="got int"):
        cl.FeatureDashboard(3)
    with pytest.raises(ValueError, match=r"no evidence of 'L0/5'.*L0/1"):
        cl.FeatureDashboard({"L0/1": Known()["L0/1"]}, "L0/5")


def test_a_mapping_of_evidence_is_enough_but_runs_nothing(monkeypatch):
    widget = cl.FeatureDashboard({"L0/1": Known()["L0/1"]}, "L0/1")
    assert not widget._can_try
    (reply,) = answers(widget, monkeypatch, {"kind": "live", "feature": "L0/1", "text": "a"})
    assert "no model here" in reply["error"]


def test_the_browser_is_answered(monkeypatch):
    widget = cl.FeatureDashboard(Known(), "L0/1")
    live, unknown, long, go, lost = answers(
        widget,
        monkeypatch,
        {"kind": "live", "feature": "L2/1", "text": "one two", "revision": 4},
        {"kind": "live", "feature": "L2/1", "text": "zzz"},
        {"kind": "live", "feature": "L2/1", "text": "a" * 30_000},
        {"kind": "go", "feature": "L1/0"},
        {"kind": "go", "feature": "L7/0"},
    )
    assert live["answer"] == {"tokens": ["one", "two"], "activations": [3.0, 4.0], "weights": None}
    assert "'zzz'" in unknown["error"]
    assert "30,000 characters" in long["error"]
    assert go["answer"] == {}
    assert widget.feature == "L1/0"
    assert "L0/0 to L2/1" in lost["error"]


def test_features_are_found_by_label_and_by_name(monkeypatch):
    widget = cl.FeatureDashboard(Known(), labels={"L0/0": "my texas"})
    by_label, by_name, nothing = answers(
        widget,
        monkeypatch,
        {"kind": "find", "text": "TEXAS"},
        {"kind": "find", "text": "l2/1"},
        {"kind": "find", "text": " "},
    )
    assert by_label["answer"]["found"] == [["L0/1", "Texas", ""], ["L1/0", "Texas city", ""], ["L0/0", "my texas", ""]]
    assert by_name["answer"]["found"] == [["L2/1", "say Austin", ""]]
    assert nothing["answer"]["found"] == []


def test_with_a_store_features_are_also_found_by_the_tokens_they_promote(tmp_path, monkeypatch):
    """Labels before tokens, each feature once, with the token that led to it. Mutation: tokens of labels' matches."""
    store = cl.Store(small_store(tmp_path, n_layers=1))
    store.label("L0/3", "rabbits run")
    widget = cl.FeatureDashboard(store)
    question = {"kind": "find", "text": "rabbit"}
    (found,) = answers(widget, monkeypatch, question)
    by_label, *by_token = found["answer"]["found"]
    assert by_label == ["L0/3", "rabbits run", ""]
    assert sorted(by_token) == [[f"L0/{index}", "", " rabbit"] for index in (0, 1, 2, 4)]

    features = Known()
    features.store = store
    (attached,) = answers(cl.FeatureDashboard(features), monkeypatch, question)
    expected = [[name, features.labels.get(name, ""), token] for name, _, token in (by_label, *by_token)]
    assert attached["answer"]["found"] == expected, "the labels are those of the features"
    features.store = None
    (without,) = answers(cl.FeatureDashboard(features), monkeypatch, question)
    assert without["answer"]["found"] == []


def test_it_follows_the_clicked_node_and_takes_the_graph_along(graph):
    session = cl.Session(graph, clicked="1_0_2")
    widget = cl.FeatureDashboard(Known(), session=session)
    assert (widget.feature, widget.text) == ("L1/0", graph.prompt)
    session.clicked = "2_1_1"
    assert widget.feature == "L2/1"
    session.clicked = "E_10_0"
    assert widget.feature == "L2/1"
    widget.go("L0/1")
    assert graph.node(session.clicked)["feature"] == 1
    assert graph.node(session.clicked)["layer"] == 0
    widget.close()
    session.clicked = "1_0_2"
    assert widget.feature == "L0/1"


def test_labels_are_those_of_the_linked_graph(graph):
    session = cl.Session(graph)
    view = cl.AttributionGraph(graph, session=session)
    widget = cl.FeatureDashboard(Known(), "L1/0", session=session)
    widget.labels = {"L1/0": "near Texas", "L9/9": "elsewhere"}
    assert view.labels == {f"1_0_{pos}": "near Texas" for pos in range(3)}
    view.labels = {**view.labels, "2_1_0": "Austin"}
    assert widget.labels == {"L1/0": "near Texas", "L2/1": "Austin", "L9/9": "elsewhere"}
    assert view.labels.keys() == {"1_0_0", "1_0_1", "1_0_2", "2_1_0"}
    widget.labels = {"L2/1": "Austin"}
    assert view.labels == {"2_1_0": "Austin"}
    session.undo()
    assert widget.labels["L1/0"] == "near Texas"


def test_the_widget_needs_no_torch():
    code = """
import sys, circuitlab as cl
cl.FeatureDashboard({"L0/1": cl.Evidence(0, 1)}, "L0/1")
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cell_also_holds_a_picture_of_the_feature():
    widget = cl.FeatureDashboard(Known(), "L0/1")
    shown, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/plain"] == "<FeatureDashboard L0/1 'Texas'>"
    svg = shown["image/svg+xml"]
    for text in ("Texas", "L0/1", "&lt;b&gt;", "Promoted", "+0.123", "Suppressed"):
        assert text in svg
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert widget._repr_mimebundle_()[0] == shown
    widget.labels = {"L0/1": "my city"}
    assert "my city" in widget._repr_mimebundle_()[0]["image/svg+xml"]
    widget.feature = ""
    assert "image/png" not in widget._repr_mimebundle_()[0]


def test_nonsense_from_the_browser_is_taken_back_there_too(monkeypatch):
    board, sent = cl.FeatureDashboard(Known(), "L0/1"), []
    monkeypatch.setattr(board, "send_state", sent.append)
    for state in ({"feature": "L9/9"}, {"labels": {"L0/1": 5}}, {"labels": {"L0/1": "\ud800"}}):
        with pytest.raises(ValueError, match=r"L9/9|whole characters"):
            board.set_state(state)
        assert (board.feature, board.labels, sent.pop()) == ("L0/1", {}, list(state))
