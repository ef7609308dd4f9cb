"""Evidence from weights and texts, against dense computation in float64 and against edges."""

import pytest
import torch
from models import PROMPT, hooks_of, random_transcoder, tiny_hf_model

import circuitlab as cl
from circuitlab.features import logit_weights, reads_from, writes_to
from circuitlab.replacement import ReplacementModel

TEXTS = [[3, 14, 15, 92], [3, 14, 15, 6], [53, 58, 9], [1, 2, 3, 4, 5, 6, 7]]


def tiny(family: str = "llama", kind: str = "clt", **hooks) -> ReplacementModel:
    names = dict(zip(("input_hook", "output_hook"), hooks_of(family), strict=True))
    model = cl.load_model(tiny_hf_model(family))
    return ReplacementModel(model, random_transcoder(kind, **{**names, **hooks}), {"L1/5": "Texas"})


@pytest.mark.parametrize(("family", "kind"), [("llama", "clt"), ("gpt2", "clt"), ("gemma2", "plt")])
def test_promoted_tokens_are_those_of_the_dense_product(family, kind):
    loaded = tiny(family, kind)
    model, W_dec = loaded.model, loaded.transcoder.W_dec[1].double()
    norm = model.final_norm
    written = W_dec.sum(1)
    centred = written - written.mean(1, keepdim=True) if norm.centred else written
    dense = (centred * norm.gain.double()) @ model.W_U.double()
    dense = dense - dense.mean(1, keepdim=True)
    for index in (0, 5):
        torch.testing.assert_close(logit_weights(model, loaded.transcoder, 1, index), dense[index])
        evidence = loaded.features[1, index]
        assert [t.token for t in evidence.promoted] == model.token_strings(dense[index].topk(12).indices)
        assert [t.token for t in evidence.suppressed] == model.token_strings((-dense[index]).topk(12).indices)
        assert sum(evidence.logit_histogram.counts) == model.d_vocab


def without_attention(family: str, **hooks) -> ReplacementModel:
    """A tiny model whose attention writes nothing, so that features reach each other through the stream alone."""
    hf_model = tiny_hf_model(family)
    for name, parameter in hf_model.named_parameters():
        if "o_proj" in name:
            parameter.data.zero_()
    return ReplacementModel(cl.load_model(hf_model), random_transcoder(**hooks), {})


@pytest.mark.parametrize("hooks", [{"kind": "clt"}, {"kind": "plt"}, {"input_hook": "mlp.hook_in"}])
def test_virtual_weights_are_edges_per_activation_where_attention_is_silent(hooks):
    loaded = without_attention("llama", **hooks)
    graph = loaded.trace(PROMPT)
    scale = {}
    if "input_hook" in hooks:
        sites = [f"blocks.{layer}.ln2.hook_scale" for layer in range(3)]
        seen = loaded.model.capture(torch.tensor([PROMPT]), sites)[1]
        scale = {layer: seen[site][0, :, 0] for layer, site in enumerate(sites)}
    checked = 0
    nodes = graph.nodes.set_index("id")
    for edge in graph.edges.itertuples():
        source, target = nodes.loc[edge.source], nodes.loc[edge.target]
        if {source["kind"], target["kind"]} != {"feature"} or source["pos"] != target["pos"]:
            continue
        norm = float(scale[target["layer"]][target["pos"]]) if scale else 1.0
        virtual = edge.weight / source["activation"] * norm
        down = writes_to(loaded.model, loaded.transcoder, int(source["layer"]), int(source["feature"]))
        up = reads_from(loaded.model, loaded.transcoder, int(target["layer"]), int(target["feature"]))
        assert float(down[target["layer"] - source["layer"] - 1][target["feature"]]) == pytest.approx(virtual, rel=1e-8)
        assert float(up[source["layer"]][source["feature"]]) == pytest.approx(virtual, rel=1e-8)
        checked += 1
        if checked == 150:
            break
    assert checked > 50


@pytest.mark.parametrize(
    ("family", "kind", "output"), [("gemma2", "clt", "mlp.hook_out"), ("gpt2", "clt", "hook_mlp_out")]
)
def test_reading_and_writing_are_the_same_weights(family, kind, output):
    loaded = tiny(family, kind, output_hook=output)
    for layer in (0, 1):
        for index in (0, 7):
            for step, weights in enumerate(writes_to(loaded.model, loaded.transcoder, layer, index)):
                for reader in (0, 11):
                    back = reads_from(loaded.model, loaded.transcoder, layer + 1 + step, reader)[layer][index]
                    assert float(back) == pytest.approx(float(weights[reader]), rel=1e-9)


def test_neighbours_are_the_strongest_and_the_ends_say_why_they_have_none():
    features = tiny().features
    middle = features["L1/5"]
    weights = writes_to(features.model, features.transcoder, 1, 5)[0]
    assert [n.index for n in middle.writes_to] == weights.abs().topk(14).indices.tolist()
    assert {n.layer for n in middle.writes_to} == {2}
    assert middle.sources["writes_to"] == "weights"
    assert middle.label == "Texas"
    assert "first layer" in features[0, 0].missing["reads_from"]
    assert "last layer" in features[2, 0].missing["writes_to"]


def test_examples_and_density_are_what_each_text_alone_gives():
    features = tiny().features.with_texts(TEXTS)
    for layer, index in ((0, 3), (2, 9)):
        evidence = features[layer, index]
        alone = [features.live(text, layer, index).activations for text in TEXTS]
        active = [value for row in alone for value in row if value > 0]
        assert all(row[0] == 0 for row in alone)
        assert evidence.density == pytest.approx(len(active) / sum(len(text) - 1 for text in TEXTS))
        assert evidence.largest == pytest.approx(max(active))
        assert sum(evidence.activation_histogram.counts) == len(active)
        for example in evidence.examples:
            row = next(i for i, text in enumerate(TEXTS) if list(example.tokens) == features.model.token_strings(text))
            assert example.activations == pytest.approx(alone[row], abs=1e-12)
            assert example.activations[example.peak] == pytest.approx(max(alone[row]))
        peaks = [example.activations[example.peak] for example in evidence.examples]
        assert peaks == sorted(peaks, reverse=True)


def test_batches_change_nothing(monkeypatch):
    from circuitlab import texts

    features = tiny().features
    together = features.with_texts(TEXTS)[1, 4]
    monkeypatch.setattr(texts, "BATCH_VALUES", 200)
    assert features.with_texts(TEXTS)[1, 4].density == together.density


def test_without_texts_it_says_so():
    evidence = tiny().features["L1/5"]
    assert evidence.examples == ()
    assert "show_texts" in evidence.missing["examples"]
    assert "No evidence harvested yet" in evidence.note
    assert evidence.density is None


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("L9/3", "no layer 9: layers are 0 to 2"),
        ((1, 24), "layer 1 has no feature 24: its features are 0 to 23"),
        ((-1, 0), "no layer -1"),
        ("Texsa", "L1/5 is labelled 'Texas'"),
        (7, r"features\['L3/55'\]"),
        ((1, True), "names no feature"),
    ],
)
def test_unknown_features_are_refused_with_the_valid_range(key, said):
    with pytest.raises(ValueError, match=said):
        tiny().features[key]


@pytest.mark.parametrize(
    ("texts", "said"), [([], "no texts"), ("one text", "list of texts"), ([[200]], "outside the vocab")]
)
def test_texts_that_cannot_be_shown_are_refused(texts, said):
    with pytest.raises(ValueError, match=said):
        tiny().features.show_texts(texts)


@pytest.fixture(scope="module")
def atlas():
    return cl.load()


def test_atlas_has_examples_for_its_features_at_once(atlas):
    features = atlas.features
    assert atlas.features is features
    counts = torch.tensor([(hits.starts[1:] - hits.starts[:-1]).tolist() for hits in features.shown.layers])
    densities = atlas.features.store.densities
    alive = torch.tensor([[densities[f"L{k}/{i}"] > 1e-4 for i in range(counts.shape[1])] for k in range(5)])
    assert (counts[alive] > 0).double().mean() > 0.95
    labelled = [features.locate(name) for name in atlas.labels]
    assert sum(int(counts[layer, index]) == 0 for layer, index in labelled) < 0.01 * len(labelled)
    words = [name for name, label in atlas.labels.items() if name.startswith("L0/") and label.isalpha()]
    tops = [(atlas.labels[name], features[name].examples[0]) for name in words]
    assert sum(label in (e.tokens[e.peak].strip(), "".join(e.tokens[e.peak - 1 :])) for label, e in tops) > 0.6 * len(
        tops
    )
    evidence = features[words[0]]
    assert evidence.note.startswith("Harvested from 12,000 sentences of the world")


def test_atlas_live_activations_are_the_graphs(atlas):
    prompt = "fact : the capital of the state containing Dallas is"
    graph = atlas.trace(prompt)
    nodes = graph.nodes[graph.kind_mask("feature")]
    for node in nodes.sample(12, random_state=0).itertuples():
        seen = atlas.features.live(prompt, int(node.layer), int(node.feature))
        assert seen.activations[node.pos] == pytest.approx(node.activation, rel=1e-4)
        assert seen.tokens == tuple(graph.tokens)
