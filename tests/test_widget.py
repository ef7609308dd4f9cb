"""The widget's Python side: state that fits the graph, undo, columns that say what the tables say."""

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import traitlets
from graphs import closing_graph

import circuitlab as cl
from circuitlab.graph import KINDS
from circuitlab.layout import THEMES
from circuitlab.view import View
from circuitlab.widgets import columns as sent
from circuitlab.widgets.base import STATIC


@pytest.fixture
def graph():
    return closing_graph(n_layers=4, n_pos=4, n_features=3)


@pytest.fixture
def ids(graph):
    return graph.nodes.loc[graph.kind_mask("feature"), "id"].tolist()


def column(widget, name):
    numbers = np.frombuffer(widget._nodes, "<f4").reshape(len(sent.NODE_NUMBERS), -1)
    return numbers[sent.NODE_NUMBERS.index(name)]


def test_columns_are_the_tables(graph):
    widget = cl.AttributionGraph(graph)
    strings = json.loads(widget._strings)
    assert strings["id"] == graph.nodes["id"].tolist()
    assert strings["name"] == list(graph.names)
    assert [KINDS[int(code)] for code in column(widget, "kind")] == graph.nodes["kind"].tolist()
    np.testing.assert_allclose(column(widget, "into"), graph.links.row_sums(absolute=True), rtol=1e-6)
    source, target, _ = np.frombuffer(widget._edges, "<i4").reshape(3, -1)
    weight = np.frombuffer(widget._edges, "<f4").reshape(3, -1)[2]
    assert (source == graph.links.source).all()
    assert (target == graph.links.targets()).all()
    np.testing.assert_allclose(weight, graph.links.weight, rtol=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.95])
def test_enter_says_which_nodes_a_threshold_keeps(graph, share):
    from circuitlab.pruning import cutoff, influence, logit_weights

    enter = column(cl.AttributionGraph(graph), "enter")
    reach = influence(graph.links, logit_weights(graph.nodes), ~graph.kind_mask("constant"))
    kept = (reach >= cutoff(reach, share)) | graph.kind_mask("token", "logit", "constant")
    assert ((enter == 0) | (enter < share)).tolist() == kept.tolist()


def test_only_the_strongest_edges_are_sent(graph, monkeypatch):
    monkeypatch.setattr(sent, "MAX_EDGES", 20)
    widget = cl.AttributionGraph(graph)
    assert len(widget._edges) == 12 * 20
    assert json.loads(widget._strings)["n_edges"] == graph.counts[1]


def test_what_is_done_is_state_and_goes_into_the_graph(graph, ids):
    view = graph.view(pinned=ids[:2])
    view.supernodes = {"capital": ids[2:4]}
    view.labels = {ids[0]: "Texas"}
    view.clicked = ids[1]
    assert view.session.view == view.view
    assert view.graph.node(ids[0])["label"] == "Texas"
    assert view.graph.node(ids[2])["supernode"] == "capital"
    assert cl.AttributionGraph(view.graph).view == view.view
    assert graph.view() is view


def test_it_survives_the_graph_file(graph, ids, tmp_path):
    view = graph.view(pinned=ids[:1], supernodes={"capital": ids[1:3]}, labels={ids[0]: "Texas"}, node_threshold=0.7)
    opened = cl.Graph.open(view.graph.save(tmp_path / "a.json")).view()
    assert (opened.pinned, opened.supernodes, opened.node_threshold) == (view.pinned, view.supernodes, 0.7)
    assert opened.labels == {ids[0]: "Texas"}


def test_densities_come_from_wherever_they_are_known(graph):
    features = graph.nodes[graph.kind_mask("feature")]
    name = "L{layer}/{feature}".format(**features.iloc[0])
    rows = (
        (features["layer"] == features["layer"].iloc[0]) & (features["feature"] == features["feature"].iloc[0])
    ).sum()

    assert np.isnan(column(graph.view(), "density")).all()
    traced = dataclasses.replace(graph, metadata={**graph.metadata, "densities": {name: 0.25}})
    store = SimpleNamespace(densities={name: 0.5})
    for widget, expected in [
        (cl.AttributionGraph(traced), 0.25),
        (traced.view(), 0.25),
        (cl.AttributionGraph(traced, evidence=store), 0.5),
        (graph.view(evidence=store), 0.5),
        (cl.AttributionGraph(traced, evidence=store, densities={name: 0.75}), 0.75),
    ]:
        known = column(widget, "density")
        assert (known == np.float32(expected)).sum() == np.isfinite(known).sum() == rows
    for wrong in ({"evidence": 3}, {"densities": [0.5]}, {"densities": {name: 7}}):
        with pytest.raises((TypeError, ValueError), match=r"evidence|densities"):
            cl.AttributionGraph(graph, **wrong)


def test_linked_widgets_share_a_session(graph, ids):
    session = cl.Session(graph)
    one, other = cl.AttributionGraph(graph, session=session), cl.AttributionGraph(graph, session=session)
    one.clicked = ids[0]
    assert (session.clicked, other.clicked) == (ids[0], ids[0])
    session.link_mode = "inputs"
    assert one.link_mode == "inputs"
    one.close()
    session.clicked = ids[1]
    assert (one.clicked, other.clicked) == (ids[0], ids[1])


def test_changes_are_undone_and_redone(graph, ids):
    view = graph.view()
    view.pinned = ids[:1]
    view.set_options(pinned=ids[:2], labels={ids[0]: "Texas"})
    view.undo()
    assert (view.pinned, view.labels) == (ids[:1], {})
    view.undo()
    assert view.pinned == []
    view.redo()
    view.redo()
    assert (view.pinned, view.labels) == (ids[:2], {ids[0]: "Texas"})
    view.redo()
    assert view.pinned == ids[:2]


def test_a_step_back_in_the_browser_is_an_undo_here(graph, ids):
    view = graph.view()
    view.pinned = ids[:1]
    view.pinned = []
    assert (view.session.can_undo, view.session.can_redo) == (False, True)


@pytest.mark.parametrize(("pause", "before"), [(0.1, 0.8), (60.0, 0.78)])
def test_dragging_a_threshold_is_one_step(graph, monkeypatch, pause, before):
    now = itertools.count(step=pause)
    monkeypatch.setattr("circuitlab.widgets.session.monotonic", lambda: next(now))
    session = cl.Session(graph)
    for share in (0.79, 0.78, 0.77):
        session.node_threshold = share
    session.undo()
    assert session.node_threshold == before


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"pinned": ["0_0_9"]}, "no node '0_0_9'.*nearest"),
        ({"clicked": "nobody"}, "nobody"),
        ({"supernodes": {"empty": []}}, "'empty'"),
        ({"node_threshold": 7.0}, "node_threshold=7.0"),
        ({"edge_threshold": -0.1}, "edge_threshold=-0.1"),
        ({"link_mode": "boht"}, "'boht'"),
        ({"positions": {"nowhere": (0.5, 0.5)}}, "nowhere"),
    ],
)
def test_nonsense_is_refused_by_name(graph, state, said):
    for owner in (graph.view(), cl.Session(graph)):
        ((name, value),) = state.items()
        before = getattr(owner, name)
        with pytest.raises(ValueError, match=said):
            setattr(owner, name, value)
        assert getattr(owner, name) == before


@pytest.mark.parametrize(
    "state",
    [
        {"pinned": ["nobody"]},
        {"pinned": [3]},
        {"clicked": "nobody"},
        {"supernodes": {"a": None}},
        {"supernodes": {"a": []}},
        {"labels": {"nobody": "x"}},
        {"positions": {"nobody": [0.5, 0.5]}},
        {"positions": {"nobody": None}},
        {"node_threshold": math.nan},
        {"link_mode": "none"},
        {"_extent": [math.nan, 3]},
        {"_extent": [1]},
    ],
)
def test_nonsense_from_the_browser_is_taken_back_there_too(graph, ids, state, monkeypatch):
    """Mutation: validators that raise a plain ValueError, which traitlets lets stand."""
    view, sent = cl.AttributionGraph(graph), []
    (name,) = state
    before = getattr(view, name)
    monkeypatch.setattr(view, "send_state", sent.append)
    with pytest.raises((ValueError, traitlets.TraitError)):
        view.set_state({"labels": {ids[0]: "Texas"}, **state} if name != "labels" else state)
    assert (getattr(view, name), view.labels, sent[-1][-1]) == (before, {}, name)
    monkeypatch.undo()
    view.set_state({"pinned": ids[:1]})
    assert view.session.pinned == view.pinned == ids[:1]
    assert view.graph


@pytest.mark.parametrize(
    "state",
    [
        {"interventions": {"nobody": 0.0}},
        {"interventions": {"0_0_0": math.nan}},
        {"setting": {"end_layer": "x"}},
        {"setting": {"freeze_attention": "no"}},
        {"setting": {"values": {"nobody": 1.0}}},
    ],
)
def test_a_refused_step_of_a_session_leaves_nothing(graph, ids, state):
    session = cl.Session(graph)
    with pytest.raises(ValueError, match=r"nobody|nan|end_layer|freeze_attention"):
        session.update(pinned=ids[:1], **state)
    assert (session.pinned, session.interventions, session.setting, session.can_undo) == ([], {}, {}, False)


def test_what_belongs_to_a_group_goes_and_comes_back_with_it(graph, ids):
    session = cl.Session(graph)
    view = cl.AttributionGraph(graph, session=session)
    session.update(supernodes={"a": ids[:2]}, positions={"a": [0.1, 0.1]}, interventions={"a": 0.0}, pinned=ids[3:4])
    view.set_state({"supernodes": {}})
    assert (view.positions, session.interventions) == ({}, {})
    view.set_state({"positions": {ids[2]: [0.2, 0.2]}})
    session.undo()
    session.undo()
    assert (view.supernodes, view.positions) == ({"a": ids[:2]}, {"a": [0.1, 0.1]})
    assert session.interventions == {"a": 0.0}
    session.redo()
    session.redo()
    assert view.positions == {ids[2]: [0.2, 0.2]}


def test_any_walk_is_undone_to_its_beginning_and_redone(graph, ids):
    for seed in range(12):
        random, session = np.random.default_rng(seed), cl.Session(graph)
        views = [cl.AttributionGraph(graph, session=session) for _ in range(2)]
        beginning = session.view
        for _ in range(25):
            view, some = views[random.integers(2)], random.permutation(ids[:6]).tolist()
            what = random.choice(["group", "ungroup", "positions", "interventions", "pinned", "undo", "redo"])
            match what:
                case "group":
                    view.supernodes = {"a": some[:2], "b": some[2:3]}
                case "ungroup":
                    view.supernodes = {}
                case "positions":
                    view.positions = {name: [0.5, random.random()] for name in view.supernodes}
                case "interventions":
                    session.interventions = dict.fromkeys(session.supernodes, 0.0)
                case "pinned":
                    view.pinned = some[:2]
                case _:
                    getattr(session, what)()
        states = [session.view]
        while session.can_undo:
            session.undo()
            states.append(session.view)
        assert states[-1] == beginning
        for state in states[-2::-1]:
            session.redo()
            assert session.view == state == views[0].view == views[1].view


def test_unknown_arguments_are_refused_with_the_nearest(graph):
    for make in (cl.AttributionGraph, cl.Session):
        with pytest.raises(TypeError, match="did you mean pinned"):
            make(graph, pined=[])
    with pytest.raises(TypeError, match="did you mean node_threshold"):
        graph.view(node_treshold=0.5)


def test_requests_are_answered_under_their_id(graph, monkeypatch):
    view, sent_back = graph.view(), []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent_back.append((content, buffers)))
    view._answer(view, {"id": "7", "kind": "export", "format": "svg"}, [])
    view._answer(view, {"id": "8", "kind": "export", "format": "gif"}, [])
    view._answer(view, {"id": "9", "kind": "dance"}, [])
    (svg, data), (gif, _), (dance, _) = sent_back
    assert svg == {"id": "7", "answer": {"name": "graph.svg", "type": "image/svg+xml"}}
    assert data[0].startswith(b"<?xml")
    assert gif["id"] == "8"
    assert "expected one of svg" in gif["error"]
    assert "'dance'" in dance["error"]


def test_the_export_is_the_figure_of_what_is_arranged(graph, tmp_path):
    view = cl.AttributionGraph(graph)
    whole = view.savefig(tmp_path / "a.svg").read_bytes()
    assert whole == graph.savefig(tmp_path / "b.svg").read_bytes()
    view.supernodes = {"two at once": ["1_0_2", "2_0_2"]}
    arranged = view.savefig(tmp_path / "c.svg").read_bytes()
    assert arranged == graph.savefig(tmp_path / "d.svg", view=view.view).read_bytes()
    assert b">two at once<" in arranged


def test_a_cell_shows_the_widget_with_a_picture_to_fall_back_on(graph):
    data, _ = graph._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == graph.view().model_id
    assert {"image/png", "image/svg+xml"} <= set(data)
    assert data["image/svg+xml"].startswith("<svg")
    assert data["text/plain"] == repr(graph)


def test_the_browsers_colours_are_the_figures():
    themes = json.loads((STATIC.parents[1] / "widgets/src/shared/themes.json").read_text("utf-8"))
    for name, theme in THEMES.items():
        assert themes[name] == {field: getattr(theme, field) for field in themes[name]}
        assert len(themes[name]) == len(theme.__dataclass_fields__) - 1


@pytest.mark.parametrize("bundle", sorted(path.name for path in STATIC.glob("*.js")))
def test_bundles_stay_small(bundle):
    assert (STATIC / bundle).stat().st_size < 150_000


def fixture_of(graph):
    """The development page's graph, and what `prune` keeps of it: widgets/dev/fixture.json."""
    kept = []
    for nodes, edges in ((0.4, 0.9), (0.6, 0.8), (0.8, 0.98), (0.95, 0.5), (1.0, 1.0)):
        small = graph if nodes == edges == 1.0 else graph.prune(nodes, edges)
        inner = ~small.kind_mask("constant")[small.links.source]
        kept.append(
            {
                "nodes": nodes,
                "edges": edges,
                "kept": {"nodes": small.nodes["id"].tolist(), "edges": int(inner.sum())},
            }
        )
    return {"widget": sent.page_data(graph, View(node_threshold=1.0, edge_threshold=1.0), 884.0, 560.0), "kept": kept}


def test_the_browsers_tests_see_what_python_sends(graph):
    path = STATIC.parents[1] / "widgets/dev/fixture.json"
    text = json.dumps(fixture_of(graph), indent=1) + "\n"
    if not path.is_file() or json.loads(path.read_text("utf-8")) != json.loads(text):
        path.with_name("fixture-changed.json").write_text(text, "utf-8")
        pytest.fail("widgets/dev/fixture.json differs from what Python sends: see fixture-changed.json beside it")


def test_what_an_intervention_leaves_stands_at_the_nodes(graph, ids):
    session = cl.Session(graph)
    widget = cl.AttributionGraph(graph, session=session)
    session.changed = {ids[0]: -1.0, ids[1]: 0.404, ids[2]: 25.0}
    assert widget._changed == {ids[0]: "−200%", ids[1]: "−60%", ids[2]: "+2,400%"}
    session.changed = {}
    assert widget._changed == {}


def test_text_shrinks_and_then_the_drawing_grows_where_the_browser_has_little_room(graph):
    plans = [json.loads(sent.placed(graph, graph, 800, height).strings) for height in (600, 200, 90)]
    assert [plan["width"] for plan in plans] == [800] * 3
    assert [plan["height"] for plan in plans][:2] == [600, 200]
    assert plans[2]["height"] > 90
    sizes = [plan["em"] for plan in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2] >= 9


def test_a_refused_update_changes_nothing(graph, ids):
    session = cl.Session(graph)
    with pytest.raises(ValueError, match="node_threshold=7"):
        session.update(pinned=ids[:1], node_threshold=7.0)
    assert (session.pinned, session.node_threshold) == ([], 0.8)


def test_the_picture_is_small_and_drawn_once_for_the_same_names(graph, monkeypatch):
    from circuitlab.widgets import display

    drawn = []
    monkeypatch.setattr(display, "static_mimebundle", lambda graph: drawn.append(graph) or {"image/png": "…"})
    for _ in range(2):
        assert graph._repr_mimebundle_()[0]["image/png"] == "…"
    assert len(drawn) == 1
    graph.nodes.loc[graph.nodes.index[-1], "supernode"] = "answers"
    graph._repr_mimebundle_()
    assert len(drawn) == 2


def test_a_refused_or_closed_widget_can_be_closed_again(graph, ids):
    with pytest.raises(ValueError, match="is empty"):
        cl.AttributionGraph(graph, supernodes={"nobody": []})
    widget = cl.AttributionGraph(graph)
    widget.close()
    widget.close()
