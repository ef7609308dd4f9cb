"""The neuron basis: edges close, and a perturbed neuron moves every target by its edge, in the real model.

The oracle runs the real model with attention patterns and norms pinned and the MLP outputs under our control, and works
out each neuron's linearised value from the Hugging Face weights themselves: ratios and halves by hand, by family.
Mutations that break it: another ratio for GELU, a gate's half left out, W_in for the gate, a missing MLP bias.
"""

import json

import numpy as np
import pytest
import torch

import circuitlab as cl
from circuitlab.evidence import NEURONS
from circuitlab.harvest import harvest
from circuitlab.interventions import intervene
from circuitlab.model import load_model
from circuitlab.neurons import neurons_of
from circuitlab.widgets.columns import columns
from tests.models import FAMILIES, N_LAYERS, PROMPT, STORIES, needs_stories, tiny_hf_model
from tests.test_attribution import PinnedModel, dense_column, felt_features, perturbation_of

EVERYTHING = 10**9


def by_hand(hf_model, family, layer, x):
    """A function of x' that is linear and equals every neuron's pre-activation at x; from the family's own modules."""
    if family == "gpt2":
        mlp = hf_model.transformer.h[layer].mlp
        return lambda moved: moved @ mlp.c_fc.weight + mlp.c_fc.bias
    if family == "neox":
        return hf_model.gpt_neox.layers[layer].mlp.dense_h_to_4h
    mlp = hf_model.model.layers[layer].mlp
    gate, up = mlp.gate_proj(x), mlp.up_proj(x)
    opened = mlp.act_fn(gate)
    return lambda moved: 0.5 * (opened / gate) * up * mlp.gate_proj(moved) + 0.5 * opened * mlp.up_proj(moved)


class PinnedNeurons(PinnedModel):
    """The pinned model with each neuron's reading linear and frozen at the prompt."""

    def __init__(self, model, neurons, tokens, hf_model, family):
        super().__init__(model, neurons, tokens)
        linear = [by_hand(hf_model, family, layer, self.seen[site][0]) for layer, site in enumerate(self.reads)]
        self.transcoder = type("Read", (), {"W_skip": None, "pre_activations": lambda _, i, x: linear[i](x)})()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_doubled_neuron_moves_every_target_by_its_edge(family):
    hf_model = tiny_hf_model(family)
    replacement = cl.load(hf_model)
    graph = replacement.trace(PROMPT, max_features=EVERYTHING)
    assert not graph.kind_mask("error").any(), "nothing is missed, so nothing is an error"
    with torch.no_grad():
        pinned = PinnedNeurons(replacement.model, replacement.transcoder, torch.tensor(PROMPT), hf_model, family)
        before = pinned.pre_activations()
        rng = np.random.default_rng(0)
        tokens = graph.nodes.index[graph.kind_mask("token")]
        for row in [*rng.choice(felt_features(graph), 6, replace=False), *tokens[[0, 3]]]:
            node = graph.nodes.loc[row]
            doubled = perturbation_of(node, replacement.transcoder, pinned, graph)
            layers, logits = pinned.pre_activations(**doubled)
            expected = np.zeros(len(graph.nodes))
            for layer, (after, then) in enumerate(zip(layers, before[0], strict=True)):
                here = graph.nodes[
                    graph.kind_mask("feature") & (graph.nodes.layer == layer).fillna(False).to_numpy(bool)
                ]
                change = (after - then)[here.pos.to_numpy(int), here.feature.to_numpy(int)]
                expected[here.index] = change.numpy()
            answers = graph.nodes[graph.kind_mask("logit")]
            moved = (logits - before[1])[answers.pos.to_numpy(int), answers.token_id.to_numpy(int)]
            expected[answers.index] = moved.numpy()
            assert np.abs(expected).max() > 1e-6
            np.testing.assert_allclose(dense_column(graph, row), expected, atol=1e-8 * np.abs(expected).max(), rtol=0)


OPTIONS = {
    "everything": {"max_features": EVERYTHING},
    "few": {"max_features": 60},
    "BOS not masked": {"mask_bos": False, "max_features": EVERYTHING},
    "by layer, inner": {"constants_by_layer": True, "position": 3, "targets": [5, 7]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_in_edges_add_up(family, dtype, tolerance, options):
    check = cl.load(tiny_hf_model(family, dtype)).trace(PROMPT, **options).check()
    assert check.miss.abs().max() < tolerance * check.pre_activation.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_replacement_is_the_model(family):
    replacement = cl.load(tiny_hf_model(family))
    tokens = torch.tensor([PROMPT])
    found = replacement.agreement(tokens)
    assert found.top1 == 1.0
    assert found.kl < 1e-12
    for layer in range(N_LAYERS):
        seen = replacement.model.capture(tokens, [f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.mlp.hook_out"])[1]
        read, written = seen.values()
        neurons = replacement.transcoder
        rebuilt = neurons.decode(layer, [neurons.encode(i, read) for i in range(layer + 1)])
        torch.testing.assert_close(rebuilt, written, atol=1e-12, rtol=1e-12)


def test_what_is_folded_stands_as_other_neurons():
    replacement = cl.load(tiny_hf_model("llama"))
    graph = replacement.trace(PROMPT, max_features=50)
    assert graph.kind_mask("feature").sum() == 50
    rest = graph.nodes[graph.kind_mask("error")]
    assert set(rest["label"]) == {"other neurons"}
    assert len(rest) == N_LAYERS * (len(PROMPT) - 1)
    assert graph.scores().replacement < 1
    assert replacement.trace(PROMPT, max_features=EVERYTHING).scores().replacement == pytest.approx(1.0)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_direct_intervention_follows_the_edges_and_all_modes_run(family):
    replacement = cl.load(tiny_hf_model(family))
    graph = replacement.trace(PROMPT, max_features=EVERYTHING)
    node = graph.nodes.loc[felt_features(graph)].sort_values("influence").iloc[-1]
    run = intervene(replacement, PROMPT, {node["id"]: 1.5}, mode="direct", graph=graph)
    assert run.compare(graph).attrs["normalised_error"] < 1e-8
    for mode in ("propagating", "constrained", "steering"):
        again = intervene(replacement, PROMPT, {node["id"]: 1.001}, mode=mode, graph=graph)
        assert np.isfinite(again.top_tokens(3)["after"]).all()
    gentle = intervene(replacement, PROMPT, {node["id"]: 1.001}, graph=graph).compare(graph)
    assert gentle.attrs["spearman"] > 0.5, "a small push: the linear rule foretells most of it"


def test_the_rest_of_a_layer_cannot_be_set():
    replacement = cl.load(tiny_hf_model("gpt2"))
    graph = replacement.trace(PROMPT, max_features=30)
    with pytest.raises(ValueError, match="larger max_features"):
        intervene(replacement, PROMPT, {"1_-1_3": 0.0}, graph=graph)


def test_rows_are_narrowed_and_decoders_gathered_without_harm_to_the_edges(monkeypatch):
    replacement = cl.load(tiny_hf_model("gpt2"))
    plain = replacement.trace(PROMPT, max_features=40)
    monkeypatch.setattr("circuitlab.sources.LARGEST_STACK", 0)
    gathered = replacement.trace(PROMPT, max_features=40)
    assert list(gathered.nodes.id) == list(plain.nodes.id)
    np.testing.assert_allclose(gathered.links.weight, plain.links.weight, atol=1e-12)
    monkeypatch.setattr("circuitlab.tracing.LARGEST_ROWS", 20_000)
    narrow = replacement.trace(PROMPT, max_features=40)
    assert narrow.check().miss.abs().max() < 1e-10
    both = set(narrow.nodes.id) & set(plain.nodes.id)
    assert len(both) > 0.9 * len(plain.nodes), "nearly the same neurons are chosen"
    ours, theirs = (g.edges[g.kind_mask("feature")[g.links.source]] for g in (narrow, plain))
    paired = ours.merge(theirs, on=["source", "target"])
    assert len(paired) > 100
    np.testing.assert_allclose(paired.weight_x, paired.weight_y, atol=1e-12)


def test_the_basis_is_named_everywhere(tmp_path):
    replacement = cl.load(tiny_hf_model("qwen3"))
    assert "MLP neurons" in repr(replacement)
    assert "no transcoder" in repr(replacement)
    graph = replacement.trace(PROMPT, max_features=30)
    assert graph.metadata["basis"] == "neurons"
    assert graph.in_neurons
    assert NEURONS in repr(graph)
    assert "no transcoder" in graph.to_html(tmp_path / "page.html").read_text("utf-8")
    for name in ("g.json", "g.zip"):
        again = cl.Graph.open(graph.save(tmp_path / name))
        assert again.metadata["basis"] == "neurons"
        assert NEURONS in repr(again)
    for name, view in (("whole.svg", None), ("part.svg", cl.View(pinned=[graph.targets["id"].iat[0]]))):
        assert NEURONS in graph.savefig(tmp_path / name, view=view).read_text("utf-8")
    assert json.loads(columns(graph).strings)["neurons"]
    assert NEURONS in replacement.features["L1/7"].note
    assert "no transcoder" in replacement.info["transcoder"]
    assert NEURONS in repr(replacement.features.circuit("L1/7", n=1))
    store = cl.Store(harvest(replacement, [[3, 14, 15], [9, 26, 5]], tmp_path / "store").folder)
    assert store.manifest.transcoder["name"].startswith(NEURONS)
    assert NEURONS in store["L1/7"].note
    assert replacement.features.attach(store)["L1/7"].note.count(NEURONS) == 1


def test_features_and_dashboard_evidence_work():
    replacement = cl.load(tiny_hf_model("llama"))
    evidence = replacement.features["L1/7"]
    assert len(evidence.reads_from) > 0
    live = replacement.features.live(PROMPT, 1, 7)
    assert any(live.activations)


def test_a_model_whose_mlps_do_more_is_refused():
    hf_model = tiny_hf_model("gpt2")
    model = load_model(hf_model)
    neurons = neurons_of(model)
    neurons.W_dec[1] = torch.nn.Parameter(neurons.W_dec[1] * 1.5)
    with pytest.raises(ValueError, match="do more than its neurons"):
        cl.trace(model, neurons, PROMPT)


@needs_stories
def test_real_weights():
    replacement = cl.load(STORIES)
    graph = replacement.trace("Once upon a time, there was a little", max_features=300)
    check = graph.check()
    assert check.attrs["worst"] < 1e-4
    assert graph.prune(0.8).kind_mask("feature").any()
    assert cl.load("atlas", "neurons").transcoder.exact
