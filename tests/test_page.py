"""The page of a graph: what it says, that it is whole in itself, and that strangers' labels stay text."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from graphs import closing_graph

from circuitlab.page import page, write_page

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\u202eevil\n\x00'


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="graph-data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def hostile_graph():
    graph = closing_graph(seed=3)
    feature = graph.nodes.loc[graph.kind_mask("feature"), "id"].iloc[0]
    annotated = graph.annotate({feature: HOSTILE}, {feature: HOSTILE})
    nodes = annotated.nodes.copy()
    nodes.loc[nodes["kind"].isin(("token", "logit")), "token"] = HOSTILE
    metadata = {**annotated.metadata, "model": HOSTILE, "transcoder": HOSTILE}
    return type(graph)(HOSTILE, (HOSTILE,) * len(graph.tokens), nodes, annotated.links, metadata)


def test_it_loads_nothing_from_elsewhere():
    html = page(closing_graph())
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!data:,)\w""", html.split("<script")[0])
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\(", html)


def test_only_the_script_and_style_that_were_hashed_run():
    html = page(closing_graph())
    assert len(re.findall(r"<script[ >]", html)) == 2
    assert len(re.findall(r"<style[ >]", html)) == 1
    assert not re.search(r"\son\w+=|\sstyle=", html.split("<script")[0])


def test_it_shows_the_answer_with_its_probability():
    graph = closing_graph()
    best = graph.targets.iloc[0]
    assert f'<span class="answer">answer0</span> <span class="chance">{best["probability"]:.0%}<' in page(graph)


def test_it_says_what_was_pruned():
    graph = closing_graph(n_layers=4, n_pos=4, n_features=3)
    small = graph.prune(0.6, 0.9)
    html = page(graph, nodes=0.6, edges=0.9)
    assert f"{small.counts[0]} of {graph.counts[0]} nodes" in html
    assert len(data_of(html)["nodes"]["id"]) == len(small.nodes)


def test_a_pruned_graph_is_shown_as_it_is():
    small = closing_graph().prune(0.7, 0.9)
    html = page(small)
    assert data_of(html)["nodes"]["id"] == small.nodes["id"].tolist()
    assert "was pruned before" in html


def test_everything_is_listed_when_nothing_is_pruned():
    graph = closing_graph()
    data = data_of(page(graph, nodes=1.0, edges=1.0))
    assert len(data["edges"]["weight"]) == len(graph.links)
    assert sorted(map(abs, data["edges"]["weight"]), reverse=True) == list(map(abs, data["edges"]["weight"]))


def test_listed_edges_are_the_graphs_own():
    graph = closing_graph()
    data = data_of(page(graph, nodes=1.0, edges=1.0))
    ids, edges = data["nodes"]["id"], data["edges"]
    listed = {(ids[s], ids[t]): w for s, t, w in zip(edges["source"], edges["target"], edges["weight"], strict=True)}
    for source, target, weight in graph.edges.itertuples(index=False):
        assert listed[source, target] == pytest.approx(weight, rel=1e-5)


def test_share_is_of_all_that_flows_into_the_target_before_pruning():
    graph = closing_graph(n_layers=4, n_pos=4, n_features=3)
    data = data_of(page(graph, nodes=0.6, edges=0.9))
    target = data["nodes"]["id"][data["edges"]["target"][0]]
    source = data["nodes"]["id"][data["edges"]["source"][0]]
    inputs = graph.inputs(target).set_index("id")
    assert data["edges"]["share"][0] == pytest.approx(inputs.loc[source, "share"], rel=1e-5)


def test_every_drawn_edge_is_in_the_table():
    graph = closing_graph(n_layers=4, n_pos=4, n_features=4)
    html = page(graph, nodes=1.0, edges=1.0, max_listed=1, max_drawn=30)
    drawn = sorted(map(int, re.findall(r'data-edge="(\d+)"', html)))
    listed = len(data_of(html)["edges"]["weight"])
    assert len(drawn) == 30
    assert drawn[-1] < listed
    assert f"Listed are {listed:,} of {len(graph.links):,} edges" in html


def test_every_visible_node_is_drawn_once():
    graph = closing_graph()
    rows = [int(row) for row in re.findall(r'data-row="(\d+)"', page(graph, nodes=1.0, edges=1.0))]
    assert rows == np.flatnonzero(~graph.kind_mask("constant")).tolist()


def test_paths_name_rows_of_the_node_table():
    graph = closing_graph(seed=1)
    html = page(graph, nodes=1.0, edges=1.0, n_paths=3)
    ids = data_of(html)["nodes"]["id"]
    found = [tuple(ids[int(row)] for row in path.split()) for path in re.findall(r'data-path="([^"]+)"', html)]
    assert found == graph.paths(3)["nodes"].tolist()


def test_routes_are_listed_where_features_have_labels():
    graph = closing_graph(seed=1)
    assert "Strongest routes" not in page(graph)
    first, second = graph.nodes.loc[graph.kind_mask("feature"), "id"].iloc[[0, 2]]
    html = page(graph.annotate({first: "state", second: "state"}), nodes=1.0, edges=1.0)
    groups = re.findall(r'data-group="([^"]+)"', html)
    ids = data_of(html)["nodes"]["id"]
    assert "Strongest routes" in html
    assert {tuple(ids[int(row)] for row in group.split()) for group in groups} == {(first, second)}


def test_hostile_labels_are_text():
    html = page(hostile_graph(), nodes=1.0, edges=1.0)
    assert len(re.findall(r"<script[ >]", html)) == 2
    assert "<img" not in html
    assert "\u202e" not in html
    assert "\x00" not in html
    assert any("<img src=x" in name for name in data_of(html)["nodes"]["name"])


def test_a_graph_with_little_in_it_has_a_page():
    graph = closing_graph(n_layers=1, n_pos=1, n_features=1, n_logits=1)
    nodes = graph.nodes[~graph.kind_mask("logit", "feature")].reset_index(drop=True)
    keep = ~graph.kind_mask("logit", "feature")
    bare = type(graph)("", ("a",), nodes, graph.links.select(keep, np.zeros(len(graph.links), dtype=bool)))
    html = page(bare)
    assert "None to show" in html
    assert data_of(html)["edges"]["source"] == []


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    first = write_page(closing_graph(), tmp_path / "a.html").read_bytes()
    assert write_page(closing_graph(), tmp_path / "b.html").read_bytes() == first


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.html, not in '\.pdf'"):
        write_page(closing_graph(), tmp_path / "a.pdf")
    with pytest.raises(ValueError, match="max_listed=0"):
        write_page(closing_graph(), tmp_path / "a.html", max_listed=0)
    assert list(tmp_path.iterdir()) == []


def test_an_unbuilt_front_end_is_named(monkeypatch, tmp_path):
    import circuitlab.page as module

    monkeypatch.setattr(module, "STATIC", tmp_path)
    module._bundle.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"page\.js is missing.*make setup"):
        page(closing_graph())


def test_a_page_needs_no_torch():
    code = "import sys, circuitlab.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
