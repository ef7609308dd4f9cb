"""Routes against full enumeration of paths on small graphs."""

import numpy as np
import pytest

from circuitlab.graph import Graph
from circuitlab.routes import contributions, routes
from tests.graphs import closing_graph


def every_path(graph, row, target, weight=None):
    """(nodes, contribution) of every path from a node into the target, by walking all of them."""
    links, pre_activation = graph.links, graph.nodes.pre_activation.to_numpy(float)
    if row == target:
        return [((target,), 1.0)]
    found = []
    for t in range(row + 1, target + 1):
        for edge in range(links.indptr[t], links.indptr[t + 1]):
            if links.source[edge] == row and (t == target or graph.nodes.kind.iat[t] == "feature"):
                share = links.weight[edge] / (1.0 if t == target else pre_activation[t])
                found += [((row, *nodes), share * rest) for nodes, rest in every_path(graph, t, target)]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_contribution_is_the_sum_over_all_paths(seed):
    graph = closing_graph(seed)
    target = graph.targets.id.iloc[0]
    end = graph.row(target)
    total = contributions(graph, target)
    for row in np.flatnonzero(graph.kind_mask("token")):
        assert total[row] == pytest.approx(sum(weight for _, weight in every_path(graph, row, end)))


@pytest.mark.parametrize("seed", range(4))
def test_a_route_is_the_sum_over_the_paths_that_pass_its_label(seed):
    graph = closing_graph(seed)
    features = graph.nodes.id[graph.kind_mask("feature")]
    labelled = graph.annotate(labels={features.iloc[1]: "mine", features.iloc[6]: "mine"})
    end = labelled.row(labelled.targets.id.iloc[0])
    marked = {labelled.row(features.iloc[1]), labelled.row(features.iloc[6])}
    table = routes(labelled, n=50)
    assert set(table.label) == {"mine"}
    for row in np.flatnonzero(labelled.kind_mask("token")):
        passing = sum(weight for nodes, weight in every_path(labelled, row, end) if marked & set(nodes))
        word = labelled.tokens[int(labelled.nodes.pos.iat[row])].strip()
        assert table.set_index("word").contribution[word] == pytest.approx(passing)


def test_constants_tokens_and_errors_make_up_the_whole_logit():
    graph = closing_graph(2)
    total = contributions(graph, graph.targets.id.iloc[0])
    sources = graph.kind_mask("constant", "token", "error")
    assert total[sources].sum() == pytest.approx(graph.targets.pre_activation.iloc[0])


def test_no_labels_no_routes():
    assert routes(closing_graph(0)).empty


def test_routes_need_a_target_and_a_number():
    graph = closing_graph(0)
    with pytest.raises(ValueError, match="n=0: ask for at least 1 route"):
        routes(graph, n=0)
    keep = ~graph.kind_mask("logit")
    with pytest.raises(ValueError, match="no logit"):
        routes(Graph(graph.prompt, graph.tokens, graph.nodes[keep], graph.links.select(keep)))
