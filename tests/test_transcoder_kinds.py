"""Every kind of transcoder folder gives the features and reconstructions of the transcoder that it was written from."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
import yaml
from models import PROMPT, random_transcoder, tiny_hf_model
from safetensors.torch import load_file, save_file
from transcoder_kinds import KINDS, example, write_crosslayer

import circuitlab as cl
from circuitlab.formats.transcoders import find_transcoder, read_transcoder, write_transcoder


def inputs(transcoder, n_pos=9):
    generator = torch.Generator().manual_seed(2)
    shape = transcoder.config.n_layers, n_pos, transcoder.config.d_model
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def outputs(transcoder, x):
    activations = [transcoder.encode(layer, x[layer]) for layer in range(len(x))]
    return activations, [transcoder.decode(layer, activations, x[layer]) for layer in range(len(x))]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_reads_as_what_was_written(tmp_path, name, lazy):
    transcoder, folder = example(name, tmp_path / "set")
    again = read_transcoder(folder, dtype=torch.float64, lazy=lazy)
    expected, found = transcoder.config, again.config
    for field in ("kind", "n_layers", "n_features", "d_model", "activation", "k", "input_hook", "output_hook", "skip"):
        assert getattr(found, field) == getattr(expected, field), field
    x = inputs(transcoder)
    for part, parts in zip(outputs(again, x), outputs(transcoder, x), strict=True):
        for layer, (one, other) in enumerate(zip(part, parts, strict=True)):
            assert (one - other).abs().max() <= 1e-12 * max(1.0, other.abs().max()), (name, layer)
    assert any((a > 0).any() for a in outputs(transcoder, x)[0])


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_traces_to_the_same_graph(tmp_path, name, lazy):
    transcoder, folder = example(name, tmp_path / "set")
    model = cl.load_model(tiny_hf_model("gemma2"))
    graph = cl.load(model, transcoder).trace(PROMPT, max_features=12)
    again = cl.load(model, read_transcoder(folder, dtype=torch.float64, lazy=lazy)).trace(PROMPT, max_features=12)
    assert graph.nodes["id"].tolist() == again.nodes["id"].tolist()
    largest = graph.edges["weight"].abs().max()
    assert (graph.edges["weight"] - again.edges["weight"]).abs().max() < 1e-10 * largest
    assert again.check().attrs["worst"] < 1e-9


def test_lazy_weights_serve_interventions_and_features(tmp_path):
    transcoder, folder = example("gemmascope 2 clt", tmp_path / "set")
    hf_model = tiny_hf_model("llama")
    held, stored = (cl.load(hf_model, t) for t in (transcoder, read_transcoder(folder, dtype=torch.float64, lazy=True)))
    graph = held.trace(PROMPT, max_features=5)
    feature = graph.nodes.loc[graph.nodes.kind == "feature", "id"].iloc[0]
    runs = [model.intervene(PROMPT, {feature: 2.0}).top_tokens() for model in (held, stored)]
    assert np.allclose(runs[0]["after"], runs[1]["after"], rtol=1e-10)
    weights = [[n.weight for n in model.features[1, 3].reads_from] for model in (held, stored)]
    assert np.allclose(*weights, rtol=1e-10)
    assert weights[0]
    assert not any(p.numel() > 24 * 32 for p in stored.transcoder.parameters())


def test_lazy_weights_move_and_round_like_the_others(tmp_path):
    _, folder = example("clt", tmp_path / "set")
    transcoder = read_transcoder(folder, lazy=True).to(torch.float32)
    assert transcoder.W_enc[0].dtype == transcoder.W_dec[1].dtype == transcoder.dtype == torch.float32
    assert transcoder.W_dec[1].shape == (24, 2, 32)
    assert [w.shape[1] for w in transcoder.W_dec] == [3, 2, 1]


def test_lazy_weights_that_are_damaged_later_name_file_and_key(tmp_path):
    _, folder = example("clt", tmp_path / "set")
    transcoder = read_transcoder(folder, lazy=True)
    path = folder / "W_enc_1.safetensors"
    tensors = load_file(path)
    tensors["W_enc_1"][3, 4] = float("nan")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"W_enc_1\.safetensors: W_enc_1 holds NaN"):
        transcoder.pre_activations(1, torch.ones(2, 32, dtype=torch.float64))
    save_file({**tensors, "W_enc_1": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"W_enc_1 has shape \[2, 2\], had \[24, 32\] before"):
        transcoder.pre_activations(1, torch.ones(2, 32, dtype=torch.float64))


# ---- each kind's own traps ----


def test_npz_with_python_objects_is_refused_unexecuted(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    _, folder = example("gemmascope", tmp_path / "set")
    path = next(folder.rglob("params.npz"))
    np.savez(path, W_enc=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match=r"params\.npz: W_enc holds object.*never loaded"):
        read_transcoder(folder)
    assert not (tmp_path / "ran").exists()


def test_pt_with_python_objects_is_refused_unexecuted(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    _, folder = example("crosslayer pt", tmp_path / "set")
    torch.save({"encoder_module.encoders.0.weight": Bomb()}, folder / "clt.pt")
    with pytest.raises(ValueError, match=r"clt\.pt cannot be read as a state dict \(only tensors"):
        read_transcoder(folder)
    (folder / "clt.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"clt\.pt is not a \.pt file"):
        read_transcoder(folder)
    assert not (tmp_path / "ran").exists()


def test_compressed_npz_reads_and_a_bomb_does_not(tmp_path):
    transcoder, folder = example("gemmascope", tmp_path / "set")
    for path in folder.rglob("params.npz"):
        np.savez_compressed(path, **np.load(path))
    again = read_transcoder(folder, lazy=True)
    assert torch.equal(again.W_enc[2], transcoder.W_enc[2])
    np.savez_compressed(path, W_enc=np.zeros((3000, 3000)))
    with pytest.raises(ValueError, match="W_enc would unpack to 72,000,128 bytes"):
        read_transcoder(folder)


def test_gemmascope_with_two_widths_asks_which(tmp_path):
    _, folder = example("gemmascope listed", tmp_path / "set")
    (folder / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"several transcoders for layer 0: .*width_16k.* and .*width_1m"):
        read_transcoder(folder)


def test_gemmascope_with_a_gap(tmp_path):
    _, folder = example("gemmascope", tmp_path / "set")
    next((folder / "layer_1").rglob("params.npz")).unlink()
    with pytest.raises(FileNotFoundError, match="no transcoder for layer 1"):
        read_transcoder(folder)


def test_gemmascope2_clt_with_relative_outputs_is_refused(tmp_path):
    _, folder = example("gemmascope 2 clt", tmp_path / "set")
    path = folder / "params_layer_1.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "w_dec": tensors["w_dec"][:, :2].contiguous()}, path)
    with pytest.raises(
        ValueError, match=r"params_layer_1\.safetensors: w_dec has shape \[24, 2, 32\], expected \[feat"
    ):
        read_transcoder(folder)


@pytest.mark.parametrize("entry", ["../outside/layer_0.npz", "/etc/passwd", "", "a\0b", "layer_0/../../outside.npz"])
def test_listed_paths_stay_inside_the_folder(tmp_path, entry):
    _, folder = example("gemmascope listed", tmp_path / "set")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | {"transcoders": [entry] * 3}))
    with pytest.raises(ValueError, match=r"config\.yaml: transcoders lists .*no file inside the folder"):
        read_transcoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_fn": "batchtopk"}, "activation_fn is 'batchtopk', expected"),
        ({"activation_fn": "topk", "topk_k": 3}, "layers compete"),
        ({"activation_fn": "topk", "topk_k": 99, "topk_mode": "per_layer"}, "topk_k is 99"),
        ({"decoder_tying": "everything"}, "decoder_tying is 'everything'"),
        ({"num_layers": -1}, "num_layers is -1, expected a whole number"),
        ({"num_features": 10**30}, "num_features is 1000000"),
        ({"num_features": 25}, r"weight has shape \[24, 32\], expected \[25, 32\] as in cfg\.json"),
        ({"num_layers": 4}, r"norm_stats\.json: 3\.inputs\.mean is not a list"),
        ({"normalization_method": "sqrt_d_model"}, "'sqrt_d_model' is not read"),
    ],
)
def test_crosslayer_settings_that_cannot_be_followed(tmp_path, change, message):
    _, folder = example("crosslayer", tmp_path / "set")
    path = folder / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_transcoder(folder)


def test_crosslayer_without_its_statistics(tmp_path):
    transcoder, folder = example("crosslayer", tmp_path / "sets" / "one")
    (folder / "norm_stats.json").rename(tmp_path / "sets" / "norm_stats.json")  # as published sets have it
    assert torch.allclose(read_transcoder(folder).b_enc[1], transcoder.b_enc[1], rtol=1e-12)
    (tmp_path / "sets" / "norm_stats.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no norm_stats\.json, but cfg\.json says normalization_method"):
        read_transcoder(folder)


def test_crosslayer_statistics_that_make_no_sense(tmp_path):
    _, folder = example("crosslayer", tmp_path / "set")
    path = folder / "norm_stats.json"
    found = json.loads(path.read_text())
    found["1"]["targets"]["std"][3] = 0.0
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"norm_stats\.json: 1\.targets\.std is not a list of 32 numbers above 0"):
        read_transcoder(folder)


def test_crosslayer_feature_scales_and_offsets_of_tied_targets(tmp_path):
    """ŷ_t = dec_t(Σ_s (a_s + offset_t) scale_t), offsets on all features: a constant."""
    _, folder = example("crosslayer per target", tmp_path / "set")
    (folder / "norm_stats.json").unlink()
    cfg = json.loads((folder / "cfg.json").read_text()) | {"normalization_method": "none"}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    plain = read_transcoder(folder)
    state, generator = load_file(folder / "clt.safetensors"), torch.Generator().manual_seed(0)
    offset, scale = torch.randn(2, 3, 24, generator=generator, dtype=torch.float64)
    for t in range(3):
        state |= {f"decoder_module.feature_offset.{t}": offset[t], f"decoder_module.feature_scale.{t}": scale[t]}
    save_file(state, folder / "clt.safetensors")
    x = inputs(plain)
    activations, _ = outputs(plain, x)
    _, found = outputs(read_transcoder(folder), x)
    for t in range(3):
        summed = sum((activations[s] + offset[t]) * scale[t] for s in range(t + 1))
        expected = (
            summed @ state[f"decoder_module.decoders.{t}.weight"].T + state[f"decoder_module.decoders.{t}.bias_param"]
        )
        assert torch.allclose(found[t], expected, rtol=1e-11, atol=1e-11)


def test_crosslayer_decoders_across_layers_by_skip_are_refused(tmp_path):
    _, folder = example("crosslayer", tmp_path / "set")
    state = load_file(folder / "clt.safetensors")
    save_file(state | {"decoder_module.skip_weights.0->1": torch.eye(32)}, folder / "clt.safetensors")
    with pytest.raises(ValueError, match=r"skip_weights\.0->1 is something that circuitlab does not read"):
        read_transcoder(folder)


def test_crosslayer_per_layer_topk(tmp_path):
    transcoder = random_transcoder("clt", activation="topk", k=6)
    folder = write_crosslayer(transcoder, tmp_path / "set")
    path = folder / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"topk_mode": "per_layer", "topk_k": 0.25}))
    assert read_transcoder(folder).config.k == 6


@pytest.mark.parametrize(
    ("templates", "hooks"),
    [
        ({"mlp_input_template": "transformer.h.{}.ln_2.input"}, ("hook_resid_mid", "hook_mlp_out")),
        ({"mlp_input_template": "gpt_neox.layers.{}.mlp.input"}, ("mlp.hook_in", "hook_mlp_out")),
        ({"mlp_output_template": "transformer.h.{}.mlp.output"}, ("hook_resid_mid", "mlp.hook_out")),
        ({"tl_input_template": "blocks.{}.ln2.hook_normalized"}, ("ln2.hook_normalized", "hook_mlp_out")),
    ],
)
def test_crosslayer_hooks_from_templates(tmp_path, templates, hooks):
    _, folder = example("crosslayer", tmp_path / "set")
    cfg = {k: v for k, v in json.loads((folder / "cfg.json").read_text()).items() if not k.startswith("tl_")}
    (folder / "cfg.json").write_text(json.dumps(cfg | templates))
    config = find_transcoder(folder).config
    assert (config.input_hook, config.output_hook) == hooks


def test_all_kinds_become_circuit_tracers(tmp_path):
    for name in KINDS:
        transcoder, folder = example(name, tmp_path / name / "set")
        written = write_transcoder(read_transcoder(folder, lazy=True), tmp_path / name / "out")
        again = read_transcoder(written)
        assert find_transcoder(written).form == f"circuit-tracer {transcoder.config.kind.upper()}"
        x = inputs(transcoder)
        for one, other in zip(outputs(again, x)[1], outputs(transcoder, x)[1], strict=True):
            assert torch.allclose(one, other, rtol=1e-11, atol=1e-11), name
