"""bench/compare.py must see what is wrong: it is the oracle of the comparison with circuit-tracer."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[1] / "bench" / "compare.py"

# one layer, two positions: 0 constant, 1 and 2 tokens, 3 error, 4 feature, 5 logit; position 0 is masked
OURS = {
    "kind": np.array(["constant", "token", "token", "error", "feature", "logit"]),
    "layer": np.array([-1, -1, -1, 0, 0, -1]),
    "pos": np.array([-1, 0, 1, 1, 1, 1]),
    "feature": np.array([-1, -1, -1, -1, 7, -1]),
    "token_id": np.array([-1, 5, 6, -1, -1, 9]),
    "activation": np.array([np.nan, np.nan, np.nan, np.nan, 1.5, np.nan]),
    "probability": np.array([np.nan] * 5 + [0.25]),
    "indptr": np.array([0, 0, 0, 0, 0, 3, 6]),
    "source": np.array([0, 1, 2, 2, 3, 4]),
    "weight": np.array([9.0, 1.0, -2.0, 4.0, 0.5, 3.0]),
    "tokens": np.array([5, 6]),
    "scores": np.array([0.5, 0.75]),
}


def peer() -> dict[str, np.ndarray]:
    matrix = np.zeros((6, 6))  # 0 feature, 1 and 2 errors, 3 and 4 tokens, 5 logit; rows are targets
    matrix[0, [3, 4]] = 1.0, -2.0
    matrix[5, [4, 2, 0]] = 4.0, 0.5, 3.0
    names = {"features": np.array([[0, 1, 7]]), "tokens": np.array([5, 6]), "logits": np.array([9])}
    values = {"activations": np.array([1.5]), "probabilities": np.array([0.25])}
    return {"matrix": matrix, **names, **values, "n_layers": np.array(1), "scores": np.array([0.5, 0.75])}


@pytest.fixture
def agreement(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_compare", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_compare", module)
    spec.loader.exec_module(module)

    def run(ours, theirs):
        np.savez(tmp_path / "ours.npz", **ours)
        np.savez(tmp_path / "peer.npz", **theirs)
        return module.compare(tmp_path / "ours.npz", tmp_path / "peer.npz")

    return run


def test_the_same_graph_agrees_and_constants_take_no_part(agreement):
    found = agreement(OURS, peer())
    assert found.edges == 0.0
    assert (found.edges_ours, found.edges_peer, found.features_only_in_one) == (5, 5, 0)
    assert found.activations == found.probabilities == 0.0


@pytest.mark.parametrize(("target", "source"), [(0, 3), (5, 2), (5, 0), (0, 1)])
def test_one_changed_or_additional_edge_is_seen(agreement, target, source):
    theirs = peer()
    theirs["matrix"][target, source] += 0.4
    assert agreement(OURS, theirs).edges == pytest.approx(0.1)


def test_an_edge_of_a_node_that_only_we_have_is_seen(agreement):
    theirs = peer() | {"features": np.array([[0, 1, 8]])}
    theirs["matrix"][0] = theirs["matrix"][:, 0] = 0.0  # so that only our own edges can tell
    found = agreement(OURS, theirs)
    assert found.features_only_in_one == 2
    assert found.edges == pytest.approx(3.0 / 4.0)


def test_graphs_of_other_prompts_are_refused(agreement):
    with pytest.raises(ValueError, match=r"other prompts: \[5, 6\] and \[5, 7\]"):
        agreement(OURS, peer() | {"tokens": np.array([5, 7])})
