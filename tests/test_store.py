"""The store: looking features up, searching, filtering; and stores that are damaged or mean harm."""

import json
import subprocess
import sys
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from graphs import closing_graph
from stores import WORDS, example, feature, manifest, random_labels, small_store, tables

import circuitlab as cl
from circuitlab.evidence import FeatureSource, Histogram, TokenWeight
from circuitlab.labelling.contexts import StoreContexts
from circuitlab.store.schema import EXAMPLES, FEATURES
from circuitlab.store.writer import write_store


@pytest.fixture
def store(tmp_path):
    return cl.Store(small_store(tmp_path / "store"))


def test_a_feature_is_what_its_rows_say(store):
    evidence = store["L1/3"]
    assert evidence == store[1, 3] == store["1/3"]
    assert (evidence.name, evidence.density, evidence.largest) == ("L1/3", 0.03, 4.0)
    assert evidence.promoted == (TokenWeight(" rabbit", 0.5), TokenWeight(" rabbits", 0.25))
    assert evidence.suppressed == (TokenWeight(" the", -0.1),)
    assert evidence.activation_histogram == Histogram((23, 7), (0.0, 2.0, 4.0))
    assert evidence.logit_histogram == Histogram((4, 5), (-0.1, 0.0, 0.5))
    assert {name: len(part) for name, part in evidence.quantiles.items()} == {"Top": 2, "lower 1": 2}
    first = evidence.examples[0]
    assert (first.tokens, first.activations, first.peak) == ((" the", " rabbit", " city"), (0.1, 4.0, 0.1), 1)
    assert [e.copies for e in evidence.examples] == [1, 2, 1, 2]
    assert evidence.sources["examples"] == evidence.sources["density"] == "harvest"
    assert evidence.sources["promoted"] == "weights"
    assert evidence.note == "Harvested from some stories: 1,000 tokens."
    assert "attach" in evidence.missing["reads_from"]


def test_a_feature_that_was_never_active_says_so(store):
    evidence = store["L0/0"]
    assert (evidence.examples, evidence.density, evidence.largest) == ((), 0.0, None)
    assert evidence.missing["examples"] == "Active on none of the 1,000 tokens read."


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("L7/0", "no layer 7: layers are 0 to 1"),
        ((0, 5), "layer 0 has no feature 5: its features are 0 to 4"),
        ("../../etc/passwd", "'../../etc/passwd' names no feature; features are L0/0 to L1/4"),
        ("Texsa", "L1/2 is labelled 'Texas'"),
        (None, "names no feature"),
        ((0, True), "names no feature"),
    ],
)
def test_what_is_no_feature_is_refused_with_the_range(store, key, said):
    store.label("L1/2", "Texas")
    with pytest.raises(ValueError, match=said):
        store[key]


def test_it_is_a_source_for_a_dashboard(store):
    assert isinstance(store, FeatureSource)
    store.label("L0/1", "<b>Texas</b>")
    widget = cl.FeatureDashboard(store, "L0/1")
    sent = json.loads(widget._evidence)
    assert sent["note"] == "Harvested from some stories: 1,000 tokens."
    assert sent["label"] == "<b>Texas</b>"
    assert not widget._can_try
    assert "0/1" in store
    assert "L9/9" not in store
    assert len(store) == len(list(store)) == 10


def test_labels_edited_in_a_dashboard_are_kept_in_the_store(store):
    graph = closing_graph(n_layers=3, n_pos=3, n_features=2)
    session = cl.Session(graph)
    widget = cl.FeatureDashboard(store, "L0/1", session=session)
    widget.labels = {"L0/1": "hares", "L9/9": "elsewhere"}
    assert cl.Store(store.folder).labels == {"L0/1": "hares"}
    session.update(labels={"0_1_0": "the graph's"})
    assert widget.labels["L0/1"] == "the graph's"
    assert store.labels == {"L0/1": "hares"}


def test_all_features_are_walked_in_order(store, monkeypatch):
    monkeypatch.setattr("circuitlab.store.store.WALK", 2)
    assert [evidence.name for evidence in store.walk()] == list(store)
    assert list(store.walk()) == [store[name] for name in store]


def test_densities_filters_and_neighbours(store):
    assert store.densities["L0/2"] == 0.02
    assert len(store.densities) == 10
    store.label_all({"L0/1": "Texas city", "L1/1": "Texas", "L1/4": "other"})
    assert store.filter(layer=1, density=(0.02, 0.03))["name"].tolist() == ["L1/2", "L1/3"]
    assert store.filter(label="TEXAS")["label"].tolist() == ["Texas city", "Texas"]
    assert store.filter(layer=1, label=True)["name"].tolist() == ["L1/1", "L1/4"]
    assert len(store.filter(label=False)) == 7
    assert len(store.filter()) == 10
    assert store.filter(density=(0.9, 1)).empty
    assert store.coactive("L1/3").to_dict("list") == {
        "name": ["L1/1"],
        "label": ["Texas"],
        "count": [7],
        "product": [3.5],
    }
    assert store.nearest((0, 3))["name"].tolist() == ["L0/2"]
    with pytest.raises(ValueError, match="no layer 5"):
        store.filter(layer=5)
    with pytest.raises(ValueError, match="expected \\(low, high\\)"):
        store.filter(density=(0.5, 0.1))
    with pytest.raises(ValueError, match=r"model\.features\.attach\(store\)\.top_for"):
        store.top_for("a text")


# ---- search ----


def test_search_ranks_labels_by_how_they_match_then_tokens(tmp_path):
    rows = [feature(0, i, 10, 1.0, promoted=((6, 0.1),) if i == 6 else ((7, 0.2),)) for i in range(8)]
    examples = [example(0, 7, tokens=(0, 6))]
    store = cl.Store(write_store(tmp_path, manifest(1, 8), [tables(0, rows, examples)], WORDS))
    store.label_all({"L0/5": "a Texas", "L0/1": "Texas", "L0/2": "Texas city", "L0/3": "Utah", "L0/4": "texas"})
    found = store.search(" TEXAS")
    assert found["name"].tolist() == ["L0/1", "L0/4", "L0/2", "L0/5", "L0/6"]
    assert found["match"].tolist() == ["exact", "exact", "prefix", "substring", "exact"]
    assert found["found_in"].tolist() == ["label"] * 4 + ["promoted"]
    assert found["text"].tolist()[-1] == " Texas"
    assert found["density"].tolist() == [0.01] * 5
    assert store.search("texas", examples=True)["name"].tolist()[-1] == "L0/7"
    assert store.search("texas", n=2)["name"].tolist() == ["L0/1", "L0/4"]
    assert store.search("hare")["match"].unique().tolist() == ["exact"]


def test_search_forgives_a_letter_or_two_where_nothing_matches(store):
    store.label_all({"L0/1": "rabbit ears", "L0/2": "rubbish", "L0/3": "antonym of large"})
    assert store.search("rabit ear")["name"].tolist() == ["L0/1"]
    assert store.search("rabit ear")["match"].tolist() == ["similar"]
    assert store.search("antonim")["name"].tolist() == ["L0/3"]
    assert store.search("zzzzzz").empty
    assert list(store.search("zzzzzz").columns)[:3] == ["name", "layer", "index"]


def test_search_sees_labels_given_since_and_takes_odd_texts(store):
    assert "L0/1" not in store.search("Utah")["name"].tolist()
    store.label("L0/1", "Utah")
    assert store.search("utah")["name"].tolist() == ["L0/1"]
    for text in ("'; DROP TABLE labels; --", "%", "(", "\\", "\n\0", "🐇" * 400):
        store.search(text + "x")
    for text in ("", "   ", "a" * 2000):
        with pytest.raises(ValueError, match="search for 1 to 1,000 characters"):
            store.search(text)


def test_search_finds_what_a_plain_scan_finds(tmp_path):
    n = 300
    rows = [feature(0, i, 10, 1.0, promoted=()) for i in range(n)]
    store = cl.Store(write_store(tmp_path, manifest(1, n), [tables(0, rows, [])], WORDS))
    labels = {f"L0/{i}": label for i, label in enumerate(random_labels(n))}
    store.label_all(labels)
    for text in ("rabbit", labels["L0/7"].split()[0], labels["L0/9"][:3]):
        plain = {name for name, label in labels.items() if text in label}
        assert set(store.search(text, n=n)["name"]) == plain


# ---- folders ----


def test_odd_folder_names_are_no_patterns(tmp_path):
    small_store(tmp_path / "a[1]*")
    small_store(tmp_path / "a1x", n_features=4)
    store = cl.Store(tmp_path / "a[1]*")
    assert len(store) == 10
    assert store["L0/4"].largest == 4.0


def test_it_needs_no_torch(tmp_path):
    folder = small_store(tmp_path)
    code = f"""
import sys, circuitlab as cl
store = cl.Store({str(folder)!r})
store["L0/1"], store.search("rabbit"), store.filter(layer=1)
store.label("L0/1", "a")
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store of feature evidence: it has no manifest\.json"):
        cl.Store(tmp_path)
    folder = small_store(tmp_path)
    (folder / "examples-001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"examples-001\.parquet: this file of the store is missing"):
        cl.Store(folder)


def test_a_file_that_goes_missing_later_is_named(store):
    (store.folder / "features-000.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"features-000\.parquet"):
        store["L0/1"]
    assert store["L1/1"].largest == 2.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version is 2; this circuitlab reads 1"),
        ({"transcoder": {"n_layers": -1, "n_features": 3}}, "n_layers = -1"),
        ({"transcoder": {"n_layers": 10**12, "n_features": 3}}, "expected 1 to 32,767"),
        ({"transcoder": {"n_layers": 10**4, "n_features": 3}}, "features-002.parquet"),
    ],
)
def test_another_version_or_nonsense_in_the_manifest_is_refused(tmp_path, change, said):
    path = small_store(tmp_path) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        cl.Store(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", None), ("model", "x"), ("skipped", [1]), ("skipped", {"empty": "1"}), ("n_tokens", "1000"),
        ("n_tokens", 10**400), ("n_records", -1), ("coactivation_positions", None), ("context", {"before": 1.5}),
        ("seed", True), ("corpus", ["x"]), ("shards", [1]), ("transcoder", {"n_layers": 2, "n_features": 10**12}),
        ("transcoder", {"n_layers": True, "n_features": 5}),
    ],
)  # fmt: skip
def test_values_of_another_kind_in_the_manifest_are_refused(tmp_path, key, value):
    path = small_store(tmp_path) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"):
        cl.Store(tmp_path)


def test_a_manifest_nested_without_end_is_refused(tmp_path):
    (small_store(tmp_path) / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"):
        cl.Store(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "reads"),
    [
        ("coactive", [None], True),
        ("nearest", [{"layer": 0, "index": None, "cosine": None}], True),
        ("n_active", None, True),
        ("nearest", [{"layer": 0, "index": 10**6, "cosine": 1.0}], False),
        ("promoted", [{"token_id": 10**6, "weight": 1.0}], False),
    ],
)
def test_rows_with_gaps_and_with_what_is_not_there(store, column, value, reads):
    def changed(rows):
        return [{**row, column: value} for row in rows]

    odd = rewritten(store, "features-000.parquet", FEATURES, changed)
    assert len(odd.coactive("L0/1")) + len(odd.nearest("L0/1")) <= 2
    if reads and column == "n_active":
        assert StoreContexts(odd)["L0/1"].name == "L0/1"
    else:
        with pytest.raises(ValueError, match="L0/1 or its examples do not fit together"):
            StoreContexts(odd)["L0/1"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_parquet_is_named(store, share):
    for name in ("features-000.parquet", "examples-000.parquet", "tokens.parquet"):
        path = store.folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="not a whole Parquet file") as error:
            cl.Store(store.folder)["L0/1"]
        assert name in str(error.value)
        path.write_bytes(whole)


def test_bytes_damaged_in_the_middle_end_in_an_error_or_the_same_answer(store):
    path = store.folder / "features-001.parquet"
    whole, right = path.read_bytes(), store["L1/2"]
    for at in range(8, len(whole) - 8, len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with suppress(ValueError):
            assert cl.Store(store.folder)["L1/2"].name == right.name


def rewritten(store, name, schema, change):
    table = pq.read_table(store.folder / name)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=schema), store.folder / name)
    return cl.Store(store.folder)


def test_other_columns_and_too_many_rows_are_refused(store):
    path = store.folder / "features-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["density"]), path)
    with pytest.raises(ValueError, match=r"features-000\.parquet has the columns layer, index, n_active, largest"):
        cl.Store(store.folder)["L0/1"]
    pq.write_table(table.set_column(3, "density", table["density"].cast(pa.string())), path)
    with pytest.raises(ValueError, match=r"features-000\.parquet: column density holds string; expected double"):
        len(cl.Store(store.folder).densities)
    pq.write_table(pa.concat_tables([table] * 100), path)
    with pytest.raises(ValueError, match=r"features-000\.parquet claims 500 rows; expected at most 5"):
        len(cl.Store(store.folder).summary)


def test_rows_that_do_not_fit_together_are_refused_by_name(store):
    def longer(rows):
        return [{**row, "histogram": [1, 2, 3]} for row in rows]

    with pytest.raises(ValueError, match=r"features-000\.parquet.*L0/1 does not fit together: .* 3 bins has 4 edges"):
        rewritten(store, "features-000.parquet", FEATURES, longer)["L0/1"]

    def elsewhere(rows):
        return [{**row, "token_ids": [0, 99, 1]} for row in rows]

    with pytest.raises(ValueError, match=r"L1/2 does not fit together: there is no token 99 among the 9"):
        rewritten(store, "examples-001.parquet", EXAMPLES, elsewhere)["L1/2"]
