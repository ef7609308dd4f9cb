"""Graph files: nothing lost, nothing half-written, and every malformed file named with its fault."""

import copy
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitlab.formats.graph_json import graph_from_json, pair, unpair
from circuitlab.graph import Graph
from tests.graphs import closing_graph

REAL = sorted((Path(__file__).parents[2] / "shared/data/graphs").glob("*.json"))
needs_real = pytest.mark.skipif(not REAL, reason="the real graphs of ../shared/data/graphs are not on this machine")


def foreign() -> dict:
    """A small file as other tools write it, with properties that nobody knows."""
    return {
        "metadata": {
            "slug": "s",
            "scan": "gemma",
            "prompt": "a b",
            "prompt_tokens": ["a", " b"],
            "schema_version": 1,
            "x": [1],
        },
        "qParams": {
            "pinnedIds": "E_7_0,1_4_1",
            "supernodes": '[["Texas", "1_4_1"]]',
            "clerps": '[["1_4_1", "in Texas"]]',
        },
        "nodes": [
            node(
                "1_4_1",
                pair(1, 4),
                "1",
                1,
                "cross layer transcoder",
                activation=2.5,
                influence=0.4,
                extra={"y": None},
            ),
            node("0_1_0", -1, "1", 0, "mlp reconstruction error", influence=0.7),
            node("E_7_0", 0, "E", 0, "embedding"),
            node("3_9_1", 9, "3", 1, "logit", clerp='Output " "q""⏎" (p=0.250)', token_prob=0.2501),
        ],
        "links": [
            {"source": "1_4_1", "target": "3_9_1", "weight": -1.5},
            {"source": "E_7_0", "target": "1_4_1", "weight": 2, "why": "z"},
        ],
        "qk_only_nodes": [{"node_id": "k"}],
    }


def node(node_id, feature, layer, pos, kind, clerp="", **more) -> dict:
    required = {"node_id": node_id, "feature": feature, "layer": layer, "ctx_idx": pos, "feature_type": kind}
    return {**required, "jsNodeId": node_id, "clerp": clerp, **more}


def written(graph: Graph, folder: Path) -> dict:
    return json.loads(graph.save(folder / "graph.json").read_text("utf-8"))


@needs_real
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_real_graph_comes_back_value_for_value(path, tmp_path):
    graph = Graph.open(path)
    assert written(graph, tmp_path) == json.loads(path.read_text("utf-8"))
    assert "cannot be checked" in graph.check().attrs["note"]
    assert 0.7 < graph.scores().replacement < 0.75
    assert graph.metadata["n_layers"] == 26


def test_a_foreign_file_is_understood(tmp_path):
    graph = graph_from_json(foreign())
    assert graph.nodes["id"].tolist() == ["E_7_0", "1_-1_0", "1_4_1", "3_9_1"]
    feature, logit = graph.node("1_4_1"), graph.node("3_9_1")
    assert (feature["layer"], feature["feature"], feature["activation"]) == (1, 4, 2.5)
    assert (feature["label"], feature["supernode"]) == ("in Texas", "Texas")
    assert (logit["token"], logit["token_id"], logit["probability"]) == (' "q""⏎', 9, 0.2501)
    assert written(graph, tmp_path) == foreign()


def test_what_was_changed_since_is_written(tmp_path):
    graph = graph_from_json(foreign()).annotate({"1_4_1": "Dallas"}, {"1_4_1": "city"})
    file = written(graph, tmp_path)
    assert file["nodes"][0]["clerp"] == "Dallas"
    assert file["nodes"][0]["extra"] == {"y": None}
    assert json.loads(file["qParams"]["supernodes"]) == [["city", "1_4_1"]]
    again = graph_from_json(file)
    assert (again.node("1_4_1")["label"], again.node("1_4_1")["supernode"]) == ("Dallas", "city")


def test_links_keep_an_unusual_order(tmp_path):
    file = foreign()
    file["links"] = file["links"][::-1]
    assert written(graph_from_json(file), tmp_path) == file


def test_a_pruned_foreign_graph_keeps_what_is_left(tmp_path):
    file = written(graph_from_json(foreign()).prune(1.0, 1.0), tmp_path)
    assert file["metadata"]["pruning_settings"] == {"node_threshold": 1.0, "edge_threshold": 1.0}
    assert file["nodes"] == [foreign()["nodes"][i] for i in (0, 2, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["json", "zip"])
def test_our_graphs_come_back_exactly(kind, dtype, tmp_path):
    graph = closing_graph(dtype=dtype, constants=2).annotate({"0_1_1": "Texas", "E_10_0": "t\n$"}, {"0_1_1": "S"})
    path = graph.save(tmp_path / f"g.{kind}")
    again = Graph.open(path)
    pd.testing.assert_frame_equal(again.nodes, graph.nodes)
    assert again.links.weight.dtype == dtype
    for name in ("indptr", "source", "weight"):
        np.testing.assert_array_equal(getattr(again.links, name), getattr(graph.links, name))
    assert (again.prompt, again.tokens) == (graph.prompt, graph.tokens)
    assert {k: v for k, v in again.metadata.items() if k != "json"} == graph.metadata
    assert again.save(tmp_path / f"h.{kind}").read_bytes() == path.read_bytes()


def test_our_json_follows_the_schema(tmp_path):
    file = written(closing_graph(), tmp_path)
    by_id = {entry["node_id"]: entry for entry in file["nodes"]}
    feature, logit = by_id["1_1_2"], by_id["4_0_2"]
    assert (feature["feature"], feature["layer"], feature["jsNodeId"]) == (pair(1, 1), "1", "1_1-0")
    assert by_id["1_-1_2"]["feature"] == -1
    assert by_id["constant"]["feature_type"] == "bias"
    assert logit["clerp"].startswith('Output " answer0" (p=0.')
    assert (logit["is_target_logit"], logit["jsNodeId"]) == (True, "L_0-2")
    known = [entry["influence"] for entry in file["nodes"] if entry["influence"] is not None]
    most = max((e for e in file["nodes"] if e["influence"] is not None), key=lambda e: e["total_influence"])
    assert most["influence"] == min(known)


@given(st.integers(0, 200), st.integers(0, 99_999))
def test_feature_numbers_unpair(layer, feature):
    assert unpair(pair(layer, feature), layer, cantor=True) == feature
    assert unpair(layer * 100_000 + feature, layer, cantor=False) == feature


def spoil(path: str, value) -> dict:
    """The foreign file with one value replaced, or with `...` deleted."""
    file = copy.deepcopy(foreign())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    owner = file
    for part in parents:
        owner = owner[part]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return file


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("metadata", ..., "metadata is missing"),
        ("metadata.scan", 5, "metadata.scan is 5; expected text"),
        ("metadata.prompt_tokens", ["a", 1], r"prompt_tokens\[1\] is 1"),
        ("nodes", {}, "nodes is {}; expected a list"),
        ("nodes.0.ctx_idx", 2, r"nodes\[0\].ctx_idx is 2; expected a position from 0 to 1"),
        ("nodes.0.ctx_idx", True, r"nodes\[0\].ctx_idx is True"),
        ("nodes.0.layer", "one", r"nodes\[0\].layer is 'one'"),
        ("nodes.0.feature_type", "mystery", "'mystery'; expected one of"),
        ("nodes.0.activation", "2", r"nodes\[0\].activation is '2'"),
        ("nodes.1.node_id", "1_4_1", r"nodes\[0\] and nodes\[1\].*older form"),
        ("nodes.2.node_id", "1_4_1", "every node needs an id of its own"),
        ("nodes.3.token_prob", 1.5, "probability.*from 0 to 1"),
        ("links.0.source", "1_4_2", r"links\[0\].source is '1_4_2'.*nearest: 1_4_1"),
        ("links.0.target", "1_4_1", "cycle"),
        ("links.0.weight", None, r"links\[0\].weight is None"),
        ("links.0.weight", float("inf"), r"links\[0\].weight is inf"),
        ("links.0.weight", 10**400, r"links\[0\].weight"),
        ("links.0", [], r"links\[0\] is \[\]; expected an object"),
        ("links.1", {"source": "1_4_1", "target": "3_9_1", "weight": 1}, "given twice"),
        ("links.1.target", "E_7_0", "cycle|only features"),
        ("qParams.supernodes", "{", "qParams.supernodes"),
        ("qParams.clerps", [[1]], "qParams.clerps"),
    ],
)
def test_malformed_files_are_refused_by_name(path, value, said):
    with pytest.raises(ValueError, match=said) as caught:
        graph_from_json(spoil(path, value), "dallas.json")
    assert str(caught.value).startswith("dallas.json: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON, or cut off"),
        (b"\x80\x02pickle", "byte 0 is not UTF-8"),
        (b"[1, 2]", "expected an object"),
        (b'{"metadata": NaN}', "NaN is in the file"),
        (b"[" * 100_000, "nested too deeply|cut off"),
    ],
)
def test_foreign_bytes_are_refused(content, said, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        Graph.open(path)


@pytest.mark.parametrize("kind", ["json", "zip"])
def test_a_truncated_file_is_refused(kind, tmp_path):
    path = closing_graph().save(tmp_path / f"g.{kind}")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"g.{kind}: not "):
        Graph.open(path)


def test_an_archive_holds_its_members_only(tmp_path):
    path = closing_graph().save(tmp_path / "g.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.py", "1")
    with pytest.raises(ValueError, match=r"found \.\./evil\.py"):
        Graph.open(path)


def test_a_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "g.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "nodes.parquet", "links.parquet"):
            archive.writestr(name, b"\0" * 20_000_000)
    with pytest.raises(ValueError, match="claims 20,000,000 bytes"):
        Graph.open(path)


def test_an_archive_of_another_program_is_refused(tmp_path):
    path = closing_graph().save(tmp_path / "g.zip")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"metadata.json": b'{"format": "other"}'}).items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match='must say "format"'):
        Graph.open(path)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = closing_graph().save(tmp_path / "g.json")
    before = path.read_bytes()
    graph = closing_graph()
    graph.metadata["model"] = object()
    with pytest.raises(ValueError, match=r"graph\.metadata"):
        graph.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["g.pt", "g", "nowhere/g.json"])
def test_where_and_how_to_save_is_said(name, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.json or \.zip|does not exist"):
        closing_graph().save(tmp_path / name)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_compressed_archive_is_named(tmp_path, method):
    path = closing_graph().save(tmp_path / "g.zip")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    content[60:100] = bytes(255 - byte for byte in content[60:100])
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"g\.zip: not a whole zip file"):
        Graph.open(path)


def repacked(tmp_path, member: str, change) -> Path:
    """An archive of ours in which one member was changed."""
    path = closing_graph().save(tmp_path / "g.zip")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_cannot_claim_more_rows_than_its_nodes_allow(tmp_path):
    def bomb(_):
        n = 3_000_000
        table = {
            "target": pa.array(np.zeros(n, np.int32)),
            "source": pa.array(np.zeros(n, np.int32)),
            "weight": pa.array(np.zeros(n, np.float32)),
        }
        sink = io.BytesIO()
        pq.write_table(pa.table(table), sink)
        assert len(sink.getvalue()) < 50_000
        return sink.getvalue()

    with pytest.raises(ValueError, match=r"links\.parquet claims 3,000,000 rows"):
        Graph.open(repacked(tmp_path, "links.parquet", bomb))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"json": 5}, r"metadata\.json is 5; expected an object"),
        ({"json": {"file": 5, "nodes": {}, "links": {}}}, r"metadata\.json\.file is 5"),
        ({"json": {"file": {}, "nodes": {"a": 5}, "links": {}}}, "metadata is missing"),
        ({"json": {"file": {}, "nodes": {}, "links": {}, "link_order": [5, 5]}}, "link_order"),
        ({"pruned": 5}, r"metadata\.pruned is 5; expected an object"),
    ],
)
def test_foreign_metadata_in_an_archive_is_refused(tmp_path, metadata, message):
    path = repacked(
        tmp_path, "metadata.json", lambda old: json.dumps({**json.loads(old), "metadata": metadata}).encode()
    )
    with pytest.raises(ValueError, match=message) as refused:
        Graph.open(path)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation", 10**400), ("layer", 10**30), ("node_id", "1_²_1"), ("node_id", "1_" + "9" * 5000 + "_1")],
)
def test_numbers_of_any_size_are_refused_or_kept_as_text(tmp_path, key, value):
    data = foreign()
    data["nodes"][0][key] = value
    data["links"], data["qParams"] = [], {}
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    if key == "node_id":
        assert value in set(Graph.open(path).nodes.id)
    else:
        with pytest.raises(ValueError, match=r"g\.json: .*too large"):
            Graph.open(path)


def test_a_folder_is_no_place_for_a_graph(tmp_path):
    (tmp_path / "g.json").mkdir()
    with pytest.raises(ValueError, match=r"g\.json is a folder; give the name of a file"):
        closing_graph().save(tmp_path / "g.json")
