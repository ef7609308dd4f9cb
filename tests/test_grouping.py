"""Grouping: edges between groups against S'AS by dense matrices, and the groups' tables."""

import numpy as np
import pandas as pd
import pytest
from graphs import closing_graph, dense_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlab.graph import Graph, Links
from circuitlab.grouping import Grouped, group
from circuitlab.view import View


def with_weights(graph: Graph, weight: np.ndarray) -> Graph:
    return Graph(graph.prompt, graph.tokens, graph.nodes, Links(graph.links.indptr, graph.links.source, weight))


def membership(graph: Graph, grouped: Grouped) -> np.ndarray:
    rows = {node_id: row for row, node_id in enumerate(graph.nodes["id"])}
    s = np.zeros((len(graph.nodes), len(grouped.nodes)))
    for column, members in enumerate(grouped.nodes["members"]):
        s[[rows[m] for m in members], column] = 1
    return s


def as_matrix(grouped: Grouped) -> np.ndarray:
    index = {name: i for i, name in enumerate(grouped.nodes["name"])}
    matrix = np.diag(grouped.nodes["within"].to_numpy())
    for source, target, weight in grouped.edges[["source", "target", "weight"]].itertuples(index=False):
        matrix[index[target], index[source]] += weight
    return matrix


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_groups=st.integers(0, 5), restrict=st.booleans())
def test_grouped_edges_are_those_of_the_dense_product(seed, n_groups, restrict):
    rng = np.random.default_rng(seed)
    graph = closing_graph(seed, n_layers=int(rng.integers(1, 4)), density=float(rng.uniform(0.1, 1.0)))
    graph = with_weights(graph, rng.integers(-99, 99, len(graph.links)).astype(np.float32))  # sums are exact
    ids = graph.nodes["id"].to_numpy(dtype=object)
    choice = rng.integers(-1, n_groups, len(ids)) if n_groups else np.full(len(ids), -1)
    supernodes = {f"group {g}": list(ids[choice == g]) for g in range(n_groups) if (choice == g).any()}
    only = [str(i) for i in rng.choice(ids, 3, replace=False)] if restrict else None
    grouped = group(graph, supernodes, only)
    s = membership(graph, grouped)
    np.testing.assert_array_equal(as_matrix(grouped), s.T @ dense_matrix(graph) @ s)
    assert s.sum() == (len(ids) if only is None else len({*only, *ids[choice >= 0]}))


def test_sums_are_taken_in_float64():
    graph = closing_graph(seed=3)
    weight = np.full(len(graph.links), 1.0, dtype=np.float32)
    weight[0] = 2.0**24
    everything = [i for i in graph.nodes["id"] if not i.startswith("4_")]
    grouped = group(with_weights(graph, weight), {"all": everything})
    total = grouped.edges["weight"].sum() + grouped.nodes["within"].sum()
    assert total == 2**24 + len(weight) - 1
    assert grouped.edges["weight"].dtype == np.float64


def test_the_table_of_groups():
    graph = closing_graph(seed=1).annotate({"1_0_2": "capital"})
    grouped = group(graph, {"S": ["0_0_1", "2_1_2"], "words": ["E_10_0", "0_0_0"]})
    table = grouped.nodes.set_index("name")
    s = table.loc["S"]
    assert (s["kind"], s["members"], s["n_members"]) == ("feature", ("0_0_1", "2_1_2"), 2)
    assert (s["layer_first"], s["layer_last"], s["pos_first"], s["pos_last"]) == (0, 2, 1, 2)
    assert s["activation"] == graph.node("0_0_1")["activation"] + graph.node("2_1_2")["activation"]
    assert s["influence"] == pytest.approx(graph.node("0_0_1")["influence"] + graph.node("2_1_2")["influence"])
    assert np.isnan(s["probability"])
    assert table.loc["words", "kind"] == "mixed"
    assert pd.isna(table.loc["constant", "layer_first"])
    assert table.loc["1_0_2", "label"] == "capital"
    assert table["n_members"].sum() == len(graph.nodes)


def test_inputs_and_outputs_are_the_strongest_first():
    graph = closing_graph(seed=1)
    grouped = group(graph, {"S": ["1_0_2", "2_1_2"]})
    inputs = grouped.inputs("S")
    assert (inputs["target"] == "S").all()
    assert (np.diff(inputs["weight"].abs()) <= 0).all()
    assert set(grouped.outputs("S")["target"]) <= {"2_0_2", "4_0_2", "4_1_2"}


def test_a_view_groups_too_and_only_its_subgraph_is_kept():
    view = View(pinned=["4_0_2"], supernodes={"S": ["1_0_2", "2_1_2"]})
    graph = closing_graph(seed=1, density=1.0)
    grouped = group(graph, view, only=view.pinned)
    assert grouped.nodes["name"].tolist() == ["S", "4_0_2"]
    weights = [graph.inputs("4_0_2").set_index("id")["weight"][m] for m in ("1_0_2", "2_1_2")]
    assert grouped.edges["weight"].tolist() == [pytest.approx(sum(weights))]
    assert grouped.edges["n_edges"].tolist() == [2]


def test_a_graph_without_edges_or_groups():
    grouped = group(closing_graph(seed=1), {}, only=[])
    assert (len(grouped.nodes), len(grouped.edges)) == (0, 0)


@pytest.mark.parametrize(
    ("supernodes", "said"),
    [({"S": []}, "is empty"), ({"S": ["1_0_2"], "T": ["1_0_2"]}, "in 'S' and"), ({"S": ["1_0_7"]}, "nearest")],
)
def test_impossible_groups_are_refused(supernodes, said):
    with pytest.raises(ValueError, match=said):
        group(closing_graph(seed=1), supernodes)
