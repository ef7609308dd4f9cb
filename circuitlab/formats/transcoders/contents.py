"""What a transcoder folder says of itself: config.yaml, the files it has by number, the files its config lists.

`transcoders:` in config.yaml lists one file per layer, in order: `hf://owner/repo/path` (fetched by hub.py, which says
where each of them lies), or a path inside the folder. A path that leads out of the folder is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from circuitlab.formats.transcoder_settings import CONFIG_FILE, read_settings, shortened
from circuitlab.formats.transcoders.stored import InFile, Stored
from circuitlab.formats.transcoders.tensor_files import Header, headers
from circuitlab.transcoder import TranscoderConfig

LARGEST_STATISTICS = 2**28
MOST_LAYERS = 1000
LONGEST_PATH = 1000


@dataclass(frozen=True)
class Found:
    """A transcoder in files, nothing of it read but names and shapes: its form, its sizes, each layer's matrices.

    `layers[l]` has what `Transcoder` has: W_enc, W_dec, b_enc, b_dec, and threshold and W_skip where there are some.
    """

    form: str
    config: TranscoderConfig
    layers: tuple[Mapping[str, Stored], ...]
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes in the files."""
        return sum(stored.nbytes for layer in self.layers for stored in layer.values())

    @property
    def n_parameters(self) -> int:
        c = self.config
        outputs = sum(c.n_outputs(layer) for layer in range(c.n_layers))
        skip = c.d_model**2 * c.n_layers if c.skip else 0
        vectors = c.n_layers * (c.n_features * (2 if c.activation == "jumprelu" else 1) + c.d_model)
        return c.n_features * c.d_model * (c.n_layers + outputs) + vectors + skip


@dataclass(frozen=True)
class Contents:
    """A folder; `fetched` says where the files of its config's addresses lie on this machine."""

    folder: Path
    fetched: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def settings(self) -> dict[str, Any] | None:
        """config.yaml, checked; None where there is none."""
        path = self.folder / CONFIG_FILE
        return read_settings(path) if path.is_file() else None

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    @cached_property
    def listed(self) -> tuple[Path, ...]:
        """The files of `transcoders:`, one per layer; none where config.yaml lists none."""
        entries = (self.settings or {}).get("transcoders")
        if entries is None:
            return ()
        path = self.folder / CONFIG_FILE
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries) or not entries:
            raise ValueError(
                f"{path}: transcoders is {shortened(entries)}, expected a list of addresses, one per layer"
            )
        if len(entries) > MOST_LAYERS:
            raise ValueError(f"{path}: transcoders lists {len(entries)} layers; at most {MOST_LAYERS} are read")
        return tuple(self._resolve(entry, path) for entry in entries)

    def _resolve(self, entry: str, path: Path) -> Path:
        if entry in self.fetched:
            return self.fetched[entry]
        if entry.startswith("hf://"):
            raise FileNotFoundError(
                f"{self.folder} has no layer_0.safetensors; its {CONFIG_FILE} lists addresses, and {entry} is not "
                f"on this machine: circuitlab.load(model, folder) downloads them"
            )
        inside = os.path.normpath(entry)  # without following links: the hub's cache is made of them
        leads_out = os.path.isabs(entry) or inside.split(os.sep)[0] == ".."
        if leads_out or inside == "." or "\0" in entry or not 0 < len(entry) <= LONGEST_PATH:
            raise ValueError(f"{path}: transcoders lists {shortened(entry)}, which is no file inside the folder")
        return self.folder / inside

    def numbered(self, template: str) -> list[Path]:
        """The files of a template like `layer_{}.safetensors`, numbered from 0 without a gap; else FileNotFoundError.

        None at all is an empty list.
        """
        pattern = re.compile(re.escape(template).replace(r"\{\}", r"(\d{1,4})"))
        found = sorted(int(match[1]) for file in self.folder.iterdir() if (match := pattern.fullmatch(file.name)))
        missing = sorted(set(range(found[-1] + 1)) - set(found)) if found else []
        if missing:
            names = ", ".join(template.format(layer) for layer in missing[:20])
            raise FileNotFoundError(f"{self.folder} has {template.format(found[-1])} but lacks {names}")
        return [self.folder / template.format(layer) for layer in found]

    @cached_property
    def first_keys(self) -> frozenset[str]:
        """The tensor names of the first layer's file, where it can be read: they tell kinds apart."""
        candidates = self.listed or [
            self.folder / name for name in ("layer_0.safetensors", "params_layer_0.safetensors")
        ]
        for path in candidates[:2]:
            if path.is_file():
                return frozenset(headers(path))
        return frozenset()


def require_keys(
    path: Path, found: Mapping[str, Header], required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """ValueError unless the file has the required tensors, and none but these and the optional ones."""
    if set(required) <= set(found) <= {*required, *optional}:
        return
    raise ValueError(
        f"{path} has the keys {', '.join(map(_printable, sorted(found)[:40])) or '(none)'}; "
        f"expected {', '.join(required)}" + (f" and, optionally, {', '.join(optional)}" if optional else "")
    )


def in_file(path: Path, found: Mapping[str, Header], key: str, ndim: int, axes: str, **options: Any) -> InFile:
    """One tensor of a file, its number of axes and its number type checked."""
    header = found[key]
    if len(header.shape) != ndim:
        raise ValueError(f"{path}: {key} has shape {list(header.shape)}, expected {axes}")
    if not header.dtype.is_floating_point:
        raise ValueError(f"{path}: {key} holds {header.dtype}, expected floating-point numbers")
    return InFile(path, key, header, **options)


def _printable(key: str) -> str:
    return key if len(key) <= 80 and key.isprintable() else shortened(key)
