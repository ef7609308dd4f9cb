"""Views: what fits a graph, what is refused and how, and that files keep all of it."""

import json

import pytest
from graphs import closing_graph
from test_graph_files import REAL, foreign, needs_real, written

from circuitlab.formats.graph_json import graph_from_json
from circuitlab.graph import Graph
from circuitlab.view import View

FULL = View(
    pinned=["E_10_0", "1_0_2"],
    supernodes={"say a capital": ["2_0_2", "2_1_2"], "Texas": ["0_0_1"]},
    labels={"1_0_2": "capital <b>"},
    positions={"Texas": (0.25, 0.5), "E_10_0": (0, 1)},
    clicked="2_0_2",
    node_threshold=0.5,
    edge_threshold=1,
    density_threshold=0.1,
    link_mode="inputs",
)


@pytest.mark.parametrize("ending", ["json", "zip"])
def test_a_file_keeps_the_view(ending, tmp_path):
    graph = closing_graph(seed=1).arrange(FULL)
    assert View.of(graph) == FULL
    again = Graph.open(graph.save(tmp_path / f"a.{ending}"))
    assert View.of(again) == FULL
    assert list(View.of(again).supernodes) == ["say a capital", "Texas"]
    assert again.arrange(View.of(again)).save(tmp_path / f"b.{ending}").exists()
    assert View.of(Graph.open(tmp_path / f"b.{ending}")) == FULL


@pytest.mark.parametrize("ending", ["json", "zip"])
def test_labels_are_what_the_user_wrote_and_not_what_the_graph_came_with(ending, tmp_path):
    graph = closing_graph(seed=1).annotate({"1_0_2": "capital", "2_0_2": "say a capital"})
    assert View.of(graph).labels == {}
    own = {"1_0_2": "Texas", "2_1_2": "new", "2_0_2": ""}
    arranged = graph.arrange(View(labels=own))
    assert View.of(arranged).labels == own
    again = Graph.open(arranged.save(tmp_path / f"a.{ending}"))
    assert View.of(again).labels == own
    assert again.node("1_0_2")["label"] == "Texas"
    assert View.of(again.annotate({"1_0_2": "Austin"})).labels["1_0_2"] == "Austin"


def test_other_tools_find_what_they_read(tmp_path):
    saved = written(closing_graph(seed=1).arrange(FULL), tmp_path)["qParams"]
    assert saved["pinnedIds"] == ["E_10_0", "1_0_2", "2_0_2", "2_1_2", "0_0_1"]
    assert saved["supernodes"] == [["say a capital", "2_0_2", "2_1_2"], ["Texas", "0_0_1"]]
    assert (saved["linkType"], saved["clickedId"], saved["sg_pos"]) == ("input", "2_0_2", "")


def test_a_saved_pages_text_form_is_read_and_kept(tmp_path):
    graph = graph_from_json(foreign())
    view = View.of(graph)
    assert view.pinned == ("E_7_0", "1_4_1")
    assert view.supernodes == {"Texas": ("1_4_1",)}
    assert view.labels == {"1_4_1": "in Texas"}
    moved = View(pinned=["1_-1_0"], supernodes={"a": ["1_4_1"]}, labels={"1_4_1": "Dallas"}, clicked="1_-1_0")
    file = written(graph.arrange(moved), tmp_path)
    assert file["qParams"]["pinnedIds"] == "0_1_0,1_4_1"  # the file's own id of the error node
    assert json.loads(file["qParams"]["supernodes"]) == [["a", "1_4_1"]]
    assert file["qParams"]["clickedId"] == "0_1_0"
    again = View.of(graph_from_json(file))
    assert (again.pinned, again.supernodes, again.clicked) == (moved.pinned, moved.supernodes, "1_-1_0")
    assert again.labels == {"1_4_1": "Dallas"}


def test_positions_of_another_page_stay_while_its_arrangement_does(tmp_path):
    file = foreign()
    file["qParams"]["sg_pos"] = "10 20 30 40"
    graph = graph_from_json(file)
    assert written(graph.arrange(View.of(graph)), tmp_path)["qParams"]["sg_pos"] == "10 20 30 40"
    assert written(graph.arrange(View(pinned=["E_7_0"])), tmp_path)["qParams"]["sg_pos"] == ""


def test_what_another_tool_pins_since_wins(tmp_path):
    file = written(closing_graph(seed=1).arrange(FULL), tmp_path)
    file["qParams"]["pinnedIds"].append("E_11_1")
    assert "E_11_1" in View.of(graph_from_json(file)).pinned


@needs_real
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_real_graph_is_arranged_and_saved(path, tmp_path):
    graph = Graph.open(path)
    assert View.of(graph).is_empty
    features = graph.nodes.loc[graph.kind_mask("feature"), "id"].tolist()
    view = View(pinned=features[:2], supernodes={"S": features[5:9]}, positions={"S": (0.1, 0.2)})
    again = View.of(Graph.open(graph.arrange(view).save(tmp_path / "a.json")))
    assert (again.pinned, again.supernodes, again.positions) == (view.pinned, view.supernodes, view.positions)


def test_a_pruned_graph_keeps_what_is_left_of_its_view():
    graph = closing_graph(seed=1, n_layers=4, density=0.4).arrange(FULL)
    small = graph.prune(0.3, 0.5)
    left = View.of(small)
    left.check(small)
    assert len(small.nodes) < len(graph.nodes)
    assert set(left.pinned) <= set(FULL.pinned)
    assert FULL.within(small).supernodes == left.supernodes


def test_a_label_made_empty_is_taken_away():
    graph = closing_graph().annotate({"1_0_2": "old"})
    assert View(labels={"1_0_2": ""}).applied_to(graph).nodes["label"].isna().all()
    assert View().applied_to(graph).node("1_0_2")["label"] == "old"


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"pinned": ["1_0_3"]}, "pinned: no node '1_0_3' .*nearest: .*1_0_"),
        ({"pinned": ["1_0_2", "1_0_2"]}, "pinned: '1_0_2' is there more than once"),
        ({"clicked": "E_10"}, "clicked: no node 'E_10' .*E_10_0"),
        ({"labels": {"1_0_9": "x"}}, "labels: no node '1_0_9'"),
        ({"supernodes": {"Texas": []}}, "'Texas'. is empty"),
        ({"supernodes": {"\ud800": ["1_0_2"]}}, "expected text of whole characters"),
        ({"labels": {"1_0_2": "a\udc00"}}, "labels.'1_0_2'. is 'a.*expected text of whole characters"),
        ({"supernodes": {" ": ["1_0_2"]}}, "a group named ' '"),
        ({"supernodes": {"Texas": ["1_0_2"], "state": ["1_0_2"]}}, "'1_0_2' is in 'Texas' and 'state'"),
        ({"supernodes": {"Texas": ["1_0_2", "1_0_2"]}}, "twice in 'Texas'"),
        ({"supernodes": {"Texas": ["Texas"]}}, "supernodes.'Texas'.: no node 'Texas'"),
        ({"supernodes": {"1_0_2": ["1_0_1"]}}, "named like a node"),
        ({"positions": {"1_0_22": (0, 0)}}, "positions: no node '1_0_22'"),
        ({"node_threshold": 7}, "node_threshold=7: expected a share from 0 to 1"),
        ({"edge_threshold": float("nan")}, "edge_threshold=nan"),
        ({"density_threshold": -0.1}, "density_threshold=-0.1"),
        ({"link_mode": "input"}, "link_mode='input': expected 'inputs'"),
    ],
)
def test_what_does_not_fit_the_graph_is_refused_by_name(view, said):
    with pytest.raises(ValueError, match=said):
        View(**view).check(closing_graph(seed=1))


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"pinned": "1_0_2"}, "pinned='1_0_2': expected a list of node ids"),
        ({"supernodes": {"a": "1_0_2"}}, "expected a list of node ids"),
        ({"positions": {"a": (0.5, 7)}}, "each from 0 to 1"),
        ({"positions": {"a": (0.5, float("nan"))}}, "each from 0 to 1"),
        ({"positions": {"a": (0.5,)}}, "each from 0 to 1"),
    ],
)
def test_what_is_no_view_at_all_is_refused_at_once(view, said):
    with pytest.raises(ValueError, match=said):
        View(**view)


def test_a_broken_view_in_a_file_is_not_followed():
    file = foreign()
    file["qParams"]["circuitlab"] = {"positions": {"1_4_1": ["x", 2], "E_7_0": [3, -1]}, "node_threshold": 9}
    view = View.of(graph_from_json(file))
    assert view.positions == {"E_7_0": (1.0, 0.0)}
    assert view.node_threshold == 0.8
