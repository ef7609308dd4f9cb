"""Edges against the model itself: they add up, and a perturbed node moves every target by exactly its edge.

The oracle runs the real TransformerLens model with patterns and norm denominators pinned, so it shares nothing with
circuitlab.attribution but the weights. Mutations that break it: dropping `ln1_post`, forgetting the head groups of
grouped-query attention, transposing a pattern, a decoder offset of one layer, leaving out a skip connection.
"""

import numpy as np
import pytest
import torch

from circuitlab.local_replacement import _sites as frozen_sites
from circuitlab.model import load_model
from circuitlab.tracing import trace
from tests.models import FAMILIES, PROMPT, hooks_of, random_transcoder, tiny_hf_model

VARIANTS = [("clt", False), ("clt", True), ("plt", False), ("plt", True)]


class PinnedModel:
    """The real model with patterns and denominators pinned at one prompt's values, MLP outputs under our control."""

    def __init__(self, model, transcoder, tokens):
        self.model, self.transcoder, self.tokens = model, transcoder, tokens[None]
        config = transcoder.config
        self.reads = [f"blocks.{layer}.{config.input_hook}" for layer in range(config.n_layers)]
        self.writes = [f"blocks.{layer}.{config.output_hook}" for layer in range(config.n_layers)]
        self.final = "ln_final.hook_out"
        _, self.seen = model.capture(self.tokens, frozen_sites(model, transcoder))
        self.pinned = [s for s in self.seen if s.endswith(("hook_pattern", "hook_scale"))]

    def pre_activations(self, added_output=None, added_embedding=None):
        """Every target's pre-activation vector when `added_output[l]` joins the MLP outputs."""
        live = {}

        def read(layer):
            return lambda x: live.__setitem__(layer, x) or x

        def write(layer):
            def hook(_):
                out = self.seen[self.writes[layer]].clone()
                change = live[layer] - self.seen[self.reads[layer]]
                out = out + (self.transcoder.skip(layer, change) if self.transcoder.W_skip is not None else 0.0)
                return out if added_output is None else out + added_output[layer]

            return hook

        edit = {site: (lambda _, site=site: self.seen[site]) for site in self.pinned}
        edit |= {site: read(layer) for layer, site in enumerate(self.reads)}
        edit |= {site: write(layer) for layer, site in enumerate(self.writes)}
        if added_embedding is not None:
            edit["blocks.0.hook_resid_pre"] = lambda x: x + added_embedding
        with torch.no_grad():
            _, captured = self.model.run(self.tokens, capture=[*self.reads, self.final], edit=edit)
        layers = [self.transcoder.pre_activations(i, captured[s][0]) for i, s in enumerate(self.reads)]
        return layers, captured[self.final][0] @ (self.model.W_U - self.model.W_U.mean(1, keepdim=True))


def dense_column(graph, row):
    """All edges out of one node, by target row."""
    links, column = graph.links, np.zeros(len(graph.nodes))
    targets = np.repeat(np.arange(len(graph.nodes)), np.diff(links.indptr))
    hit = links.source == row
    column[targets[hit]] = links.weight[hit]
    return column


def measured_column(graph, pinned, before, **perturbation):
    """The change of every target's pre-activation in the pinned model."""
    layers, logits = pinned.pre_activations(**perturbation)
    change = np.zeros(len(graph.nodes))
    for row, node in enumerate(graph.nodes.itertuples()):
        if node.kind == "feature":
            difference = layers[node.layer][node.pos, node.feature] - before[0][node.layer][node.pos, node.feature]
            change[row] = difference.item()
        elif node.kind == "logit":
            change[row] = (logits - before[1])[node.pos, node.token_id].item()
    return change


def perturbation_of(node, transcoder, pinned, graph):
    """What doubling a node adds to the MLP outputs or to the embeddings."""
    shape = pinned.seen[pinned.writes[0]].shape
    if node.kind == "token":
        embedding = torch.zeros(shape, dtype=torch.float64)
        positional = pinned.seen.get("hook_pos_embed", torch.zeros(shape, dtype=torch.float64))
        embedding[0, node.pos] = (pinned.seen["blocks.0.hook_resid_pre"] - positional)[0, node.pos]
        return {"added_embedding": embedding}
    outputs = [torch.zeros(shape, dtype=torch.float64) for _ in range(transcoder.config.n_layers)]
    source, feature = int(node.layer), torch.tensor([int(node.feature)])
    for target in range(source, transcoder.config.n_layers):
        row = transcoder.decoder_rows(source, target, feature)
        if row is not None:
            outputs[target][0, node.pos] = node.activation * row[0]
    return {"added_output": outputs}


def felt_features(graph):
    """Rows of the features below the last layer: those above feel nothing but the logits, and only at their place."""
    nodes = graph.nodes
    return nodes.index[(nodes.kind == "feature") & (nodes.layer < graph.n_layers - 1)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "skip"), VARIANTS)
def test_a_doubled_node_moves_every_target_by_its_edge(family, kind, skip):
    model = load_model(tiny_hf_model(family))
    read, write = hooks_of(family)
    transcoder = random_transcoder(kind, skip=skip, input_hook=read, output_hook=write)
    graph = trace(model, transcoder, PROMPT)
    pinned = PinnedModel(model, transcoder, torch.tensor(PROMPT))
    before = pinned.pre_activations()
    features = felt_features(graph)
    tokens = graph.nodes.index[graph.nodes.kind == "token"]
    rng = np.random.default_rng(0)
    for row in [*rng.choice(features, 8, replace=False), *tokens[[0, 3]]]:
        node = graph.nodes.loc[row]
        expected = measured_column(graph, pinned, before, **perturbation_of(node, transcoder, pinned, graph))
        assert np.abs(expected).max() > 1e-4, "the perturbation must be felt somewhere"
        np.testing.assert_allclose(dense_column(graph, row), expected, atol=1e-8 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hooks", [("mlp.hook_in", "mlp.hook_out"), ("ln2.hook_normalized", "hook_mlp_out")])
def test_the_oracle_holds_for_other_hook_points(family, hooks):
    model = load_model(tiny_hf_model(family))
    transcoder = random_transcoder("clt", skip=True, input_hook=hooks[0], output_hook=hooks[1])
    graph = trace(model, transcoder, PROMPT)
    pinned = PinnedModel(model, transcoder, torch.tensor(PROMPT))
    before = pinned.pre_activations()
    features = felt_features(graph)
    for row in np.random.default_rng(1).choice(features, 4, replace=False):
        node = graph.nodes.loc[row]
        expected = measured_column(graph, pinned, before, **perturbation_of(node, transcoder, pinned, graph))
        np.testing.assert_allclose(dense_column(graph, row), expected, atol=1e-8 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_doubled_error_moves_every_target_by_its_edge(family):
    model = load_model(tiny_hf_model(family))
    read, write = hooks_of(family)
    transcoder = random_transcoder("plt", input_hook=read, output_hook=write)
    graph = trace(model, transcoder, PROMPT)
    pinned = PinnedModel(model, transcoder, torch.tensor(PROMPT))
    before = pinned.pre_activations()
    node_layer, pos = 1, 4
    x = pinned.seen[pinned.reads[node_layer]][0]
    rebuilt = transcoder.decode(node_layer, [transcoder.encode(layer, x) for layer in range(node_layer + 1)], x)
    outputs = [torch.zeros_like(pinned.seen[site]) for site in pinned.writes]
    outputs[node_layer][0, pos] = pinned.seen[pinned.writes[node_layer]][0, pos] - rebuilt[pos]
    expected = measured_column(graph, pinned, before, added_output=outputs)
    row = graph.row(f"{node_layer}_-1_{pos}")
    np.testing.assert_allclose(dense_column(graph, row), expected, atol=1e-8 * np.abs(expected).max(), rtol=0)


OPTIONS = {
    "plain": {},
    "BOS not masked": {"mask_bos": False},
    "constants by layer": {"constants_by_layer": True},
    "an inner position": {"position": 3, "targets": [5, 7]},
    "few features": {"max_features": 40},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_in_edges_add_up_to_the_pre_activation(family, dtype, tolerance, options):
    model = load_model(tiny_hf_model(family, dtype))
    read, write = hooks_of(family)
    for kind, skip in VARIANTS:
        transcoder = random_transcoder(kind, dtype=dtype, skip=skip, input_hook=read, output_hook=write)
        check = trace(model, transcoder, PROMPT, **options).check()
        scale = check.pre_activation.abs().max()
        assert check.miss.abs().max() < tolerance * scale


def test_one_wrong_edge_is_noticed():
    model, transcoder = load_model(tiny_hf_model("llama")), random_transcoder("clt")
    graph = trace(model, transcoder, PROMPT)
    weight = graph.links.weight.copy()
    strongest = np.abs(weight).argmax()
    weight[strongest] *= 1.01
    broken = type(graph)(
        prompt=graph.prompt,
        tokens=graph.tokens,
        nodes=graph.nodes,
        links=type(graph.links)(graph.links.indptr, graph.links.source, weight),
    )
    assert broken.check().miss.abs().max() > 1e-4


def test_constants_by_layer_add_up_to_the_one_constant():
    model, transcoder = load_model(tiny_hf_model("gpt2")), random_transcoder("clt", skip=True)
    whole = trace(model, transcoder, PROMPT)
    split = trace(model, transcoder, PROMPT, constants_by_layer=True)
    assert list(split.nodes.id[:5]) == [
        "constant_embedding",
        "constant_0",
        "constant_1",
        "constant_2",
        "constant_readout",
    ]
    one = whole.edges[whole.edges.source == "constant"].set_index("target").weight
    parts = split.edges[split.edges.source.astype(str).str.startswith("constant")]
    summed = parts.groupby("target", observed=True).weight.sum()
    np.testing.assert_allclose(summed.loc[list(one.index)], one, atol=1e-10)


def test_cut_into_small_jobs_on_threads_the_edges_are_the_same(monkeypatch):
    model, transcoder = load_model(tiny_hf_model("llama")), random_transcoder("clt")
    whole, threads = trace(model, transcoder, PROMPT), torch.get_num_threads()
    monkeypatch.setattr("circuitlab.attribution.CHUNK", 1)
    monkeypatch.setattr("circuitlab.attribution.SMALL", 0)
    torch.set_num_threads(2)
    try:
        cut = trace(model, transcoder, PROMPT)
        assert torch.get_num_threads() == 2, "torch has its threads back"
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(cut.links.weight, whole.links.weight, atol=1e-12)


def test_a_feature_has_no_edge_into_its_own_or_an_earlier_layer():
    graph = trace(load_model(tiny_hf_model("llama")), random_transcoder("clt"), PROMPT)
    layer, kind = graph.nodes.layer, graph.nodes.kind
    edges = graph.edges.merge(graph.nodes[["id", "layer", "pos"]], left_on="source", right_on="id")
    edges = edges.merge(graph.nodes[["id", "layer", "pos"]], left_on="target", right_on="id", suffixes=("", "_to"))
    both = edges.dropna(subset=["layer", "layer_to"])
    assert len(both) > 100
    assert (both.layer < both.layer_to).all()
    assert (both.pos <= both.pos_to).all()
    assert layer[kind == "token"].isna().all()
