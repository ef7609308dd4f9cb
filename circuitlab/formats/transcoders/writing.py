"""Writing a transcoder as a folder that circuit-tracer and circuitlab read: a PLT or a CLT (plt.py and clt.py say how).

A folder is written beside its place first and moved there when complete, config.yaml last: no reader sees half. One
layer is in memory at a time, so a transcoder that stays in its files is converted without being loaded.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from circuitlab.formats.transcoder_settings import CONFIG_FILE, MODEL_KINDS
from circuitlab.transcoder import Transcoder, TranscoderConfig

TRANSCODER_FILE = re.compile(r"(layer|W_enc|W_dec)_\d+\.safetensors")


def write_transcoder(transcoder: Transcoder, folder: str | os.PathLike[str]) -> Path:
    """Write a transcoder as a folder that `read_transcoder` and circuit-tracer read; returns the folder.

    Other files in an existing folder stay; the files of a transcoder that was there before are replaced.
    Weights that are NaN or infinite are refused with a ValueError, and the folder is left as it was.
    """
    folder = Path(folder)
    if transcoder.exact:
        raise ValueError("these are a model's own MLP neurons, not a transcoder: there is nothing to write")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder to write the transcoder into")
    was_there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    names: list[str] = []
    try:
        for layer in range(transcoder.config.n_layers):
            for file, tensors in _layer_files(transcoder, layer).items():
                for key, tensor in tensors.items():
                    _refuse_not_finite(tensor, key, folder / file)
                save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, staging / file)
                names.append(file)
        text = yaml.safe_dump(_settings(transcoder.config), sort_keys=False)
        (staging / CONFIG_FILE).write_text(text, encoding="utf-8")
        _move_into_place(staging, folder, [*names, CONFIG_FILE])
    except BaseException:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
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


def _layer_files(transcoder: Transcoder, layer: int) -> dict[str, dict[str, Tensor]]:
    """File name -> key -> tensor of one layer."""
    tensors = {
        "W_enc": transcoder.W_enc[layer].detach(),
        "b_enc": transcoder.b_enc[layer].detach(),
        "b_dec": transcoder.b_dec[layer].detach(),
    }
    if transcoder.threshold is not None:
        tensors["threshold"] = transcoder.threshold[layer].detach()
    if transcoder.W_skip is not None:
        tensors["W_skip"] = transcoder.W_skip[layer].detach()
    decoder = transcoder.W_dec[layer].detach()
    if transcoder.config.kind == "plt":
        if "threshold" in tensors:
            tensors["activation_function.threshold"] = tensors.pop("threshold")
        return {f"layer_{layer}.safetensors": {**tensors, "W_dec": decoder.squeeze(1)}}
    return {
        f"W_enc_{layer}.safetensors": {f"{key}_{layer}": value for key, value in tensors.items()},
        f"W_dec_{layer}.safetensors": {f"W_dec_{layer}": decoder},
    }


def _refuse_not_finite(tensor: Tensor, key: str, path: Path) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{path}: {key} holds {bad} NaN or infinite numbers of {tensor.numel()}; expected none")
