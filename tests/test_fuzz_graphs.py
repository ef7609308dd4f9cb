"""Thousands of damaged and hostile graph files: each opens, or ends in one error that names it, and nothing else."""

import io
import json
import struct
import zipfile

import pyarrow.parquet as pq
import pytest
import torch

from circuitlab.formats.graph_index import list_graphs
from circuitlab.graph import Graph
from tests.fuzz import FUZZ, mutated_bytes, mutated_json, mutated_value, survives
from tests.graphs import closing_graph
from tests.test_graph_files import foreign
from tests.test_graph_pt import contents


def opened(path):
    graph = Graph.open(path)
    repr(graph)
    graph.check()


def fuzz(make, open_it=opened):
    found = survives(make, open_it)
    assert found[1] > FUZZ // 20, "most mutations should be felt"
    print(f"{found[0]} opened, {found[1]} refused")


@pytest.fixture(params=["foreign", "ours"])
def seed_file(request, tmp_path):
    if request.param == "foreign":
        return foreign()
    return json.loads(closing_graph(n_layers=2, n_pos=2).save(tmp_path / "seed.json").read_text())


def test_graph_json(seed_file, tmp_path):
    def make(rng):
        path = tmp_path / "g.json"
        path.write_bytes(mutated_json(seed_file, rng))
        return path

    fuzz(make)


def test_q_params(seed_file, tmp_path):
    """Only the view is damaged: lists, and the texts of a saved page."""
    view = {"pinnedIds": ["1_4_1"], "supernodes": [["a", "1_4_1"]], "clerps": [["1_4_1", "b"]], "sg_pos": "1 2 3"}

    def make(rng):
        file = dict(seed_file)
        file["qParams"] = mutated_value(view, rng)
        if rng.random() < 0.5 and isinstance(file["qParams"], dict):
            texts = {key: mutated_bytes(json.dumps(value).encode(), rng) for key, value in file["qParams"].items()}
            file["qParams"] = {key: text.decode("latin-1") for key, text in texts.items()}
        path = tmp_path / "g.json"
        path.write_text(json.dumps(file))
        return path

    survives(make, opened)


def test_graph_archive(tmp_path):
    whole = closing_graph().save(tmp_path / "seed.zip").read_bytes()

    def make(rng):
        path = tmp_path / "g.zip"
        path.write_bytes(mutated_bytes(whole, rng) if rng.random() < 0.4 else _repacked(whole, rng))
        return path

    fuzz(make)


def _repacked(whole, rng):
    """The archive with one member mutated, so that its checksum holds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        which = names[int(rng.integers(len(names)))]
        for name in names:
            content = old.read(name)
            if name == which:
                json_text = name.endswith(".json")
                content = mutated_json(json.loads(content), rng) if json_text else mutated_bytes(content, rng)
            new.writestr(name, content)
    return buffer.getvalue()


def test_torch_files(tmp_path):
    torch.save(contents() | {"logit_targets": [(" a", 1), ("b", 2)]}, tmp_path / "seed.pt")
    whole = (tmp_path / "seed.pt").read_bytes()

    def make(rng):
        path = tmp_path / "g.pt"
        if rng.random() < 0.3:
            path.write_bytes(mutated_bytes(whole, rng))
            return path
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w") as new:
            names = old.namelist()
            which = names[int(rng.integers(len(names)))] if rng.random() < 0.3 else "seed/data.pkl"
            for name in names:
                content = old.read(name)
                if name == which:
                    content = _other_pickle(content, rng) if name.endswith("pkl") else mutated_bytes(content, rng)
                new.writestr(name, content)
        path.write_bytes(buffer.getvalue())
        return path

    fuzz(make)


def _other_pickle(content, rng):
    """The pickle with numbers, opcodes or names changed."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        act, at = int(rng.integers(4)), int(rng.integers(2, len(made)))
        if act == 0:
            made[at] = b"}](0tRbo\x81\x85\x86\x87NQcXKMJ\x8ahjqru\x93\x94\x96"[int(rng.integers(28))]
        elif act == 1:
            made[at:at] = b"cposix\nsystem\n"
        elif act == 2 and at + 4 < len(made):
            struct.pack_into("<I", made, at, int(rng.integers(2**32)))
        else:
            return mutated_bytes(bytes(made), rng)
    return bytes(made)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_tables(kind, tmp_path):
    graph = closing_graph()
    folder = graph.to_parquet(tmp_path / "t") if kind == "parquet" else graph.to_csv(tmp_path / "t")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}

    def make(rng):
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        name = sorted(whole)[int(rng.integers(3))]
        if kind == "parquet" and name != "graph.json" and rng.random() < 0.4:
            table = pq.read_table(folder / name)
            columns = rng.permutation(table.column_names).tolist()[: int(rng.integers(1, table.num_columns + 1))]
            pq.write_table(table.take(rng.integers(0, len(table), len(table))).select(columns), folder / name)
        elif name == "graph.json":
            (folder / name).write_bytes(mutated_json(json.loads(whole[name]), rng))
        else:
            (folder / name).write_bytes(mutated_bytes(whole[name], rng))
        return folder

    fuzz(make)


def test_folder_index(tmp_path):
    (tmp_path / "x").mkdir()
    index = {"graphs": [{"slug": "a", "scan": "m", "prompt": "p"}, {"slug": "b", "scan": "m", "prompt": "q"}]}

    def make(rng):
        (tmp_path / "x" / "graph-metadata.json").write_bytes(mutated_json(index, rng))
        return tmp_path / "x"

    survives(make, list_graphs)
