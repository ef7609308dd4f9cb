"""Transcoder folders: what is written is read back, and every malformed folder ends in one telling error."""

from __future__ import annotations

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from circuitlab.formats.transcoders import convert_transcoder, read_transcoder, write_transcoder
from circuitlab.formats.transcoders.tensor_files import headers
from circuitlab.transcoder import Transcoder, TranscoderConfig

N_LAYERS, N_FEATURES, D_MODEL = 3, 8, 4


def random_transcoder(kind="clt", activation="relu", skip=False, dtype=torch.float32) -> Transcoder:
    config = TranscoderConfig(
        kind=kind,
        n_layers=N_LAYERS,
        n_features=N_FEATURES,
        d_model=D_MODEL,
        activation=activation,
        k=2 if activation == "topk" else None,
        input_hook="hook_resid_mid",
        output_hook="hook_mlp_out",
        model_name="tiny",
        skip=skip,
    )
    transcoder = Transcoder(config, dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in transcoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return transcoder


def rewrite(path, **changes) -> None:
    """Change, add or (with None) drop tensors of a safetensors file."""
    tensors = load_file(path)
    tensors.update({key: value for key, value in changes.items() if value is not None})
    save_file({key: value for key, value in tensors.items() if changes.get(key, 0) is not None}, path)


@pytest.fixture
def clt(tmp_path):
    return write_transcoder(random_transcoder("clt", "jumprelu"), tmp_path / "clt")


@pytest.fixture
def plt(tmp_path):
    return write_transcoder(random_transcoder("plt"), tmp_path / "plt")


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("activation", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_round_trip(tmp_path, kind, activation, skip):
    transcoder = random_transcoder(kind, activation, skip)
    again = read_transcoder(write_transcoder(transcoder, tmp_path / "out"))
    assert again.config == transcoder.config
    expected = transcoder.state_dict()
    assert again.state_dict().keys() == expected.keys()
    for name, value in again.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_files_are_those_of_the_format(clt, plt):
    first = load_file(clt / "W_enc_1.safetensors")
    assert {key: tuple(value.shape) for key, value in first.items()} == {
        "W_enc_1": (N_FEATURES, D_MODEL),
        "b_enc_1": (N_FEATURES,),
        "b_dec_1": (D_MODEL,),
        "threshold_1": (N_FEATURES,),
    }
    assert load_file(clt / "W_dec_1.safetensors")["W_dec_1"].shape == (N_FEATURES, N_LAYERS - 1, D_MODEL)
    assert load_file(plt / "layer_2.safetensors")["W_dec"].shape == (N_FEATURES, D_MODEL)
    settings = yaml.safe_load((clt / "config.yaml").read_text())
    assert settings == {
        "model_name": "tiny",
        "model_kind": "cross_layer_transcoder",
        "feature_input_hook": "hook_resid_mid",
        "feature_output_hook": "hook_mlp_out",
    }


def test_dtype_is_the_files_unless_given(tmp_path):
    folder = write_transcoder(random_transcoder(dtype=torch.bfloat16), tmp_path / "out")
    assert read_transcoder(folder).dtype == torch.bfloat16
    assert read_transcoder(folder, dtype=torch.float64).dtype == torch.float64


def test_writing_over_another_kind_leaves_none_of_its_files(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    write_transcoder(random_transcoder("plt"), tmp_path / "out")
    write_transcoder(random_transcoder("clt"), tmp_path / "out")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    layers = {f"W_{part}_{layer}.safetensors" for part in ("enc", "dec") for layer in range(N_LAYERS)}
    assert names == {"notes.txt", "config.yaml", *layers}


def test_failed_write_leaves_the_earlier_transcoder(clt, monkeypatch):
    before = {file.name: file.read_bytes() for file in clt.iterdir()}

    def full_disk(tensors, path):
        raise OSError("no space left on device")

    monkeypatch.setattr("circuitlab.formats.transcoders.writing.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_transcoder(random_transcoder("clt"), clt)
    assert {file.name: file.read_bytes() for file in clt.iterdir()} == before


def test_nan_is_not_written(tmp_path):
    transcoder = random_transcoder()
    with torch.no_grad():
        transcoder.W_enc[1][2, 3] = float("nan")
    with pytest.raises(ValueError, match=r"W_enc_1\.safetensors: W_enc_1 holds 1 NaN or infinite"):
        write_transcoder(transcoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_is_not_read(plt):
    rewrite(plt / "layer_0.safetensors", b_dec=torch.full((D_MODEL,), float("inf")))
    with pytest.raises(ValueError, match=r"layer_0\.safetensors: b_dec holds 4 NaN or infinite numbers of 4"):
        read_transcoder(plt)


def test_wrong_shapes_name_file_key_found_and_expected(clt):
    rewrite(clt / "W_dec_1.safetensors", W_dec_1=torch.zeros(N_FEATURES, 1, D_MODEL))
    with pytest.raises(ValueError, match=r"W_dec_1\.safetensors: W_dec has shape \[8, 1, 4\], expected \[8, 2, 4\]"):
        read_transcoder(clt)


def test_layers_of_different_size(plt):
    rewrite(plt / "layer_1.safetensors", W_enc=torch.zeros(N_FEATURES + 1, D_MODEL))
    with pytest.raises(ValueError, match=r"layer_1\.safetensors: W_enc has shape \[9, 4\], expected \[8, 4\]"):
        read_transcoder(plt)


def test_missing_key(plt):
    rewrite(plt / "layer_1.safetensors", b_enc=None)
    with pytest.raises(ValueError, match=r"layer_1\.safetensors has the keys W_dec, W_enc, b_dec; expected W_enc, W_d"):
        read_transcoder(plt)


def test_unknown_key(clt):
    rewrite(clt / "W_enc_0.safetensors", W_gate_0=torch.zeros(2))
    with pytest.raises(
        ValueError, match=r"W_gate_0.*; expected W_enc_0, b_enc_0, b_dec_0 and, optionally, threshold_0"
    ):
        read_transcoder(clt)


def test_whole_numbers_are_no_weights(plt):
    rewrite(plt / "layer_0.safetensors", b_enc=torch.zeros(N_FEATURES, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"layer_0\.safetensors: b_enc holds torch.int64, expected floating-point"):
        read_transcoder(plt)


def test_missing_layers_and_files(clt, plt):
    (plt / "layer_1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has layer_2\.safetensors but lacks layer_1\.safetensors"):
        read_transcoder(plt)
    (clt / "W_dec_2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"W_dec_2\.safetensors is missing; expected a file with W_dec_2"):
        read_transcoder(clt)


def test_truncated_file(clt):
    path = clt / "W_enc_1.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"W_enc_1\.safetensors is not a whole safetensors file"):
        read_transcoder(clt)


def test_threshold_in_some_layers_only(clt):
    rewrite(clt / "W_enc_2.safetensors", threshold_2=None)
    with pytest.raises(ValueError, match="layer 0 has threshold and layer 2 has not"):
        read_transcoder(clt)


def test_folder_without_config_and_no_folder(clt, tmp_path):
    (clt / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.yaml"):
        read_transcoder(clt)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read_transcoder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_kind": "lorsa"},
            "model_kind is 'lorsa', expected 'transcoder_set' or 'cross_layer_transcoder'",
        ),
        ({"feature_input_hook": None}, "feature_input_hook is None, expected a hook name"),
        ({"activation": "gelu"}, "activation is 'gelu', expected 'relu', 'jumprelu' or 'topk'"),
        ({"activation": "topk"}, r"config\.yaml: k is None, expected a whole number"),
        ({"activation": "topk", "k": 99}, "k between 1 and n_features=8, not k=99"),
        ({"activation": "jumprelu"}, "activation is 'jumprelu' but the layer files hold no threshold"),
    ],
)
def test_bad_settings(plt, change, message):
    path = plt / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_transcoder(plt)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "!!python/object/apply:os.getcwd []"])
def test_config_that_is_no_mapping(plt, text):
    (plt / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        read_transcoder(plt)


@pytest.mark.parametrize("text", ["a: " + "[" * 30_000, "- " * 20_000, "{a: " * 10_000, "a: [" * 21])
def test_deeply_nested_settings_are_refused_at_once(plt, text):
    (plt / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml nests deeper than 20"):
        read_transcoder(plt)


def test_k_in_the_layer_files(plt):
    for layer in range(N_LAYERS):
        rewrite(plt / f"layer_{layer}.safetensors", k=torch.tensor(3))
    path = plt / "config.yaml"
    path.write_text(path.read_text().replace("activation: relu\n", ""))
    assert read_transcoder(plt).config.k == 3
    rewrite(plt / "layer_1.safetensors", k=torch.tensor(4))
    with pytest.raises(ValueError, match=r"k differs: 3 in .*layer_0.*, 4 in .*layer_1"):
        read_transcoder(plt)


def test_addresses_without_files(tmp_path):
    settings = {
        "model_kind": "transcoder_set",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "m",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"transcoders": ["hf://owner/repo/layer_0"]}))
    with pytest.raises(FileNotFoundError, match=r"no layer_0\.safetensors; its config\.yaml lists addresses"):
        read_transcoder(tmp_path)


# ---- numbers of 8 bits, and tensors that are more than their file ----


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_8_bits_are_read_where_they_can_be_computed_with(tmp_path, dtype):
    folder = write_transcoder(random_transcoder("plt"), tmp_path / "set")
    for layer in range(N_LAYERS):
        path = folder / f"layer_{layer}.safetensors"
        save_file({key: tensor.to(dtype) for key, tensor in load_file(path).items()}, path)
    written = load_file(folder / "layer_0.safetensors")
    x, rows = torch.randn(3, D_MODEL), torch.tensor([5, 1])
    for lazy in (False, True):
        assert read_transcoder(folder, lazy=lazy).dtype == torch.bfloat16
        found = read_transcoder(folder, dtype=torch.float32, lazy=lazy)
        assert torch.equal(found.W_enc[0], written["W_enc"].float())
        assert torch.equal(found.decoder_rows(0, 0, rows), written["W_dec"].float()[rows])
        assert torch.isfinite(found.encode(0, x)).all()
    converted = read_transcoder(convert_transcoder(folder, tmp_path / "clt", "clt"), dtype=torch.float32)
    assert torch.equal(converted.W_enc[0], written["W_enc"].float())
    written["W_enc"].view(torch.uint8)[0, 0] = 0x7F  # not a number, in both
    save_file(written, folder / "layer_0.safetensors")
    with pytest.raises(ValueError, match=r"layer_0\.safetensors: W_enc holds 1 NaN"):
        read_transcoder(folder)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(1).expand(10**6, 10**6), "a claims 1,000,000,000,000 numbers and holds 4 bytes: refused"),
        (torch.eye(3).to_sparse(), "a is a sparse, quantized or empty tensor"),
        (torch.zeros(3, device="meta"), "a is a sparse, quantized or empty tensor"),
    ],
)
def test_a_pickled_tensor_is_no_more_than_its_file(tmp_path, tensor, said):
    torch.save({"a": tensor}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=said):
        headers(tmp_path / "a.pt")


@pytest.mark.parametrize("key", ["~", "true", "1"])
def test_a_setting_without_a_name_is_refused(plt, key):
    """YAML reads `~:` and `true:` as keys that are no text."""
    path = plt / "config.yaml"
    path.write_text(f"{key}: x\n{path.read_text()}")
    with pytest.raises(ValueError, match="is no name of a setting"):
        read_transcoder(plt)
