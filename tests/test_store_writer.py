"""Writing a store: its columns, its manifest, and that it is whole or as it was."""

import errno
import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from circuitlab.store import writer
from circuitlab.store.schema import EXAMPLES, FEATURES, MANIFEST, Manifest, examples_file, features_file
from circuitlab.store.writer import LayerTables, write_store

MODEL = {"name": "toy", "fingerprint": "m"}
TRANSCODER = {"name": "clt", "fingerprint": "t", "kind": "clt", "n_layers": 1, "n_features": 3}


def manifest(**changes) -> Manifest:
    given = {"corpus": "three texts", "seed": 0, "context": {"before": 4, "after": 1, "piece": 8}}
    return Manifest(**{**given, "model": MODEL, "transcoder": TRANSCODER, "n_records": 3, "n_tokens": 9, **changes})


def tables() -> LayerTables:
    feature = {
        "layer": 0, "index": 1, "n_active": 2, "density": 0.25, "largest": 3.0, "sum": 4.0, "sum_squares": 10.0,
        "histogram": [1, 1], "histogram_edges": [0.0, 2.0, 4.0], "promoted": [{"token_id": 1, "weight": 0.5}],
        "suppressed": [], "logit_histogram": [2], "logit_histogram_edges": [0.0, 1.0],
        "coactive": [{"layer": 0, "index": 2, "count": 1, "product": 1.5}], "nearest": [],
    }  # fmt: skip
    example = {
        "layer": 0, "index": 1, "quantile": 0, "quantile_name": "Top", "rank": 0, "token_ids": [0, 1],
        "activations": [0.0, 3.0], "peak": 1, "copies": 2, "record": 0, "position": 1,
    }  # fmt: skip
    return LayerTables(
        0, pa.Table.from_pylist([feature], schema=FEATURES), pa.Table.from_pylist([example], schema=EXAMPLES)
    )


def test_what_is_written_is_read_again(tmp_path):
    write_store(tmp_path / "store", manifest(), [tables()], ["<s>", " the"])
    assert Manifest.read(tmp_path / "store") == manifest()
    assert parquet.read_table(tmp_path / "store" / features_file(0)).to_pylist() == tables().features.to_pylist()
    assert parquet.read_table(tmp_path / "store" / examples_file(0)).to_pylist() == tables().examples.to_pylist()
    names = {path.name for path in (tmp_path / "store").iterdir()}
    assert names == {MANIFEST, features_file(0), examples_file(0), "tokens.parquet"}


def test_equal_stores_are_equal_bytes(tmp_path):
    for name in "ab":
        write_store(tmp_path / name, manifest(), [tables()], ["<s>", " the"])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    write_store(tmp_path, manifest(), [tables()], ["<s>"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path):
        if "manifest" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_store(tmp_path, manifest(seed=7), [tables()], ["<other>"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_columns_are_refused(tmp_path):
    odd = LayerTables(0, pa.table({"layer": [0]}), tables().examples)
    with pytest.raises(ValueError, match="has the columns layer, index"):
        write_store(tmp_path, manifest(), [odd], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema_version is 9"),
        ({"seed": None}, None),
        ({"transcoder": {"n_layers": 0, "n_features": 1}}, "n_layers = 0"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path, change, message):
    data = json.loads(manifest().to_json()) | change
    if message is None:
        del data["seed"]
        message = "lacks seed"
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="make one with circuitlab harvest"):
        Manifest.read(tmp_path)
