"""Labels beside a store: history, who counts, two writers at once, merging, and files that mean harm."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import small_store

import circuitlab as cl
from circuitlab.store import labels as store_labels
from circuitlab.store.labels import Label, Labels, as_table, counting, joined
from circuitlab.store.schema import LABELS

SOURCES = st.sampled_from(store_labels.SOURCES)


@pytest.fixture
def store(tmp_path):
    return cl.Store(small_store(tmp_path / "store"))


def test_labels_last_with_their_history(store):
    store.label("L0/1", "Utah", source="evidence", score=0.5, confidence=0.25)
    store.label((0, 1), "  Texas ")
    store.label("0/1", "<img src=x onerror=alert(1)>")
    again = cl.Store(store.folder)
    assert again.labels == {"L0/1": "<img src=x onerror=alert(1)>"}
    assert again["L0/1"].label == "<img src=x onerror=alert(1)>"
    history = again.history.table("L0/1")
    assert history["label"].tolist() == ["Utah", "Texas", "<img src=x onerror=alert(1)>"]
    assert history["source"].tolist() == ["evidence", "user", "user"]
    assert history["sequence"].tolist() == [0, 1, 2]
    assert history["score"].tolist()[0] == 0.5
    assert history["created"].is_monotonic_increasing
    assert again.history.table("L0/2").empty


def test_the_newest_of_the_best_source_counts(store):
    for source, text in (("user", "mine"), ("language model", "its"), ("bundled", "b"), ("language model", "its new")):
        store.label("L0/1", text, source)
    assert store.labels["L0/1"] == "mine"
    store.label("L0/1", "")
    assert "L0/1" not in store.labels
    store.label("L0/2", "bundled", "bundled")
    store.label("L0/2", "found", "evidence")
    assert store.labels == {"L0/2": "found"}


@given(st.lists(st.tuples(SOURCES, st.text("ab", max_size=2)), max_size=8))
def test_counting_is_the_plain_rule(given_labels):
    rows = [Label("L0/0", text, source, sequence=at) for at, (source, text) in enumerate(given_labels)]
    newest = [row for row in rows if not any(r.source == row.source and r.sequence > row.sequence for r in rows)]
    kept = [row for row in newest if row.label or row.source == "user"] or newest
    best = min(kept, key=lambda row: store_labels.SOURCES.index(row.source), default=None)
    assert counting(as_table(rows)) == ({best.name: best.label} if best is not None else {})


@pytest.mark.parametrize(
    ("name", "text", "source", "said"),
    [
        ("../../x", "a", "user", "names no feature"),
        ("L0/99", "a", "user", "layer 0 has no feature 99"),
        ("L0/1", "a" * 1_000_000, "user", "the label for L0/1 has 1,000,000 characters; expected at most 1,000"),
        ("L0/1", "\ud800", "user", "half a character"),
        ("L0/1", "a", "hearsay", "comes from user, language model, evidence, bundled, not from 'hearsay'"),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(store, name, text, source, said):
    with pytest.raises(ValueError, match=said):
        store.label(name, text, source)
    assert not store.history.path.exists()


def test_two_processes_writing_at_once_lose_nothing(store):
    code = """
import sys, circuitlab as cl
store = cl.Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for at in range(25):
    store.label(f"L{sys.argv[2]}/1", f"writer {sys.argv[2]}, {at}")
"""
    command = [sys.executable, "-c", code, str(store.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(2)]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        writer.stdin.close()
        writer.stdout.close()
    history = store.history.table()
    assert len(history) == 50
    assert history["sequence"].tolist() == list(range(50))
    for number in range(2):
        own = history[history["name"] == f"L{number}/1"]["label"].tolist()
        assert own == [f"writer {number}, {at}" for at in range(25)]
    assert store.labels == {"L0/1": "writer 0, 24", "L1/1": "writer 1, 24"}


def test_a_lock_that_is_held_is_reported(store, monkeypatch):
    monkeypatch.setattr(store_labels, "LOCK_SECONDS", 0.05)
    with (
        store_labels.FileLock(store.folder / store_labels.LOCK_FILE),
        pytest.raises(TimeoutError, match=r"labels\.parquet: another process has been writing labels"),
    ):
        store.label("L0/1", "a")


def test_a_clock_that_goes_back_keeps_the_order(store):
    store.label("L0/1", "later")
    (row,) = store.history.table().to_dict("records")
    store.history._write(as_table([Label(**{**row, "created": "2999-01-01T00:00:00.000000+00:00"})]))
    store.label("L0/1", "now")
    assert store.labels["L0/1"] == "now"
    assert store.history.table()["created"].tolist()[1] == "2999-01-01T00:00:00.000001+00:00"


def test_harvesting_again_leaves_labels_alone(store):
    store.label("L0/1", "Texas")
    small_store(store.folder, n_features=6)
    assert cl.Store(store.folder).labels == {"L0/1": "Texas"}


def test_merging_joins_histories_once(store, tmp_path):
    store.label("L0/1", "first")
    other = cl.Store(small_store(tmp_path / "other"))
    other.history.merge([store.folder])
    other.label("L0/1", "second")
    other.label("L0/2", "theirs", "evidence")
    store.history.merge([other.folder, tmp_path / "nothing"])
    store.history.merge([other.folder])
    assert store.history.table()["label"].tolist() == ["first", "second", "theirs"]
    assert store.labels == {"L0/1": "second", "L0/2": "theirs"}


@settings(max_examples=50)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["L0/0", "L0/1"]), st.text("ab", max_size=1), SOURCES,
       st.sampled_from(["2026-01-01", "2026-01-02"])), max_size=4), min_size=3, max_size=3))  # fmt: skip
def test_joining_is_the_same_in_any_order_and_repeats_nothing(histories):
    rows = [
        [
            Label(name, text, source, created=created, sequence=at)
            for at, (name, text, source, created) in enumerate(part)
        ]
        for part in histories
    ]
    a, b, c = rows
    assert joined(a + b + c) == joined(c + a + b) == joined(joined(a + b + c) + b)


def test_damaged_label_files_are_named(store):
    path = store.history.path
    store.label("L0/1", "Texas")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"labels\.parquet is not a whole Parquet file"):
        len(store.labels)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"labels\.parquet is not a whole Parquet file"):
        store.label("L0/1", "more")
    pq.write_table(pa.table({"name": ["L0/1"]}), path)
    with pytest.raises(ValueError, match=r"labels\.parquet has the columns name; expected name, label"):
        len(store.labels)


@pytest.mark.parametrize("row", [{"label": "a" * 2000}, {"name": "../../x"}, {"label": None}, {"sequence": None}])
def test_label_files_with_rows_that_are_no_labels_are_refused(tmp_path, row):
    good = {
        "name": "L0/1",
        "label": "a",
        "source": "user",
        "score": None,
        "confidence": None,
        "created": "",
        "sequence": 0,
    }
    pq.write_table(pa.Table.from_pylist([good, {**good, **row}], schema=LABELS), tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match=r"labels\.parquet: row 1 is no label of a feature") as error:
        len(Labels(tmp_path).current)
    assert len(str(error.value)) < 400
