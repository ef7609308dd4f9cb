"""Reading corpora: the same records from every kind of file, what is wrong said by record, data sets streamed."""

import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from circuitlab import corpus
from circuitlab.corpus import Record, describe, records, total_size

TEXTS = ["one fish", "two fish\nin two lines", "красная рыба"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS) + "\n\n\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    pd.DataFrame({"text": TEXTS, "other": 1}).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "ignored.bin").write_bytes(b"\0")
    return tmp_path


@pytest.mark.parametrize("name", ["a.txt", "b.jsonl", "c.parquet"])
def test_files_give_the_same_records(files, name):
    assert [record.content for record in records(files / name)] == TEXTS
    assert describe(files / name) == name
    assert total_size(files / name) == (files / name).stat().st_size


def test_a_folder_gives_its_files_in_order(files):
    assert [record.content for record in records(files)] == TEXTS * 3
    assert describe(files).endswith("(3 files)")


def test_iterables_of_texts_bytes_and_token_ids():
    found = list(records(["a", b"b", [1, 2], None, b"\xff"]))
    assert [record.content for record in found[:3]] == ["a", "b", [1, 2]]
    assert [record.problem for record in found[3:]] == ["no text field", "not UTF-8"]


def test_what_is_no_text_and_no_token_ids_is_a_record_with_a_problem():
    odd = [["a"], [1.5], [True], [None], [[1]], [10**30], np.array([0.5]), np.array(3), {"words": "x"}, 3.5]
    assert {record.problem for record in records(odd)} == {corpus.NO_TEXT}
    numbers = [{"text": "a row"}, np.array([1, 2]), torch.tensor([3, 4]), range(2), []]
    assert [record.content for record in records(numbers)] == ["a row", [1, 2], [3, 4], [0, 1], []]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\n\nt\xffo")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\n')
    assert [record.content for record in records(tmp_path)] == ["one", "", "one"]
    assert "byte 9 is 0xff" in list(records(tmp_path))[1].detail


def test_a_number_of_too_many_digits_is_one_bad_record(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"n": ' + "1" * 5000 + '}\n{"text": "b"}\n')
    assert [record.problem for record in records(tmp_path / "a.jsonl")] == ["", corpus.NOT_JSON, ""]


@pytest.mark.parametrize("texts", [[["a"]], [{"a": "b"}], [1], [1.5], [True]])
def test_a_parquet_column_of_something_else_is_named(tmp_path, texts):
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: the column text holds .*; expected text"):
        list(records(tmp_path / "a.parquet"))


def test_parquet_by_dictionary_bytes_and_nothing(tmp_path):
    for at, column in enumerate([pa.array(["a", "a"]).dictionary_encode(), pa.array([b"a", b"\xff"]), pa.nulls(2)]):
        parquet.write_table(pa.table({"text": column}), tmp_path / f"{at}.parquet")
    found = [record.content or record.problem for record in records(tmp_path)]
    assert found == ["a", "a", "a", corpus.UNDECODABLE, corpus.NO_TEXT, corpus.NO_TEXT]


def test_damaged_parquet_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": [f"some words {at}" for at in range(5000)]}), path)
    raw = bytearray(path.read_bytes())
    raw[100:4000] = np.random.default_rng(0).bytes(3900)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.parquet is damaged after row"):
        list(records(path))


def test_long_texts_from_python_are_cut_too(monkeypatch):
    monkeypatch.setattr(corpus, "LONGEST", 9)
    found = list(records(["рыба рыба", "рыба", "123456789", {"text": "1234567890"}, "\ud800" * 4]))
    assert [(record.content, record.cut) for record in found] == [
        ("рыба ", True), ("рыба", False), ("123456789", False), ("123456789", True), ("", True),
    ]  # fmt: skip


def test_a_text_too_long_is_cut_at_a_character(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "LONGEST", 9)
    (tmp_path / "a.txt").write_text("рыба рыба\n\nb", encoding="utf-8")
    first, second = records(tmp_path / "a.txt")
    assert (first.content, first.cut) == ("рыба", True)
    assert (second.content, second.cut) == ("b", False)


def test_what_is_wrong_names_the_place(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n[1]\n\xff\n')
    (tmp_path / "b.txt").write_bytes(b"good\n\nab\xffd\n")
    found = [record.detail for record in records(tmp_path) if record.problem]
    assert "a.jsonl, line 2 holds '[1]'" in found[0]
    assert "a.jsonl, line 3 is no UTF-8 text" in found[1]
    assert "b.txt is no UTF-8 text: byte 8 is 0xff" in found[2]


def test_a_data_set_is_streamed(monkeypatch):
    asked = []

    def load(name, config, split, streaming):
        asked.append((name, config, split, streaming))
        return iter([{"text": "a"}, {"text": None}, {"text": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = list(records("owner/name:small@test"))
    assert asked == [("owner/name", "small", "test", True)]
    assert found == [
        Record("a"),
        Record(problem="no text field", detail="owner/name, row 1 holds no text"),
        Record("b"),
    ]
    assert total_size("owner/name") is None
    assert describe("owner/name:small@test") == "owner/name:small@test"


def test_a_data_set_without_text_says_its_columns(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **options: iter([{"words": "a", "label": 1}]))
    with pytest.raises(ValueError, match="has the columns words, label; expected one named text"):
        list(records("owner/name"))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.txt", FileNotFoundError, "there is no corpus 'nowhere.txt'"),
        ("./no/folder", FileNotFoundError, "there is no corpus"),
        (7, ValueError, "a corpus is a path, .* not int"),
        (b"text", ValueError, "not bytes"),
    ],
)
def test_what_is_no_corpus(source, error, message):
    with pytest.raises(error, match=message):
        list(records(source))


def test_a_folder_without_texts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no \.txt"):
        list(records(tmp_path))
