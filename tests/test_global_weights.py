"""Virtual weights and TWERA against brute force in float64 on a tiny model; circuits prune and draw."""

import numpy as np
import pandas as pd
import pytest
import torch
from models import random_transcoder, tiny_hf_model

import circuitlab as cl
from circuitlab.features import writes_to
from circuitlab.global_weights import strongest_pairs, virtual_weights
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.replacement import ReplacementModel

TEXTS = np.random.default_rng(5).integers(1, 97, (30, 12)).tolist()


def tiny(family: str = "llama", **hooks) -> ReplacementModel:
    return ReplacementModel(cl.load_model(tiny_hf_model(family)), random_transcoder(**hooks), {"L1/5": "Texas"})


@pytest.fixture(scope="module")
def attached(tmp_path_factory):
    """A tiny model with a store that lists all 72 features as partners, so that every pair is known."""
    loaded = tiny()
    folder = tmp_path_factory.mktemp("store")
    harvest(loaded, TEXTS, folder, HarvestSettings(n_partners=100), name="texts")
    loaded.features.attach(folder)
    return loaded


@pytest.fixture(scope="module")
def activations(attached):
    """[pos, layer, feat] over all positions but the first of each text."""
    sites = [f"blocks.{layer}.hook_resid_mid" for layer in range(3)]
    seen = attached.model.capture(torch.tensor(TEXTS), sites)[1]
    layers = [attached.transcoder.encode(layer, seen[site])[:, 1:].flatten(0, 1) for layer, site in enumerate(sites)]
    return torch.stack(layers, 1).double().numpy()


GEMMA = {"input_hook": "mlp.hook_in", "output_hook": "mlp.hook_out"}


@pytest.mark.parametrize(("family", "hooks"), [("llama", {"kind": "plt"}), ("gemma2", GEMMA)])
def test_the_matrix_of_a_layer_pair_is_made_of_single_features_weights(family, hooks):
    loaded = tiny(family, **hooks)
    matrix = virtual_weights(loaded.model, loaded.transcoder, 0, 2)
    for index in (0, 11, 23):
        torch.testing.assert_close(matrix[:, index], writes_to(loaded.model, loaded.transcoder, 0, index)[1])
    with pytest.raises(ValueError, match="0 <= source < target <= 2"):
        virtual_weights(loaded.model, loaded.transcoder, 2, 2)


@pytest.mark.parametrize("chunk", [5, 24])
def test_the_strongest_pairs_are_those_of_the_whole_matrix(chunk):
    loaded = tiny()
    matrix = virtual_weights(loaded.model, loaded.transcoder, 0, 1).numpy()
    size = np.abs(matrix)
    up = size >= np.sort(size, axis=1)[:, -3:-2]
    down = size >= np.sort(size, axis=0)[-3:-2]
    table = strongest_pairs(loaded.features, 0, 1, k=3, chunk=chunk)
    found = {(s, t): w for s, t, w in table.itertuples(index=False)}
    assert found.keys() == {(f"L0/{i}", f"L1/{j}") for j, i in zip(*np.nonzero(up | down), strict=True)}
    for (source, target), weight in found.items():
        assert weight == pytest.approx(matrix[int(target[3:]), int(source[3:])], rel=1e-12)


def brute_twera(loaded, activations, source, target) -> float:
    a_i, a_j = activations[:, source[0], source[1]], activations[:, target[0], target[1]]
    virtual = virtual_weights(loaded.model, loaded.transcoder, source[0], target[0])[target[1], source[1]]
    return float((a_j * a_i).mean() / a_j.mean() * virtual)


def test_twera_is_the_expected_attribution_weighted_by_the_target(attached, activations):
    features = attached.features
    up = features.upstream("L2/3", n=100, weights="twera")
    assert len(up) == 48
    for row in up.itertuples():
        expected = brute_twera(attached, activations, (row.layer, row.index), (2, 3))
        assert row.weight == pytest.approx(expected, rel=1e-5)
        assert row.together == np.sum((activations[:, row.layer, row[4]] > 0) & (activations[:, 2, 3] > 0))
    assert up["weight"].abs().is_monotonic_decreasing
    down = features.downstream("L0/7", n=5, weights="twera")
    assert set(down["layer"]) <= {1, 2}
    everything = [brute_twera(attached, activations, (0, 7), (layer, j)) for layer in (1, 2) for j in range(24)]
    strongest = sorted(everything, key=lambda weight: -abs(weight))[:5]
    assert down["weight"].tolist() == pytest.approx(strongest, rel=1e-5)


def test_a_pair_listed_by_either_feature_is_known(attached, tmp_path):
    """Partner lists of one: what a feature lists, and what lists it."""
    harvest(attached, TEXTS, tmp_path, HarvestSettings(n_partners=1), name="texts")
    few = ReplacementModel(attached.model, attached.transcoder, {}).features.attach(tmp_path)
    listed = {name: few.store.coactive(name)["name"].tolist() for name in few.store}
    for name in ("L2/3", "L2/8"):
        pairs = set(listed[name]) | {other for other, partners in listed.items() if name in partners}
        assert set(few.upstream(name, 100, "twera")["name"]) == {pair for pair in pairs if pair[:2] != "L2"}


def test_virtual_weights_are_the_neighbours_of_the_evidence(attached):
    up = attached.features.upstream("L2/3")
    known = attached.features["L2/3"].reads_from
    assert up["name"].tolist() == [neighbour.name for neighbour in known]
    assert up["weight"].tolist() == pytest.approx([neighbour.weight for neighbour in known])
    assert len(attached.features.upstream("L0/3")) == 0


@pytest.mark.parametrize("weights", ["virtual", "twera"])
def test_a_circuit_is_a_graph_that_prunes_and_draws(attached, activations, tmp_path, weights):
    graph = attached.features.circuit("Texas", weights=weights, n=3)
    assert graph.metadata["kind"] == "global"
    assert "1_5_0" in set(graph.nodes["id"])
    assert set(graph.nodes["kind"]) == {"feature", "logit"}
    nodes = graph.nodes.set_index("id")
    checked = 0
    for edge in graph.edges.itertuples():
        source, target = nodes.loc[edge.source], nodes.loc[edge.target]
        if target["kind"] == "feature":
            places = [(int(node["layer"]), int(node["feature"])) for node in (source, target)]
            matrix = virtual_weights(attached.model, attached.transcoder, places[0][0], places[1][0])
            virtual = float(matrix[places[1][1], places[0][1]])
            expected = virtual if weights == "virtual" else brute_twera(attached, activations, *places)
            assert edge.weight == pytest.approx(expected, rel=1e-5)
            checked += 1
    assert checked >= 6
    small = graph.prune(0.5, 0.8)
    assert 1 < small.kind_mask("feature").sum() < graph.kind_mask("feature").sum()
    assert len(small.links) > 1
    small.savefig(tmp_path / "circuit.svg")
    assert "Texas" in (tmp_path / "circuit.svg").read_text()
    for name in ("circuit.zip", "circuit.json"):
        again = cl.Graph.open(graph.save(tmp_path / name))
        assert again.metadata["kind"] == "global"
        pd.testing.assert_frame_equal(again.nodes, graph.nodes)
        assert "%" not in repr(again), "the tokens it promotes have no probability"


def test_what_cannot_be_asked_is_said():
    features = tiny().features
    with pytest.raises(ValueError, match="attach its store"):
        features.upstream("L2/3", weights="twera")
    with pytest.raises(ValueError, match="not one of virtual, twera; twera"):
        features.upstream("L2/3", weights="twerra")
    with pytest.raises(ValueError, match="L1/5 is labelled 'Texas'"):
        features.circuit("Texsa")
