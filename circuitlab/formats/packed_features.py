"""Packed features: the feature JSONs of a whole transcoder in one file per layer, each reachable by its offset.

    features/index.json.gz      {"0": {"filename": "layer_0.bin", "offsets": [F + 1 numbers]}, …}
    features/layer_0.bin        at offsets[f]: u32 little-endian length, then that many bytes of gzip or deflate

A feature without evidence has two equal offsets. The length does not count its own four bytes. Published transcoders
carry this folder; circuit-tracer's front end reads it by range requests.
"""

from __future__ import annotations

import gzip
import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitlab.evidence import Evidence
from circuitlab.formats.checks import inflate, json_bytes, mapping, parse_json, read_bytes, sequence, text, whole
from circuitlab.formats.feature_json import LARGEST_FEATURE, evidence_from_json, json_of_evidence
from circuitlab.formats.files import write_atomically

INDEX = "index.json.gz"
LARGEST_INDEX = 256 * 2**20
MOST_FEATURES = 2**26
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class PackedLayer:
    """The file of one layer: feature f lies in bytes `offsets[f]` to `offsets[f + 1]`."""

    path: Path
    offsets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class PackedFeatures:
    """An opened folder of packed features; `packed[3, 55]` reads one, iterating reads all that have evidence."""

    def __init__(self, folder: str | Path) -> None:
        """Reads the index. Raises FileNotFoundError or ValueError with the file and the key at fault."""
        self.folder = packed_folder(Path(folder))
        path = self.folder / INDEX
        content = inflate(read_bytes(path, LARGEST_INDEX), str(path), LARGEST_INDEX)
        data = parse_json(content, str(path))
        entries = enumerate(data) if isinstance(data, list) else mapping(data, str(path)).items()
        self.layers = {_layer(key, path): _packed_layer(self.folder, key, entry, path) for key, entry in entries}

    def __repr__(self) -> str:
        widest = max(map(len, self.layers.values()), default=0)
        return f"PackedFeatures({self.folder}, {len(self.layers)} layers x {widest})"

    def __len__(self) -> int:
        return sum(1 for layer in self.layers.values() for a, b in itertools.pairwise(layer.offsets) if b > a)

    def __getitem__(self, key: tuple[int, int]) -> Evidence:
        """One feature. KeyError where there is no evidence of it."""
        layer, index = key
        packed = self.layers.get(layer)
        if packed is None or not 0 <= index < len(packed) or packed.offsets[index + 1] == packed.offsets[index]:
            raise KeyError(f"{self.folder} holds no evidence of L{layer}/{index}")
        with packed.path.open("rb") as file:
            return _read(file, packed, layer, index)

    def __iter__(self) -> Iterator[Evidence]:
        for layer, packed in sorted(self.layers.items()):
            with packed.path.open("rb") as file:
                for index in range(len(packed)):
                    if packed.offsets[index + 1] > packed.offsets[index]:
                        yield _read(file, packed, layer, index)


def packed_folder(folder: Path) -> Path:
    """The folder with the index: this one, or `features` below it."""
    return folder / "features" if (folder / "features" / INDEX).is_file() else folder


def _layer(key: Any, path: Path) -> int:
    return whole(
        int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 6 else key, f"{path}: layer", 0, 9999
    )


def _packed_layer(folder: Path, key: Any, entry: Any, path: Path) -> PackedLayer:
    where = f"{path}: {key}"
    entry = mapping(entry, where)
    name = text(entry.get("filename"), f"{where}.filename", 200)
    if name != Path(name).name or name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise ValueError(f"{where}.filename is {name!r}; expected the name of a file in {folder}")
    blob = folder / name
    if not blob.is_file():
        raise FileNotFoundError(f"{blob}: there is no such file; {path.name} names it for layer {key}")
    if blob.resolve().parent != folder.resolve():
        raise ValueError(f"{where}.filename is {name!r}, a link to a file elsewhere; expected a file in {folder}")
    size = blob.stat().st_size
    offsets = sequence(entry.get("offsets"), f"{where}.offsets")
    if not offsets:
        raise ValueError(f"{where}.offsets is empty; expected one more than the layer has features")
    before = 0
    for at, offset in enumerate(offsets):
        if type(offset) is not int or not before <= offset <= size:
            raise ValueError(
                f"{where}.offsets[{at}] is {str(offset)[:40]}; expected a whole number from {before} to the size of "
                f"{name}, {size}"
            )
        before = offset
    return PackedLayer(blob, tuple(offsets))


def _read(file: Any, packed: PackedLayer, layer: int, index: int) -> Evidence:
    where = f"{packed.path}: feature {index}"
    start, stop = packed.offsets[index], packed.offsets[index + 1]
    if stop - start > LARGEST_FEATURE:
        raise ValueError(f"{where} takes {stop - start:,} bytes; expected at most {LARGEST_FEATURE:,}")
    file.seek(start)
    blob = file.read(stop - start)
    if len(blob) < _LENGTH.size:
        raise ValueError(f"{where} has {len(blob)} bytes at {start}; expected a length of {_LENGTH.size} bytes first")
    (length,) = _LENGTH.unpack_from(blob)
    if length > len(blob) - _LENGTH.size:
        raise ValueError(f"{where} claims {length:,} bytes at {start}; there are {len(blob) - _LENGTH.size:,}")
    content = inflate(memoryview(blob)[_LENGTH.size : _LENGTH.size + length], where, LARGEST_FEATURE)
    return evidence_from_json(parse_json(content, where), where, layer, index)


def write_packed_features(features: Iterable[Evidence], folder: str | Path, n_features: int) -> Path:
    """Write `folder/features`; `features` come by layer and index, `n_features` is the number per layer.

    The same features give the same bytes. Raises ValueError for features out of order or beyond `n_features`.
    """
    if n_features > MOST_FEATURES:
        raise ValueError(f"{n_features:,} features a layer are too many to pack; expected at most {MOST_FEATURES:,}")
    folder = Path(folder) / "features"
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {}
    for layer, members in itertools.groupby(features, key=lambda evidence: evidence.layer):
        if str(layer) in index:
            raise ValueError(f"the features of layer {layer} do not come one after another")
        offsets: list[int] = []
        name = f"layer_{layer}.bin"
        write_atomically(folder / name, _blobs(members, n_features, offsets))
        index[str(layer)] = {"filename": name, "offsets": offsets}
    packed = gzip.compress(json.dumps(index, separators=(",", ":")).encode(), mtime=0)
    write_atomically(folder / INDEX, [packed])
    return folder


def _blobs(features: Iterable[Evidence], n_features: int, offsets: list[int]) -> Iterator[bytes]:
    """The bytes of one layer's features; `offsets` is filled on the way."""
    size = 0
    for evidence in features:
        if not len(offsets) <= evidence.index < n_features:
            raise ValueError(f"{evidence.name} comes out of order, or beyond the {n_features} features of a layer")
        offsets.extend([size] * (evidence.index + 1 - len(offsets)))
        packed = gzip.compress(json_bytes(json_of_evidence(evidence)), mtime=0)
        size += _LENGTH.size + len(packed)
        yield _LENGTH.pack(len(packed))
        yield packed
    offsets.extend([size] * (n_features + 1 - len(offsets)))
