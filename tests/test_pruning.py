"""Influence, pruning and scores against the paper's formulas on dense matrices."""

import numpy as np
import pytest
from graphs import closing_graph, dense_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlab.graph import Graph
from circuitlab.pruning import (
    cumulative_influence,
    cutoff,
    edge_influence,
    influence,
    logit_weights,
    row_blocks,
)

SEEDS = st.integers(0, 10_000)


def shares(matrix: np.ndarray) -> np.ndarray:
    """Â: absolute values, rows scaled to 1."""
    size = np.abs(matrix)
    return size / np.maximum(size.sum(1, keepdims=True), 1e-10)


def without_constants(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    keep = ~graph.kind_mask("constant")
    return dense_matrix(graph)[keep][:, keep], keep


def dense_influence(matrix: np.ndarray, start: np.ndarray) -> np.ndarray:
    """p ((I − Â)^{-1} − I), with the inverse the code avoids."""
    return start @ (np.linalg.inv(np.eye(len(matrix)) - shares(matrix)) - np.eye(len(matrix)))


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_influence_is_the_papers_inverse(seed):
    graph = closing_graph(seed)
    matrix, keep = without_constants(graph)
    expected = dense_influence(matrix, logit_weights(graph.nodes)[keep])
    found = influence(graph.links, logit_weights(graph.nodes), keep)
    np.testing.assert_allclose(found[keep], expected, atol=1e-12)
    assert (found[~keep] == 0).all()


def test_the_column_is_influence_itself_missing_at_logits_and_constants():
    graph = closing_graph(density=1.0)
    nodes = graph.nodes.set_index("id")["influence"]
    assert np.isnan(nodes["constant"])
    assert np.isnan(nodes["4_0_2"])
    # Every row of Â sums to 1, so whatever reaches the logits comes from the roots: tokens and errors.
    roots = graph.kind_mask("token", "error")
    assert np.isclose(nodes.to_numpy()[roots].sum(), graph.nodes["probability"].sum())


def test_blocks_cover_all_rows_without_inner_edges():
    graph = closing_graph(seed=4)
    for limit in (3, 10**6):
        blocks = row_blocks(graph.links, limit)
        assert [row for first, last in blocks for row in range(first, last)] == list(range(len(graph.nodes)))
        matrix = dense_matrix(graph)
        assert not any(matrix[first:last, first:last].any() for first, last in blocks)


def test_edge_influence_sums_to_node_influence():
    graph = closing_graph(seed=6)
    flow = edge_influence(graph)
    by_source = np.bincount(graph.links.source, flow, len(graph.nodes))
    expected = graph.nodes["influence"].fillna(0.0)
    np.testing.assert_allclose(by_source, expected, atol=1e-12)


def dense_prune(graph: Graph, node_share: float, edge_share: float) -> tuple[set[str], set[tuple[str, str]]]:
    """The published procedure, step by step on a dense matrix."""
    matrix, inner = without_constants(graph)
    nodes = graph.nodes[inner]
    kind, ids = nodes["kind"].to_numpy(), nodes["id"].to_numpy()
    start = logit_weights(nodes)
    reach = dense_influence(matrix, start)
    order = np.sort(reach)[::-1]
    at = order[min(np.searchsorted(np.cumsum(order) / order.sum(), node_share), len(order) - 1)] * (1 - 1e-10)
    keep = (reach >= at) | np.isin(kind, ("token", "logit"))
    part = np.where(keep[:, None] & keep, matrix, 0.0)
    flow = shares(part) * (dense_influence(part, start) + start)[:, None]
    order = np.sort(flow.ravel())[::-1]
    last = order[min(np.searchsorted(np.cumsum(order) / order.sum(), edge_share), order.size - 1)]
    edges = flow >= last * (1 - 1e-10)  # an only input and an only output tie
    while True:
        edges &= keep[:, None] & keep
        new = keep & (edges.any(0) | np.isin(kind, ("token", "logit"))) & (edges.any(1) | (kind != "feature"))
        if (new == keep).all():
            break
        keep = new
    target, source = np.nonzero(edges)
    return set(ids[keep]), set(zip(ids[source], ids[target], strict=True))


@given(SEEDS, st.sampled_from([0.3, 0.6, 0.8, 0.95]), st.sampled_from([0.5, 0.9, 0.98]))
@settings(max_examples=25, deadline=None)
def test_pruning_agrees_with_the_published_procedure(seed, node_share, edge_share):
    graph = closing_graph(seed, n_layers=3, n_features=3)
    small = graph.prune(node_share, edge_share)
    ids, edges = dense_prune(graph, node_share, edge_share)
    inner = ~small.kind_mask("constant")
    assert set(small.nodes["id"][inner]) == ids
    found = small.edges[(small.edges["source"] != "constant").to_numpy()]
    assert set(zip(found["source"].astype(str), found["target"].astype(str), strict=True)) == edges


def test_constants_stay_in_the_pruned_graph():
    graph = closing_graph(seed=8)
    small = graph.prune(0.6, 0.8)
    assert "constant" in set(small.nodes["id"])
    into = set(small.edges.loc[small.edges["source"] == "constant", "target"])
    assert into == set(small.nodes["id"][small.kind_mask("feature", "logit")])


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_folding_keeps_every_sum(seed):
    graph = closing_graph(seed)
    folded = graph.prune(0.5, 0.7, fold=True)
    assert len(folded.links) < len(graph.links)
    assert folded.check().attrs["worst"] < 1e-13
    assert graph.prune(0.5, 0.7).check().attrs["worst"] > 1e-3


def test_folding_puts_a_cut_feature_into_the_error_of_its_place():
    graph = closing_graph(seed=9)
    small, folded = graph.prune(0.4, 0.6), graph.prune(0.4, 0.6, fold=True)
    target = small.targets["id"].iat[0]
    kept = set(small.inputs(target)["id"])
    before = graph.inputs(target).set_index("id")["weight"]
    place = [i for i in before.index if i.startswith("1_") and i.endswith("_2") and i not in kept]
    assert place
    assert np.isclose(folded.inputs(target).set_index("id")["weight"]["1_-1_2"], before[place].sum())


def test_missing_error_nodes_are_made_when_folding():
    graph = closing_graph(seed=9)
    keep = ~graph.kind_mask("error", "constant")
    bare = Graph(graph.prompt, graph.tokens, graph.nodes[keep], graph.links.select(keep))
    folded = bare.prune(0.4, 0.6, fold=True)
    assert {"error", "constant"} <= set(folded.nodes["kind"])
    np.testing.assert_allclose(
        folded.check().set_index("id")["total"],
        bare.check().set_index("id")["total"][folded.check()["id"]],
        atol=1e-12,
    )


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_scores_are_the_published_ones(seed):
    graph = closing_graph(seed)
    matrix, inner = without_constants(graph)
    kind = graph.nodes["kind"][inner].to_numpy()
    start = logit_weights(graph.nodes)[inner]
    reach = dense_influence(matrix, start)
    replacement = reach[kind == "token"].sum() / reach[(kind == "token") | (kind == "error")].sum()
    explained = 1 - shares(matrix)[:, kind == "error"].sum(1)
    completeness = (explained * (reach + start)).sum() / (reach + start).sum()
    np.testing.assert_allclose(
        [graph.scores().replacement, graph.scores().completeness], [replacement, completeness], rtol=1e-12
    )


def test_scores_do_not_depend_on_constants():
    graph = closing_graph(seed=2)
    keep = ~graph.kind_mask("constant")
    assert Graph(graph.prompt, graph.tokens, graph.nodes[keep], graph.links.select(keep)).scores() == graph.scores()


def test_cutoff_holds_at_least_the_share():
    values = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    found = [cutoff(values, share) for share in (0.0, 0.4, 0.41, 0.7, 1.0)]
    assert found == pytest.approx([4.0, 4.0, 3.0, 3.0, 1.0], rel=1e-9)
    assert all(np.isin(values, value).sum() == 0 for value in found[:-1])  # just below, so that ties are kept


def test_cumulative_influence_is_small_for_the_important():
    np.testing.assert_allclose(cumulative_influence(np.array([1.0, 3.0, np.nan])), [1.0, 0.75, 1.0])


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"prune\(nodes=80\)"):
        closing_graph().prune(nodes=80)
