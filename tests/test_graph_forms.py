"""Every form of graph JSON that FORMATS names, drawn at random: what goes in comes out, and the tables agree.

Mutations that break it: dropping a link's further keys, writing errors' ids anew, sorting nodes, rounding a weight.
"""

import csv
import json
import string
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import circuitlab as cl
from circuitlab.formats.graph_index import list_graphs, write_graph_index
from circuitlab.formats.graph_json import _depths, graph_from_json, pair
from circuitlab.graph import Graph
from tests.graphs import closing_graph
from tests.test_graph_files import REAL, foreign, needs_real

text = st.text(st.characters(codec="utf-8"), max_size=8)
number = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: x + 0.0)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
extra = st.dictionaries(st.text("xyz", min_size=3, max_size=5), anything, max_size=2)
TYPES = ("cross layer transcoder", "lorsa", "unknown", "unexplored node")


@st.composite
def files(draw) -> dict:
    """A graph file in some mixture of the forms that are in use."""
    n_layers, n_pos = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    cantor, old_errors = draw(st.booleans()), draw(st.booleans())
    tokens = draw(st.lists(text | st.sampled_from(["⏎", "→", " a", "<bos>"]), min_size=n_pos, max_size=n_pos))
    nodes, rank = {}, {}

    def add(node_id, feature, layer, pos, kind, js, order, clerp="", **more):
        common = {"node_id": node_id, "feature": feature, "layer": layer, "ctx_idx": pos, "feature_type": kind}
        nodes.setdefault(node_id, {**common, "jsNodeId": js, "clerp": clerp, **more, **draw(extra)})
        rank.setdefault(node_id, order)

    for pos in range(n_pos):
        vocab = draw(st.integers(0, 99))
        add(f"E_{vocab}_{pos}", pos, "E", pos, "embedding", f"E_{vocab}-{pos}", -1)
    for layer in range(n_layers):
        as_given = draw(st.sampled_from([str(layer), layer]))
        for pos in range(n_pos):
            error = f"0_{layer}_{pos}" if old_errors else f"{layer}_-1_{pos}"
            add(error, -1, as_given, pos, "mlp reconstruction error", f"{layer}_{pos}-0", layer, influence=draw(number))
            for feature in draw(st.sets(st.integers(10, 99_999), max_size=2)):
                said = pair(layer, feature) if cantor else layer * 100_000 + feature
                qk = {"qk_tracing_results": {"pair_wise_contributors": [["a", "b", draw(number)]]}}
                more = draw(st.sampled_from([{}, {"influence": None, "activation": 2}, {"activation": 1.5}, qk]))
                kind, clerp = draw(st.sampled_from(TYPES)), draw(text | st.none())
                add(f"{layer}_{feature}_{pos}", said, as_given, pos, kind, f"{layer}_{feature}-0", layer, clerp, **more)
    chances = draw(st.lists(st.integers(1, 400), min_size=1, max_size=2, unique=True))
    for vocab, chance in enumerate(chances):
        clerp = f'Output "{draw(text)}" (p={chance / 1000:.3f})'
        more = draw(st.sampled_from([{}, {"token_prob": chance / 1000, "is_target_logit": True}]))
        last = n_layers + 1
        add(f"{last}_{vocab}_{n_pos - 1}", vocab, str(last), n_pos - 1, "logit", f"L_{vocab}", 99, clerp, **more)
    ids = draw(st.permutations(list(nodes)))
    targets = [i for i in ids if rank[i] == 99 or nodes[i]["feature_type"] in TYPES]
    pairs = [(s, t) for t in targets for s in ids if rank[s] < rank[t]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12)) if pairs else []
    links = [{"source": s, "target": t, "weight": draw(number | st.integers(-9, 9)), **draw(extra)} for s, t in chosen]
    file = {
        "metadata": {"slug": "s", "scan": draw(text), "prompt": draw(text), "prompt_tokens": tokens, **draw(extra)},
        "qParams": draw(view_of(ids)),
        "nodes": [nodes[i] for i in ids],
        "links": links,
        **draw(extra),
    }
    if cantor:
        file["metadata"]["schema_version"] = 1
    if draw(st.booleans()):
        file["qk_only_nodes"] = [draw(st.sampled_from(file["nodes"]))]
    return file


@st.composite
def view_of(draw, ids) -> dict:
    """qParams as lists, or as a saved page's texts."""
    members = draw(st.lists(st.sampled_from(ids), unique=True, max_size=4))
    groups = [[draw(st.text(string.ascii_letters, min_size=1, max_size=4)), i] for i in members[:2]]
    pinned = members[1:]
    if draw(st.booleans()):
        return {"pinnedIds": pinned, "supernodes": groups, "linkType": "both", "clickedId": "", "sg_pos": ""}
    labels = [[i, draw(st.text(string.ascii_letters, min_size=1, max_size=4))] for i in members[2:]]
    page = {"pinnedIds": ",".join(pinned), "supernodes": json.dumps(groups), "clerps": json.dumps(labels)}
    return {**page, "pruningThreshold": "0.6", **draw(extra)}


def same_tables(one: Graph, other: Graph) -> None:
    pd.testing.assert_frame_equal(one.nodes, other.nodes)
    for name in ("indptr", "source", "weight"):
        np.testing.assert_array_equal(getattr(one.links, name), getattr(other.links, name))


@given(files())
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_goes_in_comes_out(tmp_path_factory, file):
    folder = tmp_path_factory.mktemp("forms")
    graph = graph_from_json(json.loads(json.dumps(file)))
    again = Graph.open(graph.save(folder / "g.json"))
    assert json.loads((folder / "g.json").read_text("utf-8")) == file
    same_tables(again, graph)
    assert again.metadata == graph.metadata
    archived = Graph.open(graph.save(folder / "g.zip"))
    same_tables(archived, graph)
    assert json.loads(archived.save(folder / "h.json").read_text("utf-8")) == file
    for write in (graph.to_parquet, graph.to_csv):
        tables = Graph.open(write(folder / write.__name__))
        same_tables(tables, graph)
        assert json.loads(tables.save(folder / "i.json").read_text("utf-8")) == file


def test_a_file_without_view_gets_the_required_fields(tmp_path):
    file = foreign()
    del file["qParams"]
    written = json.loads(graph_from_json(file).save(tmp_path / "g.json").read_text("utf-8"))
    assert written.keys() >= {"metadata", "qParams", "nodes", "links"}
    assert {key: value for key, value in written.items() if key != "qParams"} == file


def test_a_feature_number_beyond_any_dictionary_is_left_missing():
    file = foreign()
    file["nodes"][0] |= {"node_id": "1_99999999999_1"}
    file["links"][0]["source"] = file["links"][1]["target"] = "1_99999999999_1"
    file["qParams"] = {}
    graph = graph_from_json(file)
    assert graph.nodes.set_index("id").feature.isna()["1_99999999999_1"]


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_one_layer_model_is_legal(n_layers, tmp_path):
    graph = closing_graph(n_layers=n_layers)
    again = Graph.open(graph.save(tmp_path / "g.json"))
    assert again.n_layers == n_layers
    same_tables(again, graph)


@needs_real
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_graphs_go_through_everything(path, tmp_path):
    graph = Graph.open(path)
    small = graph.prune(0.6, 0.9)
    assert 0 < len(small.nodes) < len(graph.nodes)
    assert 0 < small.scores().completeness <= 1
    some = small.nodes.id[small.kind_mask("feature")].tolist()[:4]
    view = small.view()
    view.supernodes = {"a": some[:2], "b": some[2:]}
    assert small.savefig(tmp_path / "sub.svg", view=view).stat().st_size > 1000
    assert small.savefig(tmp_path / "whole.pdf").stat().st_size > 1000
    assert small.to_html(tmp_path / "page.html").stat().st_size > 10_000
    same_tables(Graph.open(graph.to_parquet(tmp_path / "tables")), graph)
    first = graph.nodes[graph.kind_mask("feature")].iloc[0]
    assert graph.neuronpedia_url(first["id"]) == (
        f"https://www.neuronpedia.org/gemma-2-2b/{first['layer']}-clt-hp/{first['feature']}"
    )
    assert graph.neuronpedia_url(graph.targets.id.iloc[0]) is None


@pytest.mark.parametrize(
    ("metadata", "page"),
    [
        ({"feature_details": {"neuronpedia_source_set": "gemmascope-transcoder-16k"}}, "1-gemmascope-transcoder-16k/4"),
        ({"transcoder_list": ["gemma/0-clt", "gemma/1-clt"]}, "1-clt/4"),
        ({"transcoder_list": ["mntss/clt-gemma-2-2b-426k"]}, None),
        ({"feature_details": {"neuronpedia_source_set": "../../evil"}}, None),
        ({"info": {"source_urls": ["https://evil.org/gemma/x", 5]}}, None),
        ({}, None),
    ],
)
def test_neuronpedia_pages(metadata, page):
    file = foreign()
    file["metadata"] |= metadata
    found = graph_from_json(file).neuronpedia_url("1_4_1")
    assert found == (page and f"https://www.neuronpedia.org/gemma/{page}")


def test_networkx_has_the_same_edges():
    graph = closing_graph()
    made = graph.to_networkx()
    assert list(made) == graph.nodes.id.tolist()
    assert {(s, t): w["weight"] for s, t, w in made.edges(data=True)} == {
        (e.source, e.target): e.weight for e in graph.edges.itertuples()
    }
    assert made.nodes["0_1_1"]["layer"] == 0
    assert "probability" not in made.nodes["0_1_1"]
    assert made.graph["prompt"] == graph.prompt


def test_csv_keeps_what_is_hard_to_keep(tmp_path):
    graph = closing_graph(dtype=np.float32).annotate({"0_1_1": 'a "quoted", line\nand\r\nanother', "0_0_0": "NA"})
    graph.nodes.loc[0, "label"] = ""
    again = Graph.open(graph.to_csv(tmp_path / "t"))
    same_tables(again, graph)
    assert again.links.weight.dtype == np.float32
    assert again.metadata == graph.metadata


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "'=1", "''=1", "'", "'a", "a=1", "a\n=1", ""])
def test_csv_holds_no_formula(tmp_path, text):
    graph = closing_graph()
    graph.nodes.loc[0, "label"] = text
    folder = graph.to_csv(tmp_path / "t")
    with (folder / "nodes.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert not labels[0].startswith(("=", "+", "-", "@", "\t"))
    assert labels[0].endswith(text)
    same_tables(Graph.open(folder), graph)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("graph.json", None, "no such file"),
        ("graph.json", b"{}", 'must say "format"'),
        ("edges.csv", None, "no such file"),
        ("edges.csv", b"source,target,weight\na,b,1\n", "the source 'a' is no node"),
        ("edges.csv", b"source,target\n", "has the columns"),
        ("nodes.csv", b"\xff\xfe", "nodes.csv"),
    ],
)
def test_malformed_tables_are_named(name, content, said, tmp_path):
    folder = closing_graph().to_csv(tmp_path / "t")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        Graph.open(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_and_its_index(tmp_path):
    graph_from_json(foreign()).save(tmp_path / "one.json")
    closing_graph().save(tmp_path / "two.json")
    (tmp_path / "other.json").write_text("[]")
    found = cl.list_graphs(tmp_path)
    assert found.prompt.tolist() == ["a b", " t0 t1 t2"]
    index = json.loads(write_graph_index(tmp_path).read_text("utf-8"))
    assert [entry["slug"] for entry in index["graphs"]] == ["one", "two"]
    assert index["graphs"][0]["x"] == [1]
    listed = list_graphs(tmp_path)
    assert [Graph.open(path).prompt for path in listed.path] == ["a b", " t0 t1 t2"]
    (tmp_path / "graph-metadata.json").write_text('{"graphs": [{"slug": "../x", "scan": "", "prompt": ""}]}')
    with pytest.raises(ValueError, match=r"graphs\[0\]\.slug"):
        list_graphs(tmp_path)


def test_a_long_chain_is_sorted_at_once():
    """A sweep per level would take the square of the chain's length."""
    n = 50_000
    start = time.process_time()
    depth = _depths("g", [{"id": str(i)} for i in range(n)], np.arange(1, n), np.arange(n - 1))
    assert time.process_time() - start < 1
    assert depth.tolist() == list(range(n - 1, -1, -1))
