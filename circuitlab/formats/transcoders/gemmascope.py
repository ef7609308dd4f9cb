"""GemmaScope's transcoders: layer_{i}/width_16k/average_l0_{N}/params.npz, one per layer.

    W_enc [d, F] (transposed), W_dec [F, d], b_enc [F], b_dec [d], threshold [F]

A folder without config.yaml reads `ln2.hook_normalized` and writes `hook_mlp_out`, as these were trained.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from circuitlab.formats.transcoders.contents import Contents, Found, in_file, require_keys
from circuitlab.formats.transcoders.layers import Sizes, assemble
from circuitlab.formats.transcoders.plt import as_one_output
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.formats.transcoders.tensor_files import headers

FORM = "GemmaScope"
HOOKS = ("ln2.hook_normalized", "hook_mlp_out")
REQUIRED = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
PLACES = ("layer_*/params.npz", "layer_*/*/params.npz", "layer_*/*/*/params.npz")


def matches(contents: Contents) -> bool:
    if contents.listed:
        return any(path.suffix == ".npz" for path in contents.listed)
    return any(next(contents.folder.glob(place), None) is not None for place in PLACES)


def find(contents: Contents) -> Found:
    files = list(contents.listed) or one_per_layer(
        contents.folder, [path for place in PLACES for path in contents.folder.glob(place)]
    )
    layers = [_layer(path) for path in files]
    return assemble(FORM, "plt", Sizes.of(layers[0]), layers, contents, hooks=HOOKS)


def one_per_layer(folder: Path, files: list[Path]) -> list[Path]:
    """The files in the order of their layer_{i}; ValueError where a layer has two, FileNotFoundError for a gap."""
    by_layer: dict[int, Path] = {}
    for path in sorted(files):
        match = re.match(r"layer_(\d{1,4})(?!\d)", path.relative_to(folder).parts[0])
        if match is None:
            continue
        layer = int(match[1])
        if layer in by_layer:
            first, second = (p.relative_to(folder) for p in (by_layer[layer], path))
            raise ValueError(
                f"{folder} has several transcoders for layer {layer}: {first} and {second}. Say which of them in a "
                f"config.yaml: transcoders: [{first}, …], one per layer"
            )
        by_layer[layer] = path
    missing = sorted(set(range(max(by_layer) + 1)) - by_layer.keys()) if by_layer else [0]
    if missing:
        raise FileNotFoundError(f"{folder} has no transcoder for layer {', '.join(map(str, missing[:20]))}")
    return [by_layer[layer] for layer in sorted(by_layer)]


def _layer(path: Path) -> dict[str, Stored]:
    found = headers(path)
    require_keys(path, found, REQUIRED)
    return {
        "W_enc": in_file(path, found, "W_enc", 2, "[d_model, features]", turn=Tensor.t),
        "W_dec": in_file(path, found, "W_dec", 2, "[features, d_model]", turn=as_one_output),
        "b_enc": in_file(path, found, "b_enc", 1, "[features]"),
        "b_dec": in_file(path, found, "b_dec", 1, "[d_model]"),
        "threshold": in_file(path, found, "threshold", 1, "[features]"),
    }
