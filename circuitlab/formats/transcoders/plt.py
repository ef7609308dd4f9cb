"""circuit-tracer's per-layer transcoders: config.yaml and layer_{i}.safetensors.

W_enc [F, d], W_dec [F, d], b_enc [F], b_dec [d]; optional activation_function.threshold [F] (JumpReLU),
W_skip [d, d] (adds x @ W_skip.T), k [1] (TopK)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from circuitlab.formats.transcoders.contents import Contents, Found, in_file, require_keys
from circuitlab.formats.transcoders.layers import Sizes, assemble
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.formats.transcoders.tensor_files import Header, headers, view

FORM = "circuit-tracer PLT"
FILE = "layer_{}.safetensors"
REQUIRED = ("W_enc", "W_dec", "b_enc", "b_dec")
THRESHOLD = "activation_function.threshold"


def matches(contents: Contents) -> bool:
    return contents.settings is not None and contents.settings["model_kind"] == "transcoder_set"


def find(contents: Contents) -> Found:
    files = list(contents.listed) or contents.numbered(FILE)
    if not files:
        raise FileNotFoundError(f"{contents.folder} has no {FILE.format(0)}")
    layers, k = [], {}
    for path in files:
        found = _headers(path)
        layers.append(_layer(path, found))
        if "k" in found:
            k[str(path)] = _number(path)
    return assemble(FORM, "plt", Sizes.of(layers[0]), layers, contents, k)


def _headers(path: Path) -> dict[str, Header]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a file with {', '.join(REQUIRED)}")
    found = headers(path)
    require_keys(path, found, REQUIRED, (THRESHOLD, "W_skip", "k"))
    return found


def _layer(path: Path, found: Mapping[str, Header]) -> dict[str, Stored]:
    layer: dict[str, Stored] = {
        "W_enc": in_file(path, found, "W_enc", 2, "[features, d_model]"),
        "b_enc": in_file(path, found, "b_enc", 1, "[features]"),
        "b_dec": in_file(path, found, "b_dec", 1, "[d_model]"),
    }
    if len(found["W_dec"].shape) == 3:
        layer["W_dec"] = in_file(path, found, "W_dec", 3, "[features, d_model]")
    else:
        layer["W_dec"] = in_file(path, found, "W_dec", 2, "[features, d_model]", turn=as_one_output)
    if THRESHOLD in found:
        layer["threshold"] = in_file(path, found, THRESHOLD, 1, "[features]")
    if "W_skip" in found:
        layer["W_skip"] = in_file(path, found, "W_skip", 2, "[d_model, d_model]")
    return layer


def as_one_output(decoder: Tensor) -> Tensor:
    """[feat, d_model] → [feat, 1, d_model]."""
    return decoder.unsqueeze(1)


def _number(path: Path) -> float | int | list:
    k = view(path, "k")
    return k.item() if k.numel() == 1 else k.flatten()[:10].tolist()
