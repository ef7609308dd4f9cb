"""From the layers of any kind to one description: sizes, activation and hooks checked against each other.

A threshold makes a transcoder a JumpReLU one, `k` (in config.yaml or the layer files) a TopK one, neither a ReLU one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitlab.formats.transcoder_settings import CONFIG_FILE
from circuitlab.formats.transcoders.contents import Contents, Found
from circuitlab.formats.transcoders.stored import Stored
from circuitlab.transcoder import Kind, TranscoderConfig


@dataclass(frozen=True)
class Sizes:
    n_features: int
    d_model: int

    @staticmethod
    def of(layer: Mapping[str, Stored]) -> Sizes:
        n_features, d_model = layer["W_enc"].shape
        return Sizes(n_features, d_model)


def assemble(
    form: str,
    kind: Kind,
    sizes: Sizes,
    layers: Sequence[Mapping[str, Stored]],
    contents: Contents,
    k_in_files: Mapping[str, Any] | None = None,
    hooks: tuple[str, str] = ("hook_resid_mid", "hook_mlp_out"),
    notes: tuple[str, ...] = (),
) -> Found:
    """Check the layers against each other; `hooks` are for folders without config.yaml. ValueError names the file."""
    folder, settings = contents.folder, contents.settings or {}
    for layer, tensors in enumerate(layers):
        for name in ("threshold", "W_skip"):
            if (name in tensors) != (name in layers[0]):
                has, lacks = (layer, 0) if name in tensors else (0, layer)
                raise ValueError(f"{folder}: layer {has} has {name} and layer {lacks} has not; expected all or none")
    k = top_k(folder, settings, k_in_files or {}, len(layers))
    jumps = "threshold" in layers[0]
    if k is not None and jumps:
        raise ValueError(f"{folder}: both k={k} (TopK) and threshold (JumpReLU) are there; expected one of them")
    if settings.get("activation") == "jumprelu" and not jumps:
        raise ValueError(f"{folder / CONFIG_FILE}: activation is 'jumprelu' but the layer files hold no threshold")
    try:
        config = TranscoderConfig(
            kind=kind,
            n_layers=len(layers),
            n_features=sizes.n_features,
            d_model=sizes.d_model,
            activation="jumprelu" if jumps else "relu" if k is None else "topk",
            k=k,
            input_hook=settings.get("feature_input_hook", hooks[0]),
            output_hook=settings.get("feature_output_hook", hooks[1]),
            model_name=str(settings.get("model_name") or ""),
            skip="W_skip" in layers[0],
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    found = Found(form, config, tuple(layers), notes)
    _require_shapes(found)
    return found


def expected_shapes(config: TranscoderConfig, layer: int) -> dict[str, tuple[int, ...]]:
    """The shape of every matrix of a layer."""
    feat, d = config.n_features, config.d_model
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (feat, d),
        "b_enc": (feat,),
        "W_dec": (feat, config.n_outputs(layer), d),
        "b_dec": (d,),
    }
    if config.activation == "jumprelu":
        shapes["threshold"] = (feat,)
    if config.skip:
        shapes["W_skip"] = (d, d)
    return shapes


def _require_shapes(found: Found) -> None:
    for layer, tensors in enumerate(found.layers):
        for name, expected in expected_shapes(found.config, layer).items():
            stored = tensors[name]
            if stored.shape != expected:
                path = stored.where.rpartition(": ")[0]
                raise ValueError(f"{path}: {name} has shape {list(stored.shape)}, expected {list(expected)}")


def top_k(folder: Path, settings: Mapping[str, Any], in_files: Mapping[str, Any], n_layers: int) -> int | None:
    """TopK's k from config.yaml or the layer files, which must agree; None where there is no TopK."""
    values: dict[str, Any] = dict(in_files)
    config = str(folder / CONFIG_FILE)
    if settings.get("activation") == "topk" or "k" in settings:
        values[config] = settings.get("k")
    if not values or settings.get("activation") == "relu":
        return None
    if values.get(config, 0) is None and len(values) > 1:
        del values[config]
    for path, k in values.items():
        if isinstance(k, bool) or not isinstance(k, int | float) or not 1 <= k < 2**53 or k != int(k):
            raise ValueError(f"{path}: k is {str(k)[:80]}, expected a whole number of at least 1 for TopK")
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{k} in {path}" for path, k in list(values.items())[:4])
        raise ValueError(f"{folder}: k differs: {shown}; expected one k for all layers")
    if in_files and config not in values and len(in_files) < n_layers:
        raise ValueError(f"{folder}: {len(in_files)} of {n_layers} layers have k; expected all or none")
    return int(next(iter(values.values())))
