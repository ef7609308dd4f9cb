"""Small folders in the form of every published kind of transcoder, written from a transcoder that is known.

Each writer takes a Transcoder and a folder and gives the folder back; together in `KINDS`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from models import random_transcoder
from safetensors.torch import save_file

from circuitlab.formats.transcoders import write_transcoder
from circuitlab.transcoder import Transcoder


def settings(transcoder: Transcoder, **more) -> str:
    c = transcoder.config
    kind = "transcoder_set" if c.kind == "plt" else "cross_layer_transcoder"
    hooks = {"feature_input_hook": c.input_hook, "feature_output_hook": c.output_hook}
    return yaml.safe_dump({"model_name": "tiny", "model_kind": kind, **hooks, **more})


def arrays(transcoder: Transcoder, layer: int) -> dict[str, torch.Tensor]:
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip")
    lists = {name: getattr(transcoder, name) for name in names}
    return {name: weights[layer].detach() for name, weights in lists.items() if weights is not None}


def write_gemmascope(transcoder: Transcoder, folder: Path) -> Path:
    """layer_{i}/width_16k/average_l0_{N}/params.npz, and no config.yaml."""
    for layer in range(transcoder.config.n_layers):
        a = {name: value.numpy() for name, value in arrays(transcoder, layer).items()}
        place = folder / f"layer_{layer}" / "width_16k" / f"average_l0_{70 + layer}"
        place.mkdir(parents=True)
        weights = {"W_enc": np.ascontiguousarray(a["W_enc"].T), "W_dec": a["W_dec"][:, 0]}
        np.savez(place / "params.npz", **weights, b_enc=a["b_enc"], b_dec=a["b_dec"], threshold=a["threshold"])
    return folder


def write_gemmascope_listed(transcoder: Transcoder, folder: Path) -> Path:
    """The same under config.yaml, which lists one of several widths by path."""
    write_gemmascope(transcoder, folder)
    other = folder / "layer_0" / "width_1m" / "average_l0_9"
    other.mkdir(parents=True)
    np.savez(other / "params.npz", W_enc=np.zeros((2, 2)))
    places = [f"layer_{i}/width_16k/average_l0_{70 + i}/params.npz" for i in range(transcoder.config.n_layers)]
    (folder / "config.yaml").write_text(settings(transcoder, transcoders=places))
    return folder


def gemmascope2(transcoder: Transcoder, layer: int) -> dict[str, torch.Tensor]:
    a = arrays(transcoder, layer)
    tensors = {"w_enc": a["W_enc"].T.contiguous(), **{name: a[name] for name in ("b_enc", "b_dec", "threshold")}}
    if "W_skip" in a:
        tensors["affine_skip_connection"] = a["W_skip"].T.contiguous()
    if transcoder.config.kind == "plt":
        return tensors | {"w_dec": a["W_dec"][:, 0].contiguous()}
    absolute = torch.full((len(a["W_dec"]), transcoder.config.n_layers, transcoder.config.d_model), 7.0).to(a["W_dec"])
    absolute[:, layer:] = a["W_dec"]  # what stands before the own layer is not to be read
    return tensors | {"w_dec": absolute}


def write_gemmascope2_plt(transcoder: Transcoder, folder: Path) -> Path:
    """layer_{i}_width_16k_l0_small/params.safetensors, listed in config.yaml."""
    for layer in range(transcoder.config.n_layers):
        place = folder / f"layer_{layer}_width_16k_l0_small"
        place.mkdir(parents=True)
        save_file(gemmascope2(transcoder, layer), place / "params.safetensors")
    places = [f"layer_{i}_width_16k_l0_small/params.safetensors" for i in range(transcoder.config.n_layers)]
    (folder / "config.yaml").write_text(settings(transcoder, transcoders=places))
    return folder


def write_gemmascope2_clt(transcoder: Transcoder, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for layer in range(transcoder.config.n_layers):
        save_file(gemmascope2(transcoder, layer), folder / f"params_layer_{layer}.safetensors")
    (folder / "config.yaml").write_text(settings(transcoder))
    return folder


def crosslayer_state(transcoder: Transcoder, statistics: dict, tying: str = "none") -> dict[str, torch.Tensor]:
    """The state dict of a run that saw activations normalised with these statistics."""
    c, state = transcoder.config, {}
    for i in range(c.n_layers):
        a, (m, s), (n, t) = arrays(transcoder, i), *(moments(statistics, i, side) for side in ("inputs", "targets"))
        state[f"encoder_module.encoders.{i}.weight"] = a["W_enc"] * s
        state[f"encoder_module.encoders.{i}.bias_param"] = a["b_enc"] + a["W_enc"] @ m
        bias = (a["b_dec"] - n) / t
        if "W_skip" in a:
            state[f"decoder_module.skip_weights.{i}"] = a["W_skip"] * s / t[:, None]
            bias = bias + (a["W_skip"] @ m) / t
        if tying == "per_target":
            state[f"decoder_module.decoders.{i}.bias_param"] = bias
            state[f"decoder_module.decoders.{i}.weight"] = (transcoder.W_dec[0][:, i] / t).T.contiguous()
            continue
        if tying == "per_source":
            state[f"decoder_module.decoders.{i}.weight"] = (a["W_dec"][:, 0] / t).T.contiguous()
            state[f"decoder_module.decoders.{i}.bias_param"] = bias  # of sources 0 to i: made a difference below
            continue
        for target in range(i, c.n_layers):
            t_target = moments(statistics, target, "targets")[1]
            state[f"decoder_module.decoders.{i}->{target}.weight"] = (
                a["W_dec"][:, target - i] / t_target
            ).T.contiguous()
        for source in range(i + 1):  # a target's bias comes in as many parts as layers write to it
            state[f"decoder_module.decoders.{source}->{i}.bias_param"] = bias / (i + 1)
    if tying == "per_source":
        whole = [state[f"decoder_module.decoders.{i}.bias_param"] for i in range(c.n_layers)]
        for i in range(1, c.n_layers):
            state[f"decoder_module.decoders.{i}.bias_param"] = whole[i] - whole[i - 1]
    if transcoder.threshold is not None:
        state["theta_manager.log_threshold"] = torch.stack([x.detach().log() for x in transcoder.threshold])
    return state


def moments(statistics: dict, layer: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    found = statistics[str(layer)][side]
    return torch.tensor(found["mean"], dtype=torch.float64), torch.tensor(found["std"], dtype=torch.float64)


def random_statistics(n_layers: int, d_model: int, same: bool = False) -> dict:
    """Means and standard deviations per layer; `same`: the targets' are those of layer 0 everywhere."""
    generator = torch.Generator().manual_seed(4)

    def side() -> dict:
        mean, std = torch.randn(2, d_model, generator=generator, dtype=torch.float64)
        return {"mean": mean.tolist(), "std": (0.5 + std.abs()).tolist()}

    found = {str(i): {"inputs": side(), "targets": side()} for i in range(n_layers)}
    return {i: {**layer, "targets": found["0"]["targets"]} for i, layer in found.items()} if same else found


def write_crosslayer(transcoder: Transcoder, folder: Path, tying: str = "none", file: str = "clt.safetensors") -> Path:
    """State dict, cfg.json and norm_stats.json."""
    c = transcoder.config
    folder.mkdir(parents=True, exist_ok=True)
    statistics = random_statistics(c.n_layers, c.d_model, same=tying == "per_source")
    state = crosslayer_state(transcoder, statistics, tying)
    save_file(state, folder / file) if file.endswith("safetensors") else torch.save(state, folder / file)
    cfg = {
        "num_features": c.n_features, "num_layers": c.n_layers, "d_model": c.d_model, "model_name": "tiny",
        "normalization_method": "mean_std", "activation_fn": c.activation, "decoder_tying": tying,
        "tl_input_template": "blocks.{}." + c.input_hook, "tl_output_template": "blocks.{}." + c.output_hook,
        "skip_connection": c.skip,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(cfg))
    (folder / "norm_stats.json").write_text(json.dumps(statistics))
    return folder


def tied(transcoder: Transcoder, tying: str) -> Transcoder:
    """The same transcoder with the decoders that tying leaves: one per source, or one per target."""
    with torch.no_grad():
        for source, decoder in enumerate(transcoder.W_dec):
            for j in range(decoder.shape[1]):
                decoder[:, j] = (
                    transcoder.W_dec[source][:, 0] if tying == "per_source" else transcoder.W_dec[0][:, source + j]
                )
    return transcoder


PLT = {"kind": "plt", "activation": "jumprelu"}
CLT = {"kind": "clt", "activation": "jumprelu"}
NORMED = {"input_hook": "ln2.hook_normalized"}

KINDS = {
    "plt": (PLT, write_transcoder),
    "plt skip": ({**PLT, "skip": True}, write_transcoder),
    "clt": (CLT, write_transcoder),
    "clt topk": ({"kind": "clt", "activation": "topk", "k": 5}, write_transcoder),
    "gemmascope": ({**PLT, **NORMED}, write_gemmascope),
    "gemmascope listed": ({**PLT, **NORMED}, write_gemmascope_listed),
    "gemmascope 2 plt": ({**PLT, "input_hook": "mlp.hook_in"}, write_gemmascope2_plt),
    "gemmascope 2 plt skip": ({**PLT, "skip": True}, write_gemmascope2_plt),
    "gemmascope 2 clt": (CLT, write_gemmascope2_clt),
    "gemmascope 2 clt skip": ({**CLT, "skip": True, "input_hook": "mlp.hook_in"}, write_gemmascope2_clt),
    "crosslayer": (CLT, write_crosslayer),
    "crosslayer skip": ({**CLT, "skip": True}, write_crosslayer),
    "crosslayer relu, mlp.hook_out": ({"kind": "clt", "output_hook": "mlp.hook_out"}, write_crosslayer),
    "crosslayer pt": (CLT, lambda t, folder: write_crosslayer(t, folder, file="clt.pt")),
    "crosslayer per source": (CLT, lambda t, folder: write_crosslayer(tied(t, "per_source"), folder, "per_source")),
    "crosslayer per target": (CLT, lambda t, folder: write_crosslayer(tied(t, "per_target"), folder, "per_target")),
}
"""Name → options of the random transcoder, writer."""


def example(name: str, folder: Path, **options) -> tuple[Transcoder, Path]:
    """A known transcoder and a folder that holds it in the form of that kind."""
    made, write = KINDS[name]
    transcoder = random_transcoder(**{**made, **options})
    return transcoder, write(transcoder, folder)
