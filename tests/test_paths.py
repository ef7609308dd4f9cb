"""Strongest paths against full enumeration."""

import numpy as np
import pandas as pd
import pytest
from graphs import closing_graph, dense_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlab.graph import Graph, Links
from circuitlab.paths import path_text, word_of

ROOTS = ("token", "error", "constant")


def all_paths(graph: Graph, target: int, kinds: tuple[str, ...]) -> dict[tuple[int, ...], float]:
    """Every path and its contribution, by walking back from the target."""
    matrix, kind = dense_matrix(graph), graph.nodes["kind"].to_numpy()
    value = graph.nodes["pre_activation"].to_numpy()
    found: dict[tuple[int, ...], float] = {}

    def walk(row: int, rest: tuple[int, ...], product: float) -> None:
        for source in np.flatnonzero(matrix[row]):
            share = matrix[row, source] / (1.0 if row == target else value[row])
            path, total = (int(source), *rest), product * share
            if kind[source] in kinds:
                found[path] = total
            walk(source, path, total)

    walk(target, (target,), 1.0)
    return found


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_all_paths_add_up_to_the_logit(seed):
    graph = closing_graph(seed, n_layers=2, n_pos=2, n_features=2)
    paths = graph.paths(100_000, sources=ROOTS)
    assert np.isclose(paths["contribution"].sum(), graph.targets["pre_activation"].iat[0], rtol=1e-9, atol=1e-9)
    assert np.isclose(paths["share"].sum(), 1.0, rtol=1e-7)


@given(st.integers(0, 10_000), st.sampled_from([("token",), ROOTS, ("feature",), ("token", "feature")]))
@settings(max_examples=25, deadline=None)
def test_the_strongest_are_those_of_full_enumeration(seed, kinds):
    graph = closing_graph(seed, n_layers=2, n_pos=2, n_features=2)
    target = graph.row(graph.targets["id"].iat[0])
    everything = all_paths(graph, target, kinds)
    expected = sorted(map(abs, everything.values()), reverse=True)[:7]
    paths = graph.paths(7, sources=kinds)
    np.testing.assert_allclose(paths["contribution"].abs(), expected, rtol=1e-9)
    for ids, amount in zip(paths["nodes"], paths["contribution"], strict=True):
        assert np.isclose(everything[tuple(graph.row(i) for i in ids)], amount)


def test_a_share_above_one_is_followed():
    """The way through a and b begins weaker than the direct edge, then a's share of b is 5."""
    nodes = pd.DataFrame(
        {
            "id": ["E_1_0", "0_-1_0", "0_1_0", "1_1_0", "3_1_0"],
            "kind": ["token", "error", "feature", "feature", "logit"],
            "layer": [None, 0, 0, 1, None],
            "pre_activation": [None, None, 1.0, 1.0, 3.0],
        }
    )
    edges = [(2, 0, 1.0), (3, 2, 5.0), (3, 1, -4.0), (4, 0, 2.0), (4, 3, 1.0)]
    target, source, weight = (np.array(column) for column in zip(*edges, strict=True))
    graph = Graph("x", ("x",), nodes, Links.from_pairs(target, source, weight.astype(float), 5))
    assert graph.paths(2)["contribution"].tolist() == [5.0, 2.0]
    assert graph.paths(1)["nodes"].iat[0] == ("E_1_0", "0_1_0", "1_1_0", "3_1_0")


def test_target_may_be_a_feature():
    graph = closing_graph(seed=3)
    paths = graph.paths(10_000, target="2_0_1", sources=ROOTS)
    assert np.isclose(paths["contribution"].sum(), graph.node("2_0_1")["pre_activation"])


def test_activations_serve_where_a_file_has_no_pre_activations():
    graph = closing_graph(seed=3)
    nodes = graph.nodes.assign(pre_activation=np.nan)
    foreign = Graph(graph.prompt, graph.tokens, nodes, graph.links)
    np.testing.assert_allclose(foreign.paths(5)["contribution"], graph.paths(5)["contribution"])
    assert foreign.paths(5)["share"].isna().all()
    with pytest.raises(ValueError, match="neither pre_activation nor activation"):
        Graph(graph.prompt, graph.tokens, nodes.assign(activation=np.nan), graph.links).paths(5)


def test_text_is_one_line_and_cuts_the_middle():
    graph = closing_graph().annotate({"0_1_0": "Texas"})
    rows = [graph.row(i) for i in ("E_10_0", "0_1_0", "4_0_2")]
    assert path_text(graph, rows, 1.234) == 't0 → L0/1 "Texas" → answer0  +1.23'
    assert path_text(graph, [*rows[:2] * 5, rows[2]], -0.5).count("→") == 6


def test_pieces_of_words_show_their_word():
    assert word_of(("[BOS]", " Dal", "las", " is"), 2) == "Dal·las"
    assert word_of((" Dal", "las"), 0) == "Dal"
    assert word_of((" small", '"'), 1) == '"'
    assert word_of(("小", "大"), 1) == "大"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"n": 0}, "n=0"), ({"sources": ("tokens",)}, "tokens"), ({"target": "E_10_0"}, "is a token")],
)
def test_bad_questions_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        closing_graph().paths(**options)
