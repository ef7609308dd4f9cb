"""Graphs from prompts: targets, the node table, max_features, device and dtype, interrupts."""

import numpy as np
import pytest
import torch

from circuitlab.model import load_model
from circuitlab.replacement import load
from circuitlab.targets import Direction, LogitDifference, require_whole
from circuitlab.tracing import trace
from tests.models import FAMILIES, PROMPT, STORIES, hooks_of, needs_stories, random_transcoder, tiny_hf_model


@pytest.fixture(scope="module")
def llama():
    return load_model(tiny_hf_model("llama"))


@pytest.fixture(scope="module")
def clt():
    return random_transcoder("clt")


def test_automatic_targets_cover_the_mass(llama, clt):
    probabilities = llama.logits(torch.tensor([PROMPT]))[0, -1].softmax(-1).sort(descending=True).values
    graph = trace(llama, clt, PROMPT, max_logits=50, logit_mass=0.4)
    wanted = int((probabilities.cumsum(0) < 0.4).sum()) + 1
    assert len(graph.targets) == wanted
    np.testing.assert_allclose(graph.targets.probability, probabilities[:wanted])
    assert len(trace(llama, clt, PROMPT, max_logits=3).targets) == 3


def test_a_logits_pre_activation_is_its_demeaned_logit(llama, clt):
    logits = llama.logits(torch.tensor([PROMPT]))[0, 2]
    target = trace(llama, clt, PROMPT, [11], position=2).targets.iloc[0]
    assert target.pre_activation == pytest.approx(float(logits[11] - logits.mean()))
    assert target.pos == 2


def test_a_logit_difference_is_the_difference_of_the_edges(llama, clt):
    both = trace(llama, clt, PROMPT, [11, 12])
    difference = trace(llama, clt, PROMPT, LogitDifference(11, 12))
    rows = [both.edges[both.edges.target == i].set_index("source").weight for i in both.targets.id]
    got = difference.edges[difference.edges.target == difference.targets.id.iloc[0]].set_index("source").weight
    np.testing.assert_allclose(got, rows[0] - rows[1], atol=1e-12)


def test_a_direction_reads_the_final_stream(llama, clt):
    vector = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, seen = llama.capture(torch.tensor([PROMPT]), ["ln_final.hook_out"])
    graph = trace(llama, clt, PROMPT, Direction(vector, "mine"))
    assert graph.targets.token.iloc[0] == "mine"
    assert graph.targets.pre_activation.iloc[0] == pytest.approx(float(vector @ seen["ln_final.hook_out"][0, -1]))
    assert graph.check().miss.abs().max() < 1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": [97]}, "target token 97 is outside the vocabulary: 0 to 96"),
        ({"targets": []}, "targets is an empty list"),
        ({"targets": "word"}, "no tokenizer: name targets by id"),
        ({"targets": [True]}, "text or an id"),
        ({"targets": Direction(torch.zeros(5))}, r"shape \(5,\); expected \(32,\)"),
        ({"position": 7}, "position 7 is outside the prompt of 7 tokens"),
        ({"position": -8}, "position -8 is outside"),
        ({"max_logits": 0}, "max_logits=0 must be at least 1"),
        ({"logit_mass": 0.0}, "logit_mass=0.0 must be above 0"),
        ({"max_features": 0}, "max_features=0 must be at least 1"),
    ],
)
def test_bad_requests_are_refused(llama, clt, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        trace(llama, clt, PROMPT, **arguments)


def test_activations_in_the_table_are_the_encoders(llama, clt):
    graph = trace(llama, clt, PROMPT)
    _, seen = llama.capture(torch.tensor([PROMPT]), ["blocks.1.hook_resid_mid"])
    expected = clt.encode(1, seen["blocks.1.hook_resid_mid"][0])
    features = graph.nodes[(graph.nodes.kind == "feature") & (graph.nodes.layer == 1)]
    assert len(features) == int((expected[1:] > 0).sum())
    for node in features.itertuples():
        assert node.activation == pytest.approx(float(expected[node.pos, node.feature]))


def test_max_features_keeps_rows_unchanged_and_folds_the_rest(llama, clt):
    whole, small = trace(llama, clt, PROMPT), trace(llama, clt, PROMPT, max_features=30)
    kept = small.nodes[small.nodes.kind == "feature"].id
    assert len(kept) == 30
    full = whole.edges.set_index(["source", "target"]).weight
    for target in [small.targets.id.iloc[0], kept.iloc[-1]]:
        edges = small.edges[(small.edges.target == target) & small.edges.source.isin(kept)]
        assert len(edges)
        for edge in edges.itertuples():
            assert edge.weight == pytest.approx(full[edge.source, edge.target])
    assert small.metadata["active_features"] == (whole.nodes.kind == "feature").sum()
    target, error = small.targets.id.iloc[0], "1_-1_4"
    place = whole.nodes[(whole.nodes.layer == 1) & (whole.nodes.pos == 4)].id
    left_out = set(place) - set(small.nodes.id)
    assert left_out
    folded = small.edges.set_index(["source", "target"]).weight[error, target]
    assert folded == pytest.approx(sum(full[source, target] for source in [*left_out, error]))


def test_max_features_chooses_the_influential(llama, clt):
    whole, small = trace(llama, clt, PROMPT), trace(llama, clt, PROMPT, max_features=60)
    features = whole.nodes[whole.nodes.kind == "feature"].sort_values("influence", ascending=False)
    best = set(features.id[:60])
    shared = best & set(small.nodes.id)
    assert len(shared) > 0.6 * len(best)


def test_labels_reach_the_nodes(llama, clt):
    graph = load(tiny_hf_model("llama"), clt).trace(PROMPT)
    assert graph.nodes.label.isna().all()
    node = graph.nodes[graph.nodes.kind == "feature"].iloc[0]
    labelled = trace(llama, clt, PROMPT, labels={f"L{node.layer}/{node.feature}": "mine"})
    assert (labelled.nodes[labelled.nodes.label == "mine"].feature == node.feature).all()


@pytest.mark.parametrize("activation", [{"activation": "topk", "k": 5}, {"activation": "jumprelu"}])
def test_other_activations_close(llama, activation):
    graph = trace(llama, random_transcoder("clt", **activation), PROMPT)
    assert graph.check().miss.abs().max() < 1e-10
    if activation["activation"] == "topk":
        per_place = graph.nodes[graph.nodes.kind == "feature"].groupby(["layer", "pos"]).size()
        assert per_place.max() == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_models_trace(family):
    model = load_model(tiny_hf_model(family, torch.bfloat16))
    read, write = hooks_of(family)
    graph = trace(model, random_transcoder("clt", dtype=torch.float32, input_hook=read, output_hook=write), PROMPT)
    check = graph.check()
    assert graph.metadata["dtype"] == "float32"
    assert check.miss.abs().max() < 0.1 * check.pre_activation.abs().max()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_give_the_same_graph(device):
    available = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if not available:
        pytest.skip(f"this machine has no {device}")
    hf_model, transcoder = (
        tiny_hf_model("llama", torch.float32),
        random_transcoder("clt", dtype=torch.float32),
    )
    here = trace(load_model(hf_model, device="cpu"), transcoder, PROMPT)
    there = trace(load_model(hf_model, device=device), transcoder.to(device), PROMPT)
    np.testing.assert_allclose(there.links.weight, here.links.weight, atol=1e-4)


def test_an_interrupted_trace_leaves_the_model_as_it_was(llama, clt, monkeypatch):
    before = llama.logits(torch.tensor([PROMPT]))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("circuitlab.attribution.Attributor.edges_into", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trace(llama, clt, PROMPT)
    assert torch.equal(llama.logits(torch.tensor([PROMPT])), before)
    assert not any(hook.fwd_hooks for hook in llama.bridge.hook_dict.values())


def test_the_same_prompt_gives_the_same_graph(llama, clt):
    first, second = trace(llama, clt, PROMPT), trace(llama, clt, PROMPT)
    assert np.array_equal(first.links.weight, second.links.weight)
    assert first.nodes.equals(second.nodes)


@needs_stories
def test_real_weights_close_in_float32():
    transcoder = random_transcoder("clt", dtype=torch.float32, n_layers=5, d_model=64, n_features=64, scale=0.3)
    model = load(STORIES, transcoder)
    check = model.trace("Once upon a time, there was a little").check()
    assert check.miss.abs().max() < 1e-4 * check.pre_activation.abs().max()


def test_one_token_is_a_legal_prompt(llama, clt):
    graph = trace(llama, clt, [5])
    assert (graph.nodes.kind == "feature").sum() == 0
    assert graph.check().miss.abs().max() < 1e-10


@pytest.mark.parametrize("value", [1.5, float("nan"), True, "3", None])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"max_features=.* must be a whole number"):
        require_whole("max_features", value)


def test_a_target_named_twice_is_refused_by_name(llama, clt):
    with pytest.raises(ValueError, match="the target '<11>' is named more than once"):
        trace(llama, clt, PROMPT, [11, 12, 11])


def test_a_direction_with_nan_is_refused_by_name(llama, clt):
    with pytest.raises(ValueError, match="the direction 'mine' holds NaN"):
        trace(llama, clt, PROMPT, Direction(torch.full((32,), float("nan")), "mine"))


def test_labels_of_ones_own_replace_those_of_the_model(llama, clt):
    graph = load(llama, clt).trace(PROMPT, labels={}, progress=False)
    assert graph.nodes.label.isna().all()
