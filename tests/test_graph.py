"""Graph: what is accepted, what its tables say, and that the check can fail."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from graphs import closing_graph

from circuitlab.graph import NODE_COLUMNS, Graph, Links
from circuitlab.links import SharedSources
from circuitlab.pruning import influence


def links_of(edges: list[tuple[int, int, float]], n: int) -> Links:
    target, source, weight = (np.array(column) for column in zip(*edges, strict=True))
    return Links.from_pairs(target, source, weight.astype(float), n)


def small(edges=((1, 0, 2.0), (2, 1, 3.0)), **columns) -> Graph:
    nodes = pd.DataFrame({"id": ["E_5_0", "0_7_0", "2_9_0"], "kind": ["token", "feature", "logit"], **columns})
    return Graph("x", ("x",), nodes, links_of(list(edges), 3), {})


def test_columns_have_their_order_and_types():
    nodes = small().nodes
    assert {name: str(dtype) for name, dtype in nodes.dtypes.items()} == NODE_COLUMNS
    assert nodes["layer"].isna().all()


def test_edges_table_names_ids():
    assert small().edges.astype({"source": str, "target": str}).to_numpy().tolist() == [
        ["E_5_0", "0_7_0", 2.0],
        ["0_7_0", "2_9_0", 3.0],
    ]


def test_check_closes_and_notices_a_wrong_edge():
    graph = closing_graph(seed=3)
    assert graph.check().attrs["worst"] < 1e-14
    weight = graph.links.weight.copy()
    weight[5] *= 1.01
    wrong = Graph(graph.prompt, graph.tokens, graph.nodes, Links(graph.links.indptr, graph.links.source, weight))
    assert wrong.check().attrs["worst"] > 1e-5


def test_check_counts_constants():
    graph = closing_graph(seed=1)
    keep = ~graph.kind_mask("constant")
    without = Graph(graph.prompt, graph.tokens, graph.nodes[keep], graph.links.select(keep))
    assert without.check().attrs["worst"] > 1e-3


def test_check_says_why_it_cannot():
    assert "no pre_activation" in small().check().attrs["note"]
    assert np.isnan(small().check().attrs["worst"])


def test_unsorted_rows_are_sorted():
    links = Links(np.array([0, 0, 0, 2]), np.array([1, 0]), np.array([5.0, 7.0]))
    assert links.source.tolist() == [0, 1]
    assert links.weight.tolist() == [7.0, 5.0]


def test_links_select_matches_the_dense_matrix():
    graph = closing_graph(seed=2)
    dense = np.zeros((len(graph.nodes),) * 2)
    dense[graph.links.targets(), graph.links.source] = graph.links.weight
    keep = np.random.default_rng(0).random(len(graph.nodes)) < 0.6
    part = graph.links.select(keep)
    found = np.zeros((keep.sum(),) * 2)
    found[part.targets(), part.source] = part.weight
    np.testing.assert_array_equal(found, dense[keep][:, keep])


@pytest.mark.parametrize(
    ("indptr", "source", "weight", "said"),
    [
        ([0, 1], [1], [1.0], "row numbers run from 0 to 0"),
        ([0, 2, 1], [0], [1.0], "must rise"),
        ([0, 0, 1], [0], [np.nan], "finite"),
        ([0, 0, 2], [0, 0], [1.0, 2.0], "given twice"),
    ],
)
def test_malformed_links_are_refused(indptr, source, weight, said):
    with pytest.raises(ValueError, match=said):
        Links(np.array(indptr), np.array(source), np.array(weight))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": ["a", "a", "b"]}, "'a' occurs more than once"),
        ({"kind": ["token", "featur", "logit"]}, "'featur'"),
        ({"pos": [0, 1, 0]}, "at position 1; the prompt has 1 tokens"),
        ({"lable": ["", "", ""]}, "did you mean label"),
        ({"layer": [0.5, 1, 2]}, "'layer' must hold Int32"),
    ],
)
def test_malformed_nodes_are_refused(columns, said):
    with pytest.raises(ValueError, match=said):
        small(**columns)


def test_a_backward_edge_is_refused_as_a_cycle():
    with pytest.raises(ValueError, match=r"0_7_0 → 0_7_0.*cycles"):
        small(edges=[(1, 1, 1.0)])


def test_edges_into_tokens_are_refused():
    nodes = pd.DataFrame({"id": ["a", "b"], "kind": ["token", "token"]})
    with pytest.raises(ValueError, match="only features and logits"):
        Graph("x", ("x",), nodes, links_of([(1, 0, 1.0)], 2))


def test_inputs_and_outputs_come_strongest_first():
    graph = closing_graph(seed=5)
    table = graph.inputs("2_0_2")
    assert table["weight"].abs().is_monotonic_decreasing
    assert np.isclose(table["share"].sum(), 1.0)
    edge = graph.outputs(table["id"].iat[0]).set_index("id")
    assert edge.loc["2_0_2", "weight"] == table["weight"].iat[0]


def test_unknown_ids_get_near_misses():
    with pytest.raises(ValueError, match=r"no node '0_8_0'.*nearest: 0_7_0"):
        small().node("0_8_0")


def test_annotate_names_nodes_and_leaves_the_original():
    graph = small()
    assert graph.annotate({"0_7_0": "Texas"}).names[1] == "Texas"
    assert graph.names[1] != "Texas"


def test_repr_says_prompt_answer_and_size():
    assert repr(small(token=["x", None, " Austin"], probability=[None, None, 0.93])) == (
        "<Graph 'x' → Austin (93%): 3 nodes, 2 edges>"
    )


def test_an_empty_graph_is_legal():
    links = Links(np.zeros(1, int), np.zeros(0, int), np.zeros(0))
    graph = Graph("", (), pd.DataFrame({"id": [], "kind": []}), links)
    assert len(graph.edges) == 0
    assert np.isnan(graph.scores().replacement)


def test_the_table_side_never_imports_torch():
    code = (
        "import sys, circuitlab.graph, circuitlab.paths, circuitlab.figures, circuitlab.pruning, "
        "circuitlab.layout;"
        "import circuitlab.formats.graph_json_writer, circuitlab.formats.graph_archive;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_runs_that_share_their_sources_give_the_same_links():
    rng = np.random.default_rng(3)
    runs = [SharedSources(3, 5, np.array([0, 2], np.int32)), SharedSources(5, 6, np.array([0, 1, 2, 4], np.int32))]
    weight = rng.normal(size=8)
    links = Links.from_runs(runs, weight, 6)
    plain = Links(np.array([0, 0, 0, 0, 2, 4, 8]), np.array([0, 2, 0, 2, 0, 1, 2, 4]), weight)
    for name in ("indptr", "source", "weight"):
        assert np.array_equal(getattr(links, name), getattr(plain, name))
    assert np.array_equal(links.last_sources(), plain.last_sources())
    counted, start = np.array([True, False, True, True, True, True]), np.array([0.0, 0, 0, 0, 0.3, 0.7])
    np.testing.assert_allclose(influence(links, start, counted), influence(plain, start, counted), rtol=1e-12)


def test_runs_refuse_what_does_not_fit():
    runs = [SharedSources(1, 2, np.array([0], np.int32))]
    with pytest.raises(ValueError, match="1 edges but there are 2 weights"):
        Links.from_runs(runs, np.ones(2), 2)
    with pytest.raises(ValueError, match="must be finite"):
        Links.from_runs(runs, np.array([np.nan]), 2)


def test_counts_leave_constants_and_their_edges_out_everywhere():
    from circuitlab.figures.whole import legible
    from circuitlab.page.header import what_is_shown
    from circuitlab.widgets.columns import columns

    graph = closing_graph()
    constant = graph.nodes["id"][graph.kind_mask("constant")]
    table = graph.edges[~graph.edges["source"].isin(constant)]
    n_nodes, n_edges = graph.counts
    assert (n_nodes, n_edges) == (len(graph.nodes) - len(constant), len(table))
    assert n_edges < len(graph.edges)
    assert json.loads(columns(graph).strings)["n_edges"] == n_edges
    assert f"{n_nodes} nodes, {n_edges} edges" in repr(graph)
    assert f"{n_nodes} nodes and {n_edges} edges" in what_is_shown(graph, graph, n_edges, "")
    assert legible(graph, 1000)[1] == f"{n_nodes} nodes"


@pytest.mark.parametrize(
    ("chance", "said"),
    [(0, "0%"), (1e-5, "<0.1%"), (0.004, "0.4%"), (0.25, "25%"), (0.996, "99.6%"), (0.99996, ">99.9%"), (1, "100%")],
)
def test_a_probability_is_certain_only_where_it_is(chance, said):
    from circuitlab.figures.scene import percent as in_figures
    from circuitlab.graph import percent
    from circuitlab.page.text import percent as on_pages

    assert percent(chance) == in_figures(chance) == on_pages(chance) == said
