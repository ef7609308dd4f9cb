"""Tensors in .safetensors, .npz and .pt files: their names and shapes without reading them, and memory-mapped views.

A view reads its file where it is touched and holds it open as long as it lives. Nothing in a file is executed:
safetensors and npy headers are plain text, `.npz` members of Python objects are refused, and `.pt` files go through
torch's restricted unpickler, which builds tensors and nothing else.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MOST_COMPRESSED = 50
"""Times its size on disk that a compressed array may have; weights do not compress, a bomb does."""

SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Header:
    """Shape and number type of a tensor in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def headers(path: Path) -> dict[str, Header]:
    """The tensors of a file by name. FileNotFoundError, or ValueError where it is damaged or of another format."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    if path.suffix == ".safetensors":
        return _safetensors_headers(path)
    if path.suffix == ".npz":
        return {name: Header(member.shape, member.dtype) for name, member in _npz_members(path).items()}
    if path.suffix in (".pt", ".pth", ".bin"):
        return {name: Header(tuple(tensor.shape), tensor.dtype) for name, tensor in _state_dict(path).items()}
    raise ValueError(f"{path} is no file of tensors; expected .safetensors, .npz or .pt")


def view(path: Path, key: str) -> Tensor:
    """One tensor, memory-mapped where the format allows. ValueError where file or key is not as it was."""
    if path.suffix == ".npz":
        members = _npz_members(path)
        if key in members:
            return members[key].view(path)
    elif path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(key)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ValueError(f"{path}: {key} cannot be read: {error}") from error
    else:
        tensors = _state_dict(path)
        if key in tensors:
            return tensors[key]
    raise ValueError(f"{path} has no {key} any more: was it written anew? Load it again")


# ---- safetensors ----


def _safetensors_headers(path: Path) -> dict[str, Header]:
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                piece = file.get_slice(key)
                found[key] = tuple(piece.get_shape()), piece.get_dtype()
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    for key, (_, name) in found.items():
        if name not in SAFETENSORS_TYPES:
            raise ValueError(f"{path}: {key} holds {name}, expected one of {', '.join(SAFETENSORS_TYPES)}")
    return {key: Header(shape, SAFETENSORS_TYPES[name]) for key, (shape, name) in found.items()}


# ---- npz ----


@dataclass(frozen=True)
class Member:
    """An array in an .npz: where its numbers begin in the file, or None where they are compressed."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    array_type: np.dtype
    fortran: bool
    offset: int | None

    def view(self, path: Path) -> Tensor:
        if self.offset is None or not np.prod(self.shape):
            try:
                with np.load(path, allow_pickle=False) as file:
                    return torch.from_numpy(file[self.name])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
                raise ValueError(f"{path}: {self.name} cannot be read: {error}") from error
        order = "F" if self.fortran else "C"
        try:  # copy-on-write: torch wants memory that may be written; the file never is
            array = np.memmap(path, self.array_type, "c", self.offset, self.shape, order)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {self.name} cannot be read: {error}") from error
        return torch.from_numpy(array)


def _npz_members(path: Path) -> dict[str, Member]:
    status = path.stat()
    return _npz_members_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _npz_members_of(path: Path, size: int, modified: int) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename[:-4]: _npz_member(path, archive, info) for info in infos}
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole .npz file: {error}") from error


def _npz_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = info.filename[:-4]
    try:
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, array_type = read(file)
            header = file.tell()
    except Exception as error:  # numpy's header parser raises many things on damaged text
        raise ValueError(f"{path}: {name} is no array: {error}") from error
    if array_type.hasobject or array_type.kind not in "fiub":
        raise ValueError(f"{path}: {name} holds {array_type}, expected numbers; Python objects are never loaded")
    n_bytes = int(np.prod(shape, dtype=object)) * array_type.itemsize
    if min(shape, default=0) < 0 or header + n_bytes != info.file_size:
        raise ValueError(
            f"{path}: {name} needs {n_bytes} bytes for {list(shape)} {array_type}; it has {info.file_size - header}"
        )
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))
        offset = info.header_offset + 30 + sum(lengths) + header
        if offset + n_bytes > path.stat().st_size:
            raise ValueError(f"{path}: {name} ends after the file: it was cut off; copy or download it again")
    elif info.file_size > MOST_COMPRESSED * max(info.compress_size, 4096):
        raise ValueError(
            f"{path}: {name} would unpack to {info.file_size:,} bytes from {info.compress_size:,}; that is no matrix"
        )
    native = array_type.newbyteorder("=")
    if not array_type.isnative:
        raise ValueError(f"{path}: {name} is big-endian; expected {native}")
    return Member(name, tuple(shape), torch.from_numpy(np.empty(0, native)).dtype, array_type, fortran, offset)


# ---- pt ----


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    """A pickled state dict, its tensors over the file; also inside a checkpoint as `model_state_dict`."""
    try:
        is_archive = zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a whole .pt file: {error}") from error
    if not is_archive:
        raise ValueError(f"{path} is not a .pt file as torch writes since 1.6; save its state dict as .safetensors")
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError, AttributeError, TypeError,
            IndexError, AssertionError, zipfile.BadZipFile) as error:  # fmt: skip
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} cannot be read as a state dict (only tensors are loaded): {reason}") from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, expected a state dict: names and tensors")
    tensors = {key: tensor for key, tensor in found.items() if isinstance(key, str) and isinstance(tensor, Tensor)}
    for key, tensor in tensors.items():
        _require_plain(path, key, tensor)
    return tensors


def _require_plain(path: Path, key: str, tensor: Tensor) -> None:
    """ValueError for what is no array of numbers that the file holds, as a view that repeats one number for ever."""
    shown = key if len(key) <= 80 else f"{key[:79]}…"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise ValueError(f"{path}: {shown} is a sparse, quantized or empty tensor; expected plain numbers")
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held:
        raise ValueError(f"{path}: {shown} claims {tensor.numel():,} numbers and holds {held:,} bytes: refused")
