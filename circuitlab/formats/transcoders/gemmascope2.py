"""GemmaScope 2's transcoders, per layer and cross-layer; one safetensors file per layer.

    w_enc [d, F] (transposed), b_enc [F], b_dec [d], threshold [F]; optional affine_skip_connection A [d, d]: adds x @ A
    w_dec [F, d], or for a CLT [F, L, d], its second index the layer that is written to, whichever it is written from

The files are those that config.yaml lists, or params_layer_{i}.safetensors, layer_{i}.safetensors, or
layer_{i}…/params.safetensors. A CLT's decoders into earlier layers than its own are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from circuitlab.formats.transcoders.contents import Contents, Found, in_file, require_keys
from circuitlab.formats.transcoders.gemmascope import one_per_layer
from circuitlab.formats.transcoders.layers import Sizes, assemble
from circuitlab.formats.transcoders.plt import as_one_output
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.formats.transcoders.tensor_files import headers

HOOKS = ("mlp.hook_in", "hook_mlp_out")
REQUIRED = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
SKIP = "affine_skip_connection"
FILES = ("params_layer_{}.safetensors", "layer_{}.safetensors")
PLACE = "layer_*/params.safetensors"


def matches(contents: Contents) -> bool:
    if contents.settings is None and not contents.listed and next(contents.folder.glob(PLACE), None) is not None:
        return True
    return "w_enc" in contents.first_keys or (not contents.listed and (contents.folder / FILES[0].format(0)).is_file())


def find(contents: Contents) -> Found:
    files = list(contents.listed)
    for template in FILES:
        files = files or contents.numbered(template)
    files = files or one_per_layer(contents.folder, list(contents.folder.glob(PLACE)))
    found = [headers(path) for path in files]
    for path, tensors in zip(files, found, strict=True):
        require_keys(path, tensors, REQUIRED, (SKIP,))
    cross = len(found[0]["w_dec"].shape) == 3
    layers = [_layer(path, layer, len(files), cross) for layer, path in enumerate(files)]
    form = "GemmaScope 2 CLT" if cross else "GemmaScope 2 PLT"
    return assemble(form, "clt" if cross else "plt", Sizes.of(layers[0]), layers, contents, hooks=HOOKS)


def _layer(path: Path, layer: int, n_layers: int, cross: bool) -> dict[str, Stored]:
    found = headers(path)
    tensors: dict[str, Stored] = {
        "W_enc": in_file(path, found, "w_enc", 2, "[d_model, features]", turn=Tensor.t),
        "b_enc": in_file(path, found, "b_enc", 1, "[features]"),
        "b_dec": in_file(path, found, "b_dec", 1, "[d_model]"),
        "threshold": in_file(path, found, "threshold", 1, "[features]"),
    }
    if cross:
        turn: Callable[[Tensor], Tensor] = partial(_from_own_layer, layer=layer)
        tensors["W_dec"] = in_file(path, found, "w_dec", 3, "[features, layers, d_model]", turn=turn)
        if found["w_dec"].shape[1] != n_layers:
            raise ValueError(
                f"{path}: w_dec has shape {list(found['w_dec'].shape)}, expected [features, {n_layers}, d_model], one "
                f"output for each of the {n_layers} layers"
            )
    else:
        tensors["W_dec"] = in_file(path, found, "w_dec", 2, "[features, d_model]", turn=as_one_output)
    if SKIP in found:
        tensors["W_skip"] = in_file(path, found, SKIP, 2, "[d_model, d_model]", turn=Tensor.t)
    return tensors


def _from_own_layer(decoder: Tensor, layer: int) -> Tensor:
    return decoder[:, layer:]
