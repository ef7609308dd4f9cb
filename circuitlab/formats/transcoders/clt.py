"""circuit-tracer's cross-layer transcoders: config.yaml, W_enc_{i}.safetensors and W_dec_{i}.safetensors.

W_enc_{i} [F, d], b_enc_{i} [F], b_dec_{i} [d]; optional threshold_{i} [F] (JumpReLU), W_skip_{i} [d, d]
W_dec_{i} [F, L-i, d], index j writing to layer i + j
"""

from __future__ import annotations

from pathlib import Path

from circuitlab.formats.transcoders.contents import Contents, Found, in_file, require_keys
from circuitlab.formats.transcoders.layers import Sizes, assemble
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.formats.transcoders.tensor_files import Header, headers

FORM = "circuit-tracer CLT"
ENCODER_FILE, DECODER_FILE = "W_enc_{}.safetensors", "W_dec_{}.safetensors"


def matches(contents: Contents) -> bool:
    return contents.settings is not None and contents.settings["model_kind"] == "cross_layer_transcoder"


def find(contents: Contents) -> Found:
    files = contents.numbered(ENCODER_FILE)
    if not files:
        raise FileNotFoundError(f"{contents.folder} has no {ENCODER_FILE.format(0)}")
    layers = [_layer(contents.folder, layer) for layer in range(len(files))]
    return assemble(FORM, "clt", Sizes.of(layers[0]), layers, contents)


def _layer(folder: Path, i: int) -> dict[str, Stored]:
    path = folder / ENCODER_FILE.format(i)
    found = _headers(path, (f"W_enc_{i}", f"b_enc_{i}", f"b_dec_{i}"), (f"threshold_{i}", f"W_skip_{i}"))
    layer: dict[str, Stored] = {
        "W_enc": in_file(path, found, f"W_enc_{i}", 2, "[features, d_model]"),
        "b_enc": in_file(path, found, f"b_enc_{i}", 1, "[features]"),
        "b_dec": in_file(path, found, f"b_dec_{i}", 1, "[d_model]"),
    }
    if f"threshold_{i}" in found:
        layer["threshold"] = in_file(path, found, f"threshold_{i}", 1, "[features]")
    if f"W_skip_{i}" in found:
        layer["W_skip"] = in_file(path, found, f"W_skip_{i}", 2, "[d_model, d_model]")
    path = folder / DECODER_FILE.format(i)
    found = _headers(path, (f"W_dec_{i}",))
    layer["W_dec"] = in_file(path, found, f"W_dec_{i}", 3, "[features, layers, d_model]")
    return layer


def _headers(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Header]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a file with {', '.join(required)}")
    found = headers(path)
    require_keys(path, found, required, optional)
    return found
