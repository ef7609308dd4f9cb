"""The sliders' Python side: rows by name, one request per state, the newest run only, state that fits the graph."""

import base64
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from graphs import closing_graph

import circuitlab as cl
from circuitlab.widgets.sliders import report
from circuitlab.widgets.sliders.newest import Newest
from circuitlab.widgets.sliders.request import MODES, Onward, Setting, Value, request
from circuitlab.widgets.sliders.rows import Catalogue


class FakeRun:
    """The tables of a run that scales every activation by the first factor."""

    def __init__(self, graph, interventions, n_tokens):
        self.factor = next((x for x in interventions.values() if isinstance(x, int | float)), 2.0)
        active = graph.nodes[graph.kind_mask("feature")].set_index("id")
        self.features = pd.DataFrame({"before": active["activation"], "after": active["activation"] * self.factor})
        self.baseline_continuation, self.continuation = " b" * n_tokens, " a" * n_tokens

    def top_tokens(self, n):
        return pd.DataFrame({"token": [" yes", " no"], "before": [0.75, 0.25], "after": [0.5, 0.5]})[:n]


class FakeModel:
    """Remembers what it was asked; `gate` holds runs up, `error` makes them fail."""

    def __init__(self, graph):
        self.graph, self.asked, self.gate, self.error = graph, [], threading.Event(), None
        self.gate.set()

    def intervene(self, prompt, interventions, n_tokens=0, **options):
        self.asked.append((prompt, interventions, n_tokens, options))
        assert self.gate.wait(20)
        if self.error:
            raise ValueError(self.error)
        return FakeRun(self.graph, interventions, n_tokens)


@pytest.fixture
def graph():
    return closing_graph(n_layers=4, n_pos=4, n_features=3)


@pytest.fixture
def ids(graph):
    return graph.nodes.loc[graph.kind_mask("feature"), "id"].tolist()


@pytest.fixture
def session(graph, ids):
    return cl.Session(graph, supernodes={"Texas": ids[:2], "capital": ids[5:8]}, labels={ids[15]: "say Austin"})


@pytest.fixture
def model(graph):
    return FakeModel(graph)


@pytest.fixture
def sliders(model, graph, session):
    made = cl.InterventionSliders(model, graph, session=session, n_tokens=0)
    assert made.wait()
    model.asked.clear()
    yield made
    model.gate.set()
    made.close()


# ---- newest ----


def test_of_many_requests_the_first_and_the_newest_run():
    gate, seen = threading.Event(), []

    def work(request, cancelled):
        gate.wait(20)
        return request

    newest = Newest(work, lambda revision, outcome: seen.append((revision, outcome)))
    newest.submit(1, "a")
    while newest.started < 1:
        time.sleep(0.001)
    for revision in range(2, 10):
        newest.submit(revision, str(revision))
    gate.set()
    assert newest.wait(20)
    assert seen == [(9, "9")]
    assert newest.started == 2
    assert newest.dropped == 8
    newest.submit(4, "old")
    assert newest.wait(20)
    assert seen == [(9, "9")]
    newest.close()


def test_a_run_in_flight_is_told_that_a_newer_one_is_asked_for():
    told, seen, started = [], [], threading.Event()

    def work(request, cancelled):
        started.set()
        deadline = time.monotonic() + 20
        while request == "slow" and not cancelled():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        told.append((request, cancelled()))
        return request

    newest = Newest(work, lambda revision, outcome: seen.append((revision, outcome)))
    newest.submit(1, "slow")
    assert started.wait(20)
    newest.submit(2, "quick")
    assert newest.wait(20)
    assert told == [("slow", True), ("quick", False)]
    assert seen == [(2, "quick")]
    newest.close()


def test_errors_are_delivered_and_the_thread_goes_on():
    seen = []

    def work(request, cancelled):
        return 1 / request

    newest = Newest(work, lambda revision, outcome: seen.append(outcome))
    for revision, divisor in enumerate([0, 2]):
        newest.submit(revision, divisor)
        assert newest.wait(20)
    assert isinstance(seen[0], ZeroDivisionError)
    assert seen[1] == 0.5
    newest.close()


def test_what_settles_waits_for_the_last_request_and_can_be_cancelled():
    seen = []
    newest = Newest(lambda request, _: request, lambda revision, outcome: seen.append(outcome), settle=0.1)
    for revision in range(1, 6):
        newest.submit(revision, revision)
        time.sleep(0.01)
    assert newest.wait(20)
    assert seen == [5]
    newest.submit(6, 6)
    newest.cancel(7)
    assert newest.wait(20)
    assert seen == [5]
    newest.close()


# ---- rows and requests ----


def test_rows_are_found_by_every_kind_of_name(graph, ids, session):
    catalogue = Catalogue(graph, session.supernodes, session.labels)
    layer, feature, pos = (int(part) for part in ids[0].split("_"))
    kinds = {name: catalogue.row(name).kind for name in ("Texas", ids[0], f"L{layer}/{feature}", "say Austin")}
    assert list(kinds.values()) == ["supernode", "node", "feature", "label"]
    assert catalogue.row("Texas").own == graph.nodes.set_index("id").loc[ids[:2], "activation"].max()
    assert catalogue.row(ids[0]).places == (pos,)
    assert catalogue.row("say Austin").members == (ids[15],)
    assert catalogue.row("E_10_0").vector
    assert catalogue.row("L0/99").members == ()
    with pytest.raises(ValueError, match=r"'texsa'.*nearest: 'Texas'"):
        catalogue.row("texsa")
    with pytest.raises(ValueError, match="is a logit: only features, errors and tokens"):
        catalogue.row(graph.nodes.loc[graph.kind_mask("logit"), "id"].iloc[0])


def test_a_request_says_what_where_and_how(graph, ids, session):
    catalogue = Catalogue(graph, session.supernodes, session.labels)
    rows = [catalogue.row(name) for name in ("Texas", ids[15], "capital")]
    names = [f"L{layer}/{feature}" for layer, feature in rows[0].features]
    (layer, feature), first = rows[1].features[0], rows[1].places[0]
    setting = Setting({"Texas": -1.0, "capital": 1.0}, {ids[15]: 3.0}, {"Texas": "all", ids[15]: "generated"})
    asked = request(setting, rows)
    assert asked.interventions == {**dict.fromkeys(names, -1.0), f"L{layer}/{feature}": Value(3.0)}
    assert asked.positions == {f"L{layer}/{feature}": Onward(first)}
    assert asked.supernodes == {}
    plain = request(Setting({"Texas": -1.0}), rows)
    assert (plain.interventions, plain.supernodes) == ({"Texas": -1.0}, {"Texas": tuple(ids[:2])})
    assert request(Setting({}, {ids[15]: 3.0}, {ids[15]: "all"}), rows).positions == {
        f"L{layer}/{feature}": slice(None)
    }
    assert request(Setting({ids[15]: 3.0}, {}, {ids[15]: 2}), rows).positions == {f"L{layer}/{feature}": 2}


def test_modes_are_those_of_the_interventions(sliders, model):
    from circuitlab.interventions.modes import NAMES

    assert set(MODES) == set(NAMES)
    sliders.factors = {"Texas": 0.0}
    assert "mode=" not in sliders.code
    for mode in MODES:
        sliders.mode = mode
        sliders.end_layer = 2
        assert sliders.wait()
        asked = model.asked[-1][3]
        assert asked["mode"] == mode
        assert asked.get("end_layer") == (2 if mode == "constrained" else None)
        assert (f'mode="{mode}"' in sliders.code) == (mode != "propagating")
        assert ("end_layer=2" in sliders.code) == (mode == "constrained")
    context = json.loads(sliders._context)
    assert [mode["name"] for mode in context["modes"]] == list(MODES)
    assert context["layers"] == 4


def test_rows_that_set_the_same_feature_are_named(graph, ids, session):
    catalogue = Catalogue(graph, session.supernodes, session.labels)
    rows = [catalogue.row("Texas"), catalogue.row(ids[0])]
    setting = Setting({"Texas": 0.0, ids[0]: 2.0}, {}, {"Texas": "all", ids[0]: "all"})
    with pytest.raises(ValueError, match=rf"'Texas' and '{ids[0]}' both set L0/0"):
        request(setting, rows)
    token = catalogue.row("E_10_0")
    with pytest.raises(ValueError, match="'E_10_0' holds an error or a token"):
        request(Setting({"E_10_0": 0.0}, {}, {"E_10_0": "all"}), [token])


# ---- the widget ----


def test_supernodes_are_the_opening_rows_and_the_baseline_is_shown(sliders):
    assert sliders.rows == ["Texas", "capital"]
    assert [(t["token"], t["before"], t["after"]) for t in sliders.result["tokens"]] == [
        (" yes", 0.75, 0.5),
        (" no", 0.25, 0.5),
    ]
    assert sliders.result["error"] is None
    assert [row["name"] for row in json.loads(sliders._state)["rows"]] == sliders.rows


def test_a_move_runs_the_model_and_reaches_session_and_result(sliders, model, session, ids):
    answer = sliders._on_move({"factors": {"Texas": -2}, "values": {}, "where": {}, "origin": "here"})
    assert sliders.wait()
    assert model.asked == [(sliders.prompt, {"Texas": -2.0}, 0, model.asked[0][3])]
    assert model.asked[0][3]["supernodes"] == {"Texas": ids[:2]}
    assert callable(model.asked[0][3]["cancelled"])
    assert sliders.result["revision"] == answer["revision"]
    assert json.loads(sliders._state)["origin"] == "here"
    assert session.interventions == {"Texas": -2.0}
    assert session.changed["Texas"] == -2.0
    assert session.changed[ids[3]] == -2.0
    group = {group["name"]: group for group in sliders.result["groups"]}
    assert group["capital"]["after"] == pytest.approx(-2 * group["capital"]["before"])
    assert [group["Texas"]["set"], group["capital"]["set"]] == [True, False]


def test_stale_results_are_dropped(sliders, model):
    model.gate.clear()
    revisions = [sliders._on_move({"factors": {"Texas": factor}})["revision"] for factor in (0.5, 2.0, 3.0, 4.0)]
    assert revisions == sorted(set(revisions))
    model.gate.set()
    assert sliders.wait()
    assert sliders.result["revision"] == revisions[-1]
    assert model.asked[-1][1] == {"Texas": 4.0}
    assert len(model.asked) <= 2
    sliders._show_numbers(revisions[0], ValueError("an old run"))
    assert sliders.result["error"] is None


def test_the_continuation_follows_and_its_baseline_is_computed_once(sliders, model):
    sliders.n_tokens = 2
    assert sliders.wait()
    assert sliders.result["continuation"] == {"before": " b b", "after": " a a"}
    sliders.factors = {"Texas": 3.0}
    assert sliders.wait()
    assert sliders.result["pending"] is False
    assert [n for _, _, n, _ in model.asked] == [0, 2, 0, 2]
    sliders.n_tokens = 0
    assert sliders.wait()
    assert "continuation" not in sliders.result


def test_the_models_errors_are_shown_as_text(sliders, model):
    model.error = "'Texas' is not active in this prompt"
    sliders.factors = {"Texas": 3.0}
    assert sliders.wait()
    assert sliders.result["error"] == model.error
    assert sliders.result["tokens"]
    model.error = None
    sliders.factors = {"Texas": 2.0}
    assert sliders.wait()
    assert sliders.result["error"] is None


def test_a_value_takes_the_place_of_a_factor_and_what_has_an_amount_has_a_row(sliders, ids):
    sliders.factors = {"Texas": 2.0}
    sliders.values = {"Texas": 3.0, "L0/0": 1.0}
    assert (sliders.factors, sliders.values) == ({}, {"Texas": 3.0, "L0/0": 1.0})
    assert sliders.rows == ["Texas", "capital", "L0/0"]
    sliders.factors = {"Texas": 2.0}
    assert (sliders.factors, sliders.values) == ({"Texas": 2.0}, {"L0/0": 1.0})
    sliders.rows = ["capital"]
    assert (sliders.factors, sliders.values) == ({}, {})


def test_session_and_sliders_follow_each_other(sliders, session, ids):
    session.interventions = {"capital": 0.0}
    assert sliders.factors == {"capital": 0.0}
    session.supernodes = {"capital": ids[5:7], "new": ids[:1]}
    assert sliders.rows == ["capital", "new"]
    session.supernodes = {}
    assert (sliders.rows, sliders.factors, session.interventions) == ([], {}, {})


# ---- undo ----


def drag(sliders, gesture, *factors, **more):
    for factor in factors:
        sliders._on_move({"factors": {"Texas": factor}, "gesture": gesture, "origin": "view", **more})


def test_a_drag_is_one_step_for_undo(sliders, session):
    assert not session.can_undo
    drag(sliders, 1, 0.5, 0.0, -0.5)
    drag(sliders, 2, -1.0, 2.0)
    session.undo()
    assert (sliders.factors, session.interventions) == ({"Texas": -0.5}, {"Texas": -0.5})
    session.undo()
    assert (sliders.factors, session.can_undo) == ({}, False)
    session.redo()
    session.redo()
    assert (sliders.factors, session.can_redo) == ({"Texas": 2.0}, False)
    assert sliders.wait()
    assert sliders.result["revision"] == sliders._revision


def test_a_drag_that_comes_back_can_still_be_undone(sliders, session):
    drag(sliders, 1, 0.5, 1.0, 3.0)
    session.undo()
    assert (sliders.factors, session.can_undo) == ({}, False)


def test_values_places_and_modes_are_undone_with_the_graphs_own_changes(sliders, session, ids):
    sliders.values = {"Texas": 3.0}
    sliders.where = {"Texas": "all"}
    session.pinned = ids[:1]
    sliders.mode = "direct"
    session.undo()
    assert (sliders.mode, list(session.pinned), sliders.where) == ("propagating", ids[:1], {"Texas": "all"})
    session.undo()
    session.undo()
    assert (list(session.pinned), sliders.where, sliders.values) == ([], {}, {"Texas": 3.0})
    assert sliders._on_travel({"way": "undo"})["done"]
    assert sliders.values == {}
    assert not sliders._on_travel({"way": "undo"})["done"]
    assert sliders._on_travel({"way": "redo"})["done"]
    assert sliders.values == {"Texas": 3.0}


def test_a_supernode_comes_back_with_its_amount(sliders, session, ids):
    drag(sliders, 1, -1.0)
    session.supernodes = {"capital": ids[5:8]}
    assert (sliders.factors, sliders.rows, session.interventions) == ({}, ["capital"], {})
    session.undo()
    assert (sliders.factors, session.interventions) == ({"Texas": -1.0}, {"Texas": -1.0})
    assert "Texas" in sliders.rows
    session.undo()
    assert (sliders.factors, list(session.supernodes)) == ({}, ["Texas", "capital"])


def test_sliders_of_one_session_agree(sliders, model, graph, session):
    other = cl.InterventionSliders(model, graph, session=session, n_tokens=0)
    sliders.factors = {"Texas": 2.0}
    sliders.mode = "steering"
    assert (other.factors, other.mode) == ({"Texas": 2.0}, "steering")
    other.where = {"Texas": "generated"}
    assert sliders.where == {"Texas": "generated"}
    other.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mode", "directt", "mode='directt': did you mean 'direct'"),
        ("end_layer", 4, "end_layer=4: expected a layer from 0 to 3"),
        ("rows", ["Texsa"], "'Texsa'; nearest: 'Texas'"),
        ("factors", {"nope": 1.0}, "nothing is called 'nope'"),
        ("factors", {"Texas": float("nan")}, r"factors\['Texas'\] is nan"),
        ("factors", {"Texas": "2"}, r"factors\['Texas'\] is '2'"),
        ("values", {"E_10_0": 1.0}, "only a factor can scale"),
        ("where", {"Texas": 99}, r"where\['Texas'\] is 99; expected 'own', 'all', 'generated'"),
        ("where", {"Texas": "somewhere"}, r"where\['Texas'\] is 'somewhere'"),
    ],
)
def test_nonsense_is_refused_by_name_and_changes_nothing(sliders, name, value, message):
    before = (list(sliders.rows), dict(sliders.factors), dict(sliders.values), sliders._revision)
    with pytest.raises(ValueError, match=message):
        setattr(sliders, name, value)
    sent = []
    sliders.send = lambda content, buffers=None: sent.append(content)
    sliders._answer(sliders, {"id": 1, "kind": "rows" if name == "rows" else "move", name: value}, [])
    assert "error" in sent[0]
    assert (list(sliders.rows), dict(sliders.factors), dict(sliders.values), sliders._revision) == before


def test_unknown_arguments_and_models_that_are_none_are_refused(graph, model, session):
    with pytest.raises(TypeError, match="no argument 'factor'; did you mean factors"):
        cl.InterventionSliders(model, graph, factor={})
    with pytest.raises(TypeError, match="needs a model with `intervene`"):
        cl.InterventionSliders(graph, graph)
    with pytest.raises(TypeError, match=r"(?i)graph.*FakeModel"):
        cl.InterventionSliders(model, model)
    with pytest.raises(ValueError, match=r"interventions\['Texas'\] is 'x'"):
        session.interventions = {"Texas": "x"}
    with pytest.raises(ValueError, match=r"setting has no 'wher'; did you mean 'where'"):
        session.setting = {"wher": {}}
    with pytest.raises(ValueError, match=r"where\['Texas'\] is 99"):
        session.setting = {"where": {"Texas": 99}}


def test_any_text_may_be_a_name(graph, ids, model):
    odd = '<img src=x onerror="1">\n"é\u202e' + "x" * 5000
    session = cl.Session(graph, supernodes={odd: ids[:2]})
    sliders = cl.InterventionSliders(model, graph, session=session, factors={odd: 0.0}, n_tokens=0)
    assert sliders.wait()
    assert compile(sliders.code, "code", "exec")
    shown = json.loads(sliders._state)["rows"][0]
    assert shown["name"] == odd
    assert len(shown["title"]) <= 100
    assert "\u202e" not in shown["title"]
    sliders.close()


# ---- where no widget can run ----


def test_a_cell_also_holds_a_picture_of_before_and_after(sliders):
    sliders.factors = {"Texas": -1.0}
    shown, _ = sliders._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "Texas" in shown["text/plain"]
    for text in ("Texas", "× −1", "−100%", "yes", "75%", "50%"):
        assert text in shown["image/svg+xml"]
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert sliders._repr_mimebundle_()[0] == shown
    sliders.factors = {"Texas": 2.0}
    assert sliders._repr_mimebundle_()[0]["image/png"] != shown["image/png"]


def test_the_picture_leaves_out_what_has_not_changed():
    group = {"set": False, "before": 1.0, "after": 1.001}
    result = {
        "tokens": [{"token": "a", "before": 0.5, "after": 0.5}],
        "groups": [{**group, "name": "same"}, {**group, "name": "less", "after": 0.5}, {**group, "name": "new",
                   "before": 0.0}, {**group, "name": "set", "set": True}],
    }  # fmt: skip
    _, remaining, _ = report.tables(result)
    assert remaining["label"].tolist() == ["set", "new", "less"]
    assert remaining["factor"].isna().tolist() == [False, True, True]
    result["groups"] = [
        {"name": "risen", "set": True, "before": 0.0, "after": 2.0},
        {"name": "token", "set": True, "before": 0.0, "after": 0.0},
    ]
    _, remaining, _ = report.tables(result)
    assert remaining[["label", "factor"]].to_numpy().tolist() == [["risen", np.inf]], "a token has no activation"


# ---- with the bundled model ----


@pytest.fixture(scope="module")
def atlas():
    model = cl.load()
    return model, model.trace("fact : the capital of the state containing Dallas is")


def test_the_code_makes_the_same_run(atlas):
    model, graph = atlas
    sliders = cl.InterventionSliders(model, graph, rows=["Texas", "say a capital"], n_tokens=3)
    sliders.factors = {"Texas": -1.0}
    sliders.values = {"say a capital": 0.123456789}
    sliders.where = {"say a capital": "generated"}
    sliders.freeze_attention = False
    assert sliders.wait(120)
    result = sliders.result
    assert result["error"] is None
    names = {}
    exec(sliders.code, names)
    assert "cl.Value(0.123456789)" in sliders.code, "all digits"
    run = names["run"]
    assert [t["token"] for t in result["tokens"]] == run.top_tokens(8)["token"].tolist()
    for shown, after in zip(result["tokens"], run.top_tokens(8)["after"], strict=True):
        assert shown["after"] == pytest.approx(after, rel=1e-3, abs=1e-9)
    assert result["continuation"]["after"] == run.continuation
    assert sliders.run().top_tokens(3)["after"].tolist() == pytest.approx(run.top_tokens(3)["after"].tolist(), rel=1e-3)
    assert result["tokens"][0]["after"] != pytest.approx(result["tokens"][0]["before"], abs=0.1)
    sliders.close()


def test_what_a_model_cannot_do_is_said(atlas):
    model, graph = atlas
    node = graph.nodes.loc[graph.kind_mask("feature"), "id"].iloc[0]
    layer, feature, _ = (int(part) for part in node.split("_"))
    sliders = cl.InterventionSliders(model, graph, rows=["L0/0"], n_tokens=0)
    sliders.values = {f"L{layer}/{feature}": 1e30}
    assert sliders.wait(120)
    assert "overflows" in (sliders.result["error"] or "overflows")
    sliders.rows = ["Texas"]
    sliders.factors = {"Texas": 2.0}
    sliders.where = {"Texas": 1}
    assert sliders.wait(120)
    assert "is not active at these positions" in sliders.result["error"]
    sliders.close()


def test_a_run_ends_before_the_interpreter_does():
    script = (
        "import time\n"
        "from circuitlab.widgets.sliders.newest import Newest\n"
        "newest = Newest(lambda *_: time.sleep(0.5) or print('ended', flush=True), lambda *_: None)\n"
        "newest.submit(1, None)\n"
        "time.sleep(0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "ended")
