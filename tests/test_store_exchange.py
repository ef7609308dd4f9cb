"""Stores from the feature files of other tools, and back."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import small_store
from test_feature_files import EXPORTED, THEIRS, files, held

import circuitlab as cl
from circuitlab.cli import main
from circuitlab.formats.feature_json import cantor_pair, evidence_from_json, write_feature_folder
from circuitlab.formats.packed_features import PackedFeatures


@pytest.fixture
def store(tmp_path):
    return cl.Store(small_store(tmp_path / "store"))


@settings(max_examples=5, deadline=None)
@given(st.data())
@pytest.mark.parametrize("kind", ["json", "packed"])
def test_files_become_a_store_and_the_same_files(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("files")
    places = sorted(data.draw(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=4)))
    drawn = [data.draw(files()) for _ in places]
    found = [evidence_from_json(file, "file", *place) for file, place in zip(drawn, places, strict=True)]
    write_feature_folder(found, folder / "json")
    store = cl.Store.from_files(folder / "json", folder / "store")
    store.export(folder / "out", kind=kind)
    again = cl.Store.from_files(folder / "out")
    for file, evidence in zip(drawn, found, strict=True):
        for back in (store[evidence.name], again[evidence.name]):
            said = {**file, "layer": evidence.layer, "index": evidence.index, "label": evidence.label.strip()}
            assert held(said, json.loads(json.dumps(back.to_json()))) == said
            assert back.examples == evidence.examples


def test_an_imported_store_is_searched_filtered_and_labelled(tmp_path):
    (tmp_path / "in").mkdir()
    for index, label in ((7, "rabbits"), (9, "")):
        path = tmp_path / "in" / f"{cantor_pair(2, index)}.json"
        path.write_text(json.dumps({**THEIRS, "index": index, "label": label}))
    store = cl.Store.from_files(tmp_path / "in", tmp_path / "store")
    assert list(store) == ["L2/7", "L2/9"]
    assert store.search("rabbit")["name"].tolist() == ["L2/7"]
    assert store.search("x")["name"].tolist() == ["L2/7", "L2/9"]
    assert store.filter(layer=2, density=(0, 0.02))["largest"].tolist() == [1.5, 1.5]
    assert store["L2/7"].label == "rabbits"
    assert store["L2/7"].note == "Read from feature JSON (in)."
    assert store["L2/7"].extra["deep"] == {"er": [1, {"x": None}]}
    store.label("L2/7", "hares")
    assert store["L2/7"].label == "hares"
    assert cl.Store.from_files(tmp_path / "in", tmp_path / "store").labels == {"L2/7": "hares"}
    with pytest.raises(ValueError, match="holds no evidence of L2/8"):
        store["L2/8"]


def test_a_neuronpedia_export_becomes_a_store_and_the_same_export(tmp_path):
    batch = {"model_id": "m", "layer": 3, "features": [EXPORTED, {**EXPORTED, "feature_index": 8}]}
    (tmp_path / "batch-0.json").write_text(json.dumps(batch))
    store = cl.Store.from_files(tmp_path / "batch-0.json")
    assert store["L3/8"].density == 0.125
    store.export(tmp_path / "out", kind="neuronpedia")
    (path,) = (tmp_path / "out").iterdir()
    assert json.loads(path.read_text())["features"] == batch["features"]


def test_a_harvested_store_goes_out_and_comes_back(store, tmp_path):
    store.label("L1/2", "Texas")
    for kind in ("json", "packed"):
        back = cl.Store.from_files(store.export(tmp_path / kind, kind=kind))
        assert list(back) == list(store)
        for name in store:
            assert back[name] == store[name]
    assert PackedFeatures(tmp_path / "packed")[1, 2].label == "Texas"
    store.export(tmp_path / "np", kind="neuronpedia")
    back = cl.Store.from_files(tmp_path / "np")["L1/2"]
    assert back.extra["dataset"] == "some stories"
    assert back.extra["n_prompts_total"] == 40
    assert (back.density, back.promoted) == (store["L1/2"].density, store["L1/2"].promoted)
    assert back.activation_histogram == store["L1/2"].activation_histogram


def test_what_cannot_become_a_store_is_refused(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        cl.Store.from_files(tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected files that end in"):
        cl.Store.from_files((tmp_path / "empty").mkdir() or tmp_path / "empty")
    with pytest.raises(ValueError, match=r"kind='csv': expected one of json, packed, neuronpedia"):
        store.export(tmp_path, kind="csv")
    folder = tmp_path / "twice"
    folder.mkdir()
    for name in ("a.json", "b.json"):
        (folder / name).write_text(json.dumps({**THEIRS, "layer": 1}))
    with pytest.raises(ValueError, match="holds L1/7 twice"):
        cl.Store.from_files(folder)
    (folder / "b.json").write_text(json.dumps({**THEIRS, "layer": 10**6}))
    with pytest.raises(ValueError, match="is in layer 1000000"):
        cl.Store.from_files(folder)
    (folder / "b.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.json is not JSON"):
        cl.Store.from_files(folder, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_originals_that_are_damaged_are_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**THEIRS, "layer": 0}))
    store = cl.Store.from_files(tmp_path / "a.json", tmp_path / "store")
    path = store.folder / "originals.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"originals\.parquet is not a whole Parquet file"):
        store["L0/7"]


# ---- the command ----


@pytest.fixture
def run(store):
    def run(*arguments, folder=store.folder):
        return CliRunner().invoke(main, ["features", str(folder), *map(str, arguments)])

    return run


def test_the_command_shows_searches_lists_and_labels(run, store):
    assert "some stories" in run().output
    assert json.loads(run("--json").output)["ever active"] == 8
    labelled = run("--label", "L1/2=Texas \x1b[31mred", "--feature", "L1/2")
    assert labelled.output.splitlines()[:2] == ["L1/2  Texas ·[31mred", "  active on   2.000% of tokens, at most 3"]
    assert "« rabbit» city" in labelled.output
    assert json.loads(run("--feature", "L1/2", "--json").output)["activation_frequency"] == 0.02
    (found,) = json.loads(run("--search", "texas", "--json").output)
    assert (found["name"], found["match"]) == ("L1/2", "prefix")
    assert "\x1b" not in run("--search", "texas").output
    assert run("--search", "zzzz").output.startswith("nothing found in labels and promoted tokens")
    assert run("--labelled", "zzzz").output == "no such feature\n"
    rows = json.loads(run("--layer", 1, "--density", 0.02, 1, "--json").output)
    assert [row["name"] for row in rows] == ["L1/2", "L1/3", "L1/4"]
    assert store.labels == {"L1/2": "Texas \x1b[31mred"}


def test_the_command_exports_and_imports(run, tmp_path):
    assert run("--export", tmp_path / "out", "--kind", "packed").exit_code == 0
    result = run("--import", tmp_path / "out", "--feature", "L1/3", folder=tmp_path / "new")
    assert result.output.startswith("L1/3\n  active on   3.000%")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--feature", "../../x"], "names no feature"),
        (["--layer", 9], "no layer 9"),
        (["--label", "L1/2"], "expected NAME=TEXT"),
        (["--import", "nothing"], "no such file or folder"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(run, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1
