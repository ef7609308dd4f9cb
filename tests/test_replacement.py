"""The replacement model: exact where the transcoder is, refused where it does not fit."""

import pytest
import torch

from circuitlab.model import load_model
from circuitlab.replacement import agreement, check_fit, load, replacement_logits
from circuitlab.transcoder import Transcoder, TranscoderConfig
from tests.models import D_MODEL, FAMILIES, N_LAYERS, PROMPT, hooks_of, random_transcoder, tiny_hf_model


def constant_transcoder(model, tokens, kind):
    """A transcoder that rebuilds one position's MLP outputs exactly, by its decoder biases alone."""
    transcoder = Transcoder(TranscoderConfig(kind, N_LAYERS, 4, D_MODEL, input_hook="mlp.hook_in"), torch.float64)
    sites = [f"blocks.{layer}.hook_mlp_out" for layer in range(N_LAYERS)]
    _, seen = model.capture(tokens, sites)
    with torch.no_grad():
        for layer, site in enumerate(sites):
            transcoder.b_dec[layer].copy_(seen[site][0, -1])
    return transcoder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_perfect_transcoder_gives_the_models_logits(family):
    model, tokens = load_model(tiny_hf_model(family)), torch.tensor([[3, 14]])
    transcoder = constant_transcoder(model, tokens, "clt")
    replaced = replacement_logits(model, transcoder, tokens)
    torch.testing.assert_close(replaced, model.logits(tokens), atol=1e-9, rtol=1e-9)
    with torch.no_grad():
        transcoder.b_dec[1][:5].add_(0.1)  # not all alike: a LayerNorm would take that away
    assert not torch.allclose(replacement_logits(model, transcoder, tokens)[0, 1], model.logits(tokens)[0, 1])


@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_each_layer_reads_the_replaced_stream(kind):
    model, tokens = load_model(tiny_hf_model("llama")), torch.tensor([PROMPT])
    transcoder = random_transcoder(kind)
    activations, written = [], []
    for layer in range(N_LAYERS):
        edit = {f"blocks.{i}.hook_mlp_out": (lambda _, out=out: out) for i, out in enumerate(written)}
        read, write = f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_mlp_out"
        _, seen = model.run(tokens, capture=[read, write], edit=edit)
        activations.append(transcoder.encode(layer, seen[read]))
        output = transcoder.decode(layer, activations)
        output[:, 0] = seen[write][:, 0]
        written.append(output)
    expected = model.run(tokens, edit={f"blocks.{i}.hook_mlp_out": (lambda _, o=o: o) for i, o in enumerate(written)})
    torch.testing.assert_close(replacement_logits(model, transcoder, tokens), expected[0], atol=1e-10, rtol=1e-10)


def test_agreement_of_a_perfect_and_of_a_poor_transcoder():
    model, tokens = load_model(tiny_hf_model("llama")), torch.tensor([[3, 14], [3, 14]])
    perfect = agreement(model, constant_transcoder(model, tokens, "plt"), tokens)
    assert perfect.top1 == 1.0
    assert perfect.kl == pytest.approx(0.0, abs=1e-12)
    poor = agreement(model, random_transcoder("plt", scale=1.0), tokens)
    assert poor.kl > 0.01


def test_excluded_positions_do_not_count():
    model, tokens = load_model(tiny_hf_model("llama")), torch.tensor([PROMPT])
    transcoder = random_transcoder("plt")
    include = torch.ones_like(tokens)
    include[0, 4:] = 0
    short = agreement(model, transcoder, tokens[:, :4])
    assert agreement(model, transcoder, tokens, include).kl == pytest.approx(short.kl)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 4}, "layers = 4, but .* has layers = 3"),
        ({"d_model": 16}, "d_model = 16, but .* has d_model = 32"),
        ({"input_hook": "hook_q"}, "input hook is 'hook_q'; circuitlab reads hook_resid_mid"),
        ({"output_hook": "hook_resid_post"}, "output hook is 'hook_resid_post'"),
    ],
)
def test_a_transcoder_of_another_model_is_refused(change, message):
    model = load_model(tiny_hf_model("llama"))
    with pytest.raises(ValueError, match=message):
        check_fit(model, random_transcoder("plt", **change))


def test_a_hook_that_the_family_lacks_is_refused():
    with pytest.raises(ValueError, match="'hook_resid_mid' does not exist in GPTNeoX"):
        check_fit(load_model(tiny_hf_model("neox")), random_transcoder("plt"))


def test_skip_connections_need_the_encoder_input():
    transcoder = random_transcoder("plt", skip=True)
    with pytest.raises(ValueError, match="decode needs x"):
        transcoder.decode(0, [torch.zeros(1, 24, dtype=torch.float64)])


def test_load_takes_parts_in_memory():
    model = load(tiny_hf_model("llama"), random_transcoder("clt"))
    top = model.top_tokens(PROMPT, n=3)
    assert list(top.columns) == ["token_id", "token", "probability", "replacement"]
    assert top.probability.is_monotonic_decreasing
    assert hooks_of("llama") == (model.transcoder.config.input_hook, model.transcoder.config.output_hook)


def test_a_transcoder_in_memory_is_left_as_it_is():
    transcoder = random_transcoder("clt").requires_grad_(True)
    exact = load(tiny_hf_model("llama"), transcoder)
    rounded = load(tiny_hf_model("llama", torch.float32), transcoder)
    assert transcoder.dtype == exact.transcoder.dtype == torch.float64
    assert rounded.transcoder.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in transcoder.parameters())
    assert exact.transcoder.W_enc[0].data_ptr() == transcoder.W_enc[0].data_ptr()
