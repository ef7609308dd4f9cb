"""From any kind to circuit-tracer's two, layer by layer: a set larger than memory is converted without being loaded.

A PLT becomes a CLT whose decoders into later layers are zero: the same features, reconstructions and graphs. A CLT
becomes a PLT only where its decoders into later layers are zero already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from circuitlab.formats.transcoders.contents import Found
from circuitlab.formats.transcoders.reading import build, find_transcoder
from circuitlab.formats.transcoders.stored import InFile, Stacked, Stored
from circuitlab.formats.transcoders.writing import write_transcoder
from circuitlab.transcoder import Kind


def convert_transcoder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    kind: Kind | None = None,
    fetched: Mapping[str, Path] | None = None,
) -> Path:
    """Write the transcoder of one folder into another as circuit-tracer's `kind` (default: the kind it is).

    Raises ValueError for a CLT that is no PLT, and for a target that is the source.
    """
    if Path(target).resolve() == Path(source).resolve():
        raise ValueError(f"{target} is the folder to be converted: give another one to write into")
    found = find_transcoder(source, fetched)
    if kind is not None and kind != found.config.kind:
        found = as_clt(found) if kind == "clt" else as_plt(found)
    return write_transcoder(build(found, lazy=True), target)


def as_clt(found: Found) -> Found:
    """A PLT as a CLT that writes nothing into later layers."""
    n_layers = found.config.n_layers
    layers = [
        {**layer, "W_dec": Stacked((one_output(layer["W_dec"], 0), *[None] * (n_layers - i - 1)))}
        for i, layer in enumerate(found.layers)
    ]
    return replace(found, config=replace(found.config, kind="clt"), layers=tuple(layers))


def as_plt(found: Found) -> Found:
    """A CLT of which every decoder into later layers is zero as a PLT; else ValueError."""
    layers = []
    for i, layer in enumerate(found.layers):
        for output in range(1, layer["W_dec"].shape[1]):
            largest = float(layer["W_dec"].rows(slice(None), output).abs().max())
            if largest:
                raise ValueError(
                    f"{layer['W_dec'].where}: layer {i} writes to layer {i + output} too (largest weight "
                    f"{largest:.3g}): a PLT cannot do that; convert it with --to clt"
                )
        layers.append({**layer, "W_dec": Stacked((one_output(layer["W_dec"], 0),))})
    return replace(found, config=replace(found.config, kind="plt"), layers=tuple(layers))


def one_output(decoder: Stored, output: int) -> InFile:
    """One output of a decoder [feat, out, d_model], as [feat, d_model]."""
    if isinstance(decoder, Stacked):
        found = decoder.outputs[output]
        assert found is not None, "the own layer is always written to"
        return found
    whole = decoder.turn

    def turn(tensor: Tensor) -> Tensor:
        return whole(tensor)[:, output]

    return replace(decoder, turn=turn)


def described(found: Found) -> dict:
    """What `circuitlab inspect` says of a folder: plain values."""
    config = found.config
    dtype = found.layers[0]["W_enc"].dtype
    return {
        "form": found.form,
        "kind": config.kind,
        "layers": config.n_layers,
        "features": config.n_features,
        "d_model": config.d_model,
        "activation": config.activation,
        "k": config.k,
        "skip": config.skip,
        "input_hook": config.input_hook,
        "output_hook": config.output_hook,
        "model_name": config.model_name,
        "precision": str(dtype).removeprefix("torch."),
        "parameters": found.n_parameters,
        "bytes": found.nbytes,
        "bytes_in_float32": found.n_parameters * torch.float32.itemsize,
        "notes": list(found.notes),
    }
