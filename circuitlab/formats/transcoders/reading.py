"""From a folder to a Transcoder: the kind is recognised, the files are described, the weights are read or left there.

Weights that would take more than a quarter of the free memory stay in their files (weights.py), unless `lazy` says
otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from circuitlab.formats.transcoder_settings import CONFIG_FILE
from circuitlab.formats.transcoders import clt, crosslayer_coding, gemmascope, gemmascope2, plt
from circuitlab.formats.transcoders.contents import Contents, Found
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.transcoder import Transcoder
from circuitlab.weights import Held, OnDisk

KINDS = (crosslayer_coding, gemmascope, gemmascope2, clt, plt)
"""In the order in which they are tried: those told by their files first, then those told by config.yaml alone."""

CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def find_transcoder(folder: str | os.PathLike[str], fetched: Mapping[str, Path] | None = None) -> Found:
    """What a folder holds: kind, sizes, hooks, and where every matrix lies. No weight is read.

    `fetched` says where the files that config.yaml lists by address lie. Raises FileNotFoundError where the folder or
    a file is missing, and ValueError, naming file, key, what was found and what was expected, where one is damaged or
    does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected a transcoder folder with {CONFIG_FILE} in it")
    contents = Contents(folder, fetched or {})
    for kind in KINDS:
        if kind.matches(contents):
            return kind.find(contents)
    raise FileNotFoundError(
        f"{folder} has no {CONFIG_FILE}; a transcoder folder needs one, with model_kind, "
        f"feature_input_hook and feature_output_hook (or GemmaScope's layer_0/…/params.npz, or crosslayer-coding's "
        f"cfg.json)"
    )


def read_transcoder(
    folder: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    lazy: bool | None = None,
    fetched: Mapping[str, Path] | None = None,
) -> Transcoder:
    """The transcoder of a local folder, on `device` (default: the CPU) and in `dtype` (default: the files'; bfloat16
    for numbers of 8 bits, which are the same there and cannot be computed with).

    `lazy` leaves encoders and decoders in their files; None does so where they would take more than a quarter of the
    free memory. Errors are those of `find_transcoder`, and ValueError for NaN and infinite weights.
    """
    return build(find_transcoder(folder, fetched), device, dtype, lazy)


def build(
    found: Found,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    lazy: bool | None = None,
) -> Transcoder:
    """The transcoder whose matrices were found; see `read_transcoder`."""
    dtype = dtype or computable(found.layers[0]["W_enc"].dtype)
    if lazy is None:
        lazy = found.n_parameters * dtype.itemsize > free_memory(device) / 4
    with torch.device("meta"):
        transcoder = Transcoder(found.config)
    for name in found.layers[0]:
        stored = [layer[name] for layer in found.layers]
        if lazy and name in ("W_enc", "W_dec"):
            setattr(transcoder, name, OnDisk(stored, device, dtype))
        else:
            setattr(transcoder, name, Held([nn.Parameter(_read(part, device, dtype)) for part in stored]))
    return transcoder


def _read(stored: Stored, device: str | torch.device | None, dtype: torch.dtype) -> Tensor:
    tensor = stored.rows()
    tensor = tensor.to(computable(tensor.dtype))
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{stored.where} holds {bad} NaN or infinite numbers of {tensor.numel()}; expected none")
    return tensor.to(device=device or "cpu", dtype=dtype)


def computable(dtype: torch.dtype) -> torch.dtype:
    """The same, or bfloat16 for a floating-point type of 8 bits: it holds all of their numbers."""
    return torch.bfloat16 if dtype.itemsize == 1 else dtype


def free_memory(device: str | torch.device | None = None) -> int:
    """Bytes that this process may still take on a device: of the machine, or of the container it runs in."""
    if device is not None and torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(torch.device(device))[0]
    free = psutil.virtual_memory().available
    try:
        most, used = (int(path.read_text()) for path in CGROUP)
    except (OSError, ValueError):  # no such container, or no limit ("max")
        return free
    return min(free, max(0, most - used))
