"""Transcoders: encoding, decoding and their nonlinearities against sums written out by hand."""

from __future__ import annotations

import pytest
import torch

from circuitlab.transcoder import Transcoder, TranscoderConfig

N_LAYERS, N_FEATURES, D_MODEL = 3, 6, 4


def random_transcoder(kind="clt", activation="relu", skip=False) -> Transcoder:
    config = TranscoderConfig(
        kind=kind,
        n_layers=N_LAYERS,
        n_features=N_FEATURES,
        d_model=D_MODEL,
        activation=activation,
        k=2 if activation == "topk" else None,
        skip=skip,
    )
    transcoder = Transcoder(config, torch.float64)
    generator = torch.Generator().manual_seed(0)
    for parameter in transcoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return transcoder.requires_grad_(False)


def inputs(*shape) -> torch.Tensor:
    return torch.randn(*shape, D_MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_decoders_reach_the_layers_they_write_to(kind):
    shapes = [tuple(weight.shape) for weight in random_transcoder(kind).W_dec]
    outputs = [3, 2, 1] if kind == "clt" else [1, 1, 1]
    assert shapes == [(N_FEATURES, out, D_MODEL) for out in outputs]


def test_pre_activations_are_affine():
    transcoder = random_transcoder()
    x = inputs()
    for i in range(N_FEATURES):
        by_hand = sum(float(w) * float(v) for w, v in zip(transcoder.W_enc[1][i], x, strict=True))
        by_hand += float(transcoder.b_enc[1][i])
        assert transcoder.pre_activations(1, x)[i].item() == pytest.approx(by_hand)


def test_relu():
    pre = torch.tensor([-1.0, 0.0, 2.0, 0.5, -3.0, 1.0], dtype=torch.float64)
    assert random_transcoder().activate(0, pre).tolist() == [0, 0, 2, 0.5, 0, 1]


def test_jump_relu_keeps_the_value_above_the_threshold_only():
    transcoder = random_transcoder(activation="jumprelu")
    assert transcoder.threshold is not None
    transcoder.threshold[2].data = torch.tensor([0.5, 0.5, 0.5, -2.0, 0.0, 9.0], dtype=torch.float64)
    pre = torch.tensor([0.4, 0.5, 0.6, -1.0, 0.1, 8.0], dtype=torch.float64)
    assert transcoder.activate(2, pre).tolist() == [0, 0, 0.6, -1.0, 0.1, 0]


def test_top_k_counts_per_position_and_leaves_negatives_out():
    transcoder = random_transcoder(activation="topk")
    pre = torch.tensor([[5.0, 1, 4, 3, 2, 0], [-1, -2, 3, -4, -5, -6]], dtype=torch.float64)
    assert transcoder.activate(0, pre).tolist() == [[5, 0, 4, 0, 0, 0], [0, 0, 3, 0, 0, 0]]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_decode_adds_up_what_each_feature_writes(kind, skip):
    transcoder = random_transcoder(kind, skip=skip)
    x = [inputs(5) + layer for layer in range(N_LAYERS)]
    activations = [transcoder.encode(layer, x[layer]) for layer in range(N_LAYERS)]
    for layer in range(N_LAYERS):
        expected = transcoder.b_dec[layer].repeat(5, 1)
        for source in range(layer + 1) if kind == "clt" else [layer]:
            for feature in range(N_FEATURES):
                vector = transcoder.W_dec[source][feature, layer - source]
                expected = expected + activations[source][:, feature, None] * vector
        if skip:
            assert transcoder.W_skip is not None
            expected = expected + torch.stack([transcoder.W_skip[layer] @ row for row in x[layer]])
        assert torch.allclose(transcoder.decode(layer, activations, x[layer]), expected, rtol=1e-12)


def test_decode_with_skip_needs_what_the_encoder_read():
    transcoder = random_transcoder(skip=True)
    with pytest.raises(ValueError, match="skip connections: decode needs x"):
        transcoder.decode(0, [transcoder.encode(0, inputs())])


def test_decoder_rows_are_rows_of_the_decoder():
    transcoder, chosen = random_transcoder(), torch.tensor([4, 1])
    rows = transcoder.decoder_rows(0, 2, chosen)
    assert rows is not None
    assert torch.equal(rows, transcoder.W_dec[0][chosen, 2])
    assert transcoder.decoder_rows(2, 1, chosen) is None
    assert random_transcoder("plt").decoder_rows(0, 1, chosen) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 0}, "n_layers=0 must be at least 1"),
        ({"n_features": -1}, "n_features=-1 must be at least 1"),
        ({"activation": "topk"}, "activation='topk' needs k between 1 and n_features=6, not k=None"),
        ({"activation": "topk", "k": 7}, "not k=7"),
    ],
)
def test_sizes_that_cannot_be(change, message):
    sizes = {"kind": "clt", "n_layers": N_LAYERS, "n_features": N_FEATURES, "d_model": D_MODEL}
    with pytest.raises(ValueError, match=message):
        TranscoderConfig(**(sizes | change))


def test_repr_says_what_it_is():
    text = repr(random_transcoder("plt", "topk", skip=True))
    assert text == (
        "Transcoder(PLT, 3 layers x 6 features, d_model=4, topk, k=2, skip, hook_resid_mid -> hook_mlp_out)"
    )
