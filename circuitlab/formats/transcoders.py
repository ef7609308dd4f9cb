"""Transcoder folders: `config.yaml` and one or two safetensors files per layer.

Reads and writes the two layouts of circuit-tracer's transcoder repositories (L layers, F features, width d):

    per-layer (PLT)    layer_{i}.safetensors   W_enc [F, d], W_dec [F, d], b_enc [F], b_dec [d]; optional
                                               activation_function.threshold [F], W_skip [d, d], k [1]
    cross-layer (CLT)  W_enc_{i}.safetensors   W_enc_{i} [F, d], b_enc_{i} [F], b_dec_{i} [d]; optional
                                               threshold_{i} [F], W_skip_{i} [d, d]
                       W_dec_{i}.safetensors   W_dec_{i} [F, L-i, d], index j writing to layer i + j

A threshold makes the transcoder a JumpReLU one, `k` (in config.yaml or in the file) a TopK one, neither a
ReLU one. Files are read by safetensors and by YAML's safe loader: nothing in them is ever executed. What is
missing, has another shape, or holds NaN or infinity is refused by a ValueError that names the file and key. A
folder is written beside its place first and moved there when complete, config.yaml last: no reader sees half.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from circuitlab.transcoder import Transcoder, TranscoderConfig

CONFIG_FILE = "config.yaml"
MODEL_KINDS = {"transcoder_set": "plt", "cross_layer_transcoder": "clt"}
LAYER_FILE = {"plt": "layer_{}.safetensors", "clt": "W_enc_{}.safetensors"}
TRANSCODER_FILE = re.compile(r"(layer|W_enc|W_dec)_\d+\.safetensors")


def read_transcoder(
    folder: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Transcoder:
    """The transcoder of a local folder, on `device` (default: the CPU) and in `dtype` (default: the files').

    Raises FileNotFoundError where the folder or one of its files is missing, and ValueError, naming the file,
    the key, what was found and what was expected, where a file is damaged or does not fit the others.
    """
    folder = Path(folder)
    settings = _read_config(folder)
    kind = MODEL_KINDS[settings["model_kind"]]
    n_layers = _count_layers(folder, kind, settings)
    layers = [_read_layer(folder, kind, layer, n_layers) for layer in range(n_layers)]
    config = _transcoder_config(folder, kind, layers, settings)
    with torch.device("meta"):
        transcoder = Transcoder(config)
    dtype = dtype or layers[0]["W_enc"].dtype
    for name, parameters in transcoder.named_children():
        assert isinstance(parameters, nn.ParameterList)
        for layer, tensors in enumerate(layers):
            path = folder / LAYER_FILE[kind].format(layer)
            expected = tuple(parameters[layer].shape)
            found = _take(tensors, name, expected, path)
            parameters[layer] = nn.Parameter(found.to(device=device or "cpu", dtype=dtype))
    return transcoder


def write_transcoder(transcoder: Transcoder, folder: str | os.PathLike[str]) -> Path:
    """Write a transcoder as a folder that `read_transcoder` and circuit-tracer read; returns the folder.

    Other files in an existing folder stay; the files of a transcoder that was there before are replaced.
    Weights that are NaN or infinite are refused with a ValueError before anything is written.
    """
    folder = Path(folder)
    if transcoder.exact:
        raise ValueError("these are a model's own MLP neurons, not a transcoder: there is nothing to write")
    files = _layer_files(transcoder)
    for file, tensors in files.items():
        for key, tensor in tensors.items():
            _refuse_not_finite(tensor, key, folder / file)
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for file, tensors in files.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, staging / file)
        text = yaml.safe_dump(_settings(transcoder.config), sort_keys=False)
        (staging / CONFIG_FILE).write_text(text, encoding="utf-8")
        _move_into_place(staging, folder, [*files, CONFIG_FILE])
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _move_into_place(staging: Path, folder: Path, names: list[str]) -> None:
    """Move complete files over those of an earlier transcoder; a folder without config.yaml is incomplete."""
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    for old in folder.iterdir():
        if TRANSCODER_FILE.fullmatch(old.name) and old.name not in names:
            old.unlink()
    for name in names:
        os.replace(staging / name, folder / name)


def _settings(config: TranscoderConfig) -> dict[str, Any]:
    """config.yaml's content; JumpReLU is told by the thresholds alone, as published folders do."""
    kinds = {kind: name for name, kind in MODEL_KINDS.items()}
    settings: dict[str, Any] = {
        "model_name": config.model_name,
        "model_kind": kinds[config.kind],
        "feature_input_hook": config.input_hook,
        "feature_output_hook": config.output_hook,
    }
    if config.activation != "jumprelu":
        settings["activation"] = config.activation
    if config.activation == "topk":
        settings["k"] = config.k
    return settings


def _layer_files(transcoder: Transcoder) -> dict[str, dict[str, Tensor]]:
    """File name -> key -> tensor, for every file of the folder but config.yaml."""
    config = transcoder.config
    files: dict[str, dict[str, Tensor]] = {}
    for layer in range(config.n_layers):
        tensors = {
            name: parameters[layer].detach()
            for name, parameters in transcoder.named_children()
            if isinstance(parameters, nn.ParameterList)
        }
        if config.kind == "plt":
            tensors["W_dec"] = tensors["W_dec"].squeeze(1)
            if "threshold" in tensors:
                tensors["activation_function.threshold"] = tensors.pop("threshold")
            files[f"layer_{layer}.safetensors"] = tensors
        else:
            decoder = tensors.pop("W_dec")
            files[f"W_enc_{layer}.safetensors"] = {f"{key}_{layer}": value for key, value in tensors.items()}
            files[f"W_dec_{layer}.safetensors"] = {f"W_dec_{layer}": decoder}
    return files


def _read_config(folder: Path) -> dict[str, Any]:
    """config.yaml as a dict, its `model_kind` and hook names checked."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected a transcoder folder with {CONFIG_FILE} in it")
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {CONFIG_FILE}; a transcoder folder needs one, with model_kind, "
            f"feature_input_hook and feature_output_hook"
        )
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds {type(settings).__name__}, expected a mapping of settings")
    if settings.get("model_kind") not in MODEL_KINDS:
        found, known = settings.get("model_kind"), " or ".join(map(repr, MODEL_KINDS))
        raise ValueError(f"{path}: model_kind is {found!r}, expected {known}")
    for key in ("feature_input_hook", "feature_output_hook"):
        if not isinstance(settings.get(key), str):
            raise ValueError(f"{path}: {key} is {settings.get(key)!r}, expected a hook name such as 'hook_mlp_out'")
    if settings.get("activation") not in (None, "relu", "jumprelu", "topk"):
        found = settings["activation"]
        raise ValueError(f"{path}: activation is {found!r}, expected 'relu', 'jumprelu' or 'topk'")
    return settings


def _count_layers(folder: Path, kind: str, settings: Mapping[str, Any]) -> int:
    """How many layers the folder has; their files must be numbered 0, 1, 2, … without a gap."""
    pattern = re.compile(LAYER_FILE[kind].replace(".", r"\.").format(r"(\d+)"))
    found = sorted(int(match[1]) for file in folder.iterdir() if (match := pattern.fullmatch(file.name)))
    if not found:
        hint = "; its config.yaml lists addresses to download first" if settings.get("transcoders") else ""
        raise FileNotFoundError(f"{folder} has no {LAYER_FILE[kind].format(0)}{hint}")
    missing = sorted(set(range(found[-1] + 1)) - set(found))
    if missing:
        names = ", ".join(LAYER_FILE[kind].format(layer) for layer in missing)
        raise FileNotFoundError(f"{folder} has {LAYER_FILE[kind].format(found[-1])} but lacks {names}")
    return len(found)


def _read_layer(folder: Path, kind: str, layer: int, n_layers: int) -> dict[str, Tensor]:
    """One layer's tensors under the names of `Transcoder`'s parameters, W_dec as [F, out, d]."""
    if kind == "plt":
        tensors = _read_file(
            folder / f"layer_{layer}.safetensors",
            {"activation_function.threshold": "threshold"}.get,
            required=("W_enc", "W_dec", "b_enc", "b_dec"),
            optional=("threshold", "W_skip", "k"),
        )
        if tensors["W_dec"].ndim == 2:
            tensors["W_dec"] = tensors["W_dec"].unsqueeze(1)
        return tensors
    suffix = f"_{layer}"
    encoder = _read_file(
        folder / f"W_enc_{layer}.safetensors",
        lambda key: key.removesuffix(suffix) if key.endswith(suffix) else None,
        required=("W_enc", "b_enc", "b_dec"),
        optional=("threshold", "W_skip"),
        suffix=suffix,
    )
    decoder = _read_file(
        folder / f"W_dec_{layer}.safetensors",
        lambda key: key.removesuffix(suffix) if key.endswith(suffix) else None,
        required=("W_dec",),
        suffix=suffix,
    )
    return encoder | decoder


def _read_file(
    path: Path,
    rename: Callable[[str], str | None],
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    suffix: str = "",
) -> dict[str, Tensor]:
    """A safetensors file's tensors under our names; a missing, unknown, or not finite one is refused."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a file with {', '.join(n + suffix for n in required)}")
    try:
        with safe_open(path, framework="pt") as file:
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    tensors = {rename(key) or key: tensor for key, tensor in stored.items()}
    missing = [name + suffix for name in required if name not in tensors]
    unknown = [key for key in stored if (rename(key) or key) not in (*required, *optional)]
    if missing or unknown:
        wanted = ", ".join(name + suffix for name in required)
        raise ValueError(
            f"{path} has the keys {', '.join(sorted(stored)) or '(none)'}; expected {wanted}"
            + (f" and, optionally, {', '.join(name + suffix for name in optional)}" if optional else "")
        )
    for key, tensor in stored.items():
        _refuse_not_finite(tensor, key, path)
    return tensors


def _transcoder_config(
    folder: Path, kind: str, layers: list[dict[str, Tensor]], settings: Mapping[str, Any]
) -> TranscoderConfig:
    """Sizes from the first encoder; activation, k and skip from what the files of all layers hold."""
    first = layers[0]
    if first["W_enc"].ndim != 2:
        path = folder / LAYER_FILE[kind].format(0)
        raise ValueError(f"{path}: W_enc has shape {list(first['W_enc'].shape)}, expected [features, d_model]")
    for layer, tensors in enumerate(layers):
        for name in ("threshold", "W_skip", "k"):
            if (name in tensors) != (name in first):
                has, lacks = (layer, 0) if name in tensors else (0, layer)
                raise ValueError(f"{folder}: layer {has} has {name} and layer {lacks} has not; expected all or none")
    k = _topk(folder, kind, layers, settings)
    if k is not None and "threshold" in first:
        raise ValueError(f"{folder}: both k={k} (TopK) and threshold (JumpReLU) are there; expected one of them")
    if settings.get("activation") == "jumprelu" and "threshold" not in first:
        raise ValueError(f"{folder / CONFIG_FILE}: activation is 'jumprelu' but the layer files hold no threshold")
    n_features, d_model = first["W_enc"].shape
    try:
        return TranscoderConfig(
            kind=kind,  # type: ignore[arg-type]
            n_layers=len(layers),
            n_features=n_features,
            d_model=d_model,
            activation="jumprelu" if "threshold" in first else "relu" if k is None else "topk",
            k=k,
            input_hook=settings["feature_input_hook"],
            output_hook=settings["feature_output_hook"],
            model_name=str(settings.get("model_name") or ""),
            skip="W_skip" in first,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _topk(folder: Path, kind: str, layers: list[dict[str, Tensor]], settings: Mapping[str, Any]) -> int | None:
    """TopK's k from config.yaml or the layer files, which must agree; None where there is no TopK."""
    values: dict[str, Any] = {}
    if settings.get("activation") == "topk" or "k" in settings:
        values[str(folder / CONFIG_FILE)] = settings.get("k")
    for layer, tensors in enumerate(layers):
        if "k" in tensors:
            k = tensors.pop("k")
            values[str(folder / LAYER_FILE[kind].format(layer))] = k.item() if k.numel() == 1 else k.tolist()
    if not values or settings.get("activation") == "relu":
        return None
    if values.get(str(folder / CONFIG_FILE), 0) is None and len(values) > 1:
        del values[str(folder / CONFIG_FILE)]
    for path, k in values.items():
        if not isinstance(k, int | float) or k != int(k) or k < 1:
            raise ValueError(f"{path}: k is {k!r}, expected a whole number of at least 1 for TopK")
    if len(set(values.values())) > 1:
        found = ", ".join(f"{k} in {path}" for path, k in values.items())
        raise ValueError(f"{folder}: k differs: {found}; expected one k for all layers")
    return int(next(iter(values.values())))


def _take(tensors: Mapping[str, Tensor], name: str, expected: tuple[int, ...], path: Path) -> Tensor:
    """A layer's tensor, its shape and number type checked."""
    tensor = tensors[name]
    if tuple(tensor.shape) != expected:
        if name == "W_dec":
            path = path.with_name(path.name.replace("W_enc", "W_dec"))
        raise ValueError(f"{path}: {name} has shape {list(tensor.shape)}, expected {list(expected)}")
    if not tensor.is_floating_point():
        raise ValueError(f"{path}: {name} holds {tensor.dtype}, expected floating-point numbers")
    return tensor


def _refuse_not_finite(tensor: Tensor, key: str, path: Path) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{path}: {key} holds {bad} NaN or infinite numbers of {tensor.numel()}; expected none")
