"""crosslayer-coding's CLTs: one state dict (.safetensors, or .pt read without executing it), cfg.json, norm_stats.json.

    encoder_module.encoders.{i}.weight [F, d], .bias_param [F]
    decoder_module.decoders.{s}->{t}.weight [d, F], .bias_param [d]           decoder_tying: none
    decoder_module.decoders.{i}.weight, .bias_param                           tied: per_source i = s, per_target i = t
    decoder_module.skip_weights.{i} [d, d]; decoder_module.feature_offset.{t}, .feature_scale.{t} [F] (per_target)
    theta_manager.log_threshold [L, F]: JumpReLU at its exponential

Training saw normalised activations. With inputs x' = (x − m)/s and targets y' = (y − n)/t from norm_stats.json,

    W_enc = W'/s,   b_enc = b' − W' (m/s),   W_dec = W'_dec · t,   b_dec = b'_dec · t + n − (skip of m)

read and write the model's own. A target's bias is the sum of the biases of all decoders that write to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuitlab.formats.transcoder_settings import read_json
from circuitlab.formats.transcoders.contents import (
    LARGEST_STATISTICS,
    MOST_LAYERS,
    Contents,
    Found,
    in_file,
)
from circuitlab.formats.transcoders.layers import Sizes, assemble
from circuitlab.formats.transcoders.stored import InFile, Stacked, Stored
from circuitlab.formats.transcoders.tensor_files import Header, headers, view

FORM = "crosslayer-coding CLT"
CONFIG, STATISTICS = "cfg.json", "norm_stats.json"
TYINGS = ("none", "per_source", "per_target")
ENCODER, DECODER = "encoder_module.encoders", "decoder_module.decoders"
THRESHOLDS = "theta_manager.log_threshold"


def matches(contents: Contents) -> bool:
    return contents.has(CONFIG) and contents.settings is None


def find(contents: Contents) -> Found:
    source = _Source(contents.folder, read_json(contents.folder / CONFIG))
    layers = [source.layer(i) for i in range(source.n_layers)]
    k = source.k()
    hooks = _hooks(source.cfg)
    found = assemble(
        FORM, "clt", Sizes.of(layers[0]), layers, contents,
        k_in_files={} if k is None else {f"{contents.folder / CONFIG} (layer {i})": k for i in range(source.n_layers)},
        hooks=hooks, notes=source.notes(),
    )  # fmt: skip
    name = source.cfg.get("model_name")
    return found if not isinstance(name, str) else _named(found, name)


def _named(found: Found, name: str) -> Found:
    from dataclasses import replace

    return replace(found, config=replace(found.config, model_name=name))


@dataclass(frozen=True)
class Normalisation:
    """What training subtracted and divided by, per layer: [d_model] each."""

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor


class _Source:
    """The files of one folder, read where they are small."""

    def __init__(self, folder: Path, cfg: Mapping[str, Any]) -> None:
        self.folder, self.cfg, self.config_path = folder, cfg, folder / CONFIG
        self.n_layers = self._whole("num_layers", MOST_LAYERS)
        self.n_features = self._whole("num_features", 2**31)
        self.d_model = self._whole("d_model", 2**20)
        self.tying = cfg.get("decoder_tying") or "none"
        if self.tying not in TYINGS:
            raise ValueError(f"{self.config_path}: decoder_tying is {self.tying!r}, expected {', '.join(TYINGS)}")
        activation = cfg.get("activation_fn", "jumprelu")
        if activation not in ("jumprelu", "relu", "topk"):
            raise ValueError(
                f"{self.config_path}: activation_fn is {str(activation)[:80]!r}, expected jumprelu, relu or topk; "
                f"its own script turns BatchTopK into JumpReLU"
            )
        self.activation = activation
        self.path = _state_file(folder)
        self.found: dict[str, Header] = headers(self.path)
        self._refuse_unread()

    def _whole(self, key: str, most: int) -> int:
        value = self.cfg.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"{self.config_path}: {key} is {str(value)[:80]}, expected a whole number, 1 to {most}")
        return value

    def _refuse_unread(self) -> None:
        """What would change the numbers and is not expressible in a linear decoder is an error, not left out."""
        for key in self.found:
            unread = key.endswith((".per_target_scale", ".per_target_bias"))
            unread |= "skip_weights." in key and "->" in key
            unread |= self.tying == "per_source" and ("feature_offset." in key or "feature_scale." in key)
            if unread and bool((self._read(key) != 0).any()):
                raise ValueError(
                    f"{self.path}: {key} is something that circuitlab does not read: its decoders would not be linear "
                    f"in the activations of one layer"
                )

    # ---- tensors ----

    def _stored(self, key: str, ndim: int, axes: str, **options: Any) -> InFile:
        if key not in self.found:
            raise ValueError(f"{self.path} has no {key}; {self.config_path.name} says that it should")
        return in_file(self.path, self.found, key, ndim, axes, **options)

    def _read(self, key: str) -> Tensor:
        return view(self.path, key).to(torch.float64)

    def _vector(self, key: str, size: int) -> Tensor:
        stored = self._stored(key, 1, f"[{size}]")
        if stored.shape != (size,):
            raise ValueError(f"{self.path}: {key} has shape {list(stored.shape)}, expected [{size}]")
        return self._read(key)

    def layer(self, i: int) -> dict[str, Stored]:
        """One layer's matrices for the model's own activations."""
        norm = self.statistics[i] if self.statistics else None
        W_enc = self._stored(f"{ENCODER}.{i}.weight", 2, "[features, d_model]")
        if W_enc.shape != (self.n_features, self.d_model):
            raise ValueError(
                f"{self.path}: {W_enc.key} has shape {list(W_enc.shape)}, expected "
                f"[{self.n_features}, {self.d_model}] as in {self.config_path.name}"
            )
        b_enc = self._vector(f"{ENCODER}.{i}.bias_param", self.n_features)
        if norm is not None:
            b_enc = b_enc - self._read(W_enc.key) @ (norm.input_mean / norm.input_std)
            W_enc = InFile(self.path, W_enc.key, W_enc.header, columns=1.0 / norm.input_std)
        tensors: dict[str, Stored] = {
            "W_enc": W_enc,
            "b_enc": self._computed(f"{ENCODER}.{i}.bias_param", b_enc),
            "W_dec": Stacked(tuple(self._decoder(i, target) for target in range(i, self.n_layers))),
            "b_dec": self._computed(f"{DECODER} bias of layer {i}", self._output_bias(i)),
        }
        if self.activation == "jumprelu":
            tensors["threshold"] = self._computed(THRESHOLDS, self.thresholds[i])
        if self.has_skip:
            tensors["W_skip"] = self._computed(f"decoder_module.skip_weights.{i}", self._skip(i))
        return tensors

    def _computed(self, key: str, value: Tensor) -> InFile:
        return Computed(
            self.path, key, Header(tuple(value.shape), self.found[f"{ENCODER}.0.weight"].dtype), value=value
        )

    def _decoder(self, source: int, target: int) -> InFile:
        """W_dec of one source into one target, [feat, d_model]."""
        name = {"none": f"{source}->{target}", "per_source": str(source), "per_target": str(target)}[self.tying]
        stored = self._stored(f"{DECODER}.{name}.weight", 2, "[d_model, features]", turn=Tensor.t)
        if stored.shape != (self.n_features, self.d_model):
            shape = list(stored.header.shape)
            raise ValueError(
                f"{self.path}: {stored.key} has shape {shape}, expected [{self.d_model}, {self.n_features}]"
            )
        columns = self.statistics[target].target_std if self.statistics else None
        factors = None
        if self.tying == "per_target" and (key := f"decoder_module.feature_scale.{target}") in self.found:
            factors = self._vector(key, self.n_features)
        return InFile(self.path, stored.key, stored.header, Tensor.t, columns, factors)

    def _output_bias(self, target: int) -> Tensor:
        """b_dec of a layer: the sum of the biases of all decoders that write there."""
        names = {
            "none": [f"{source}->{target}" for source in range(target + 1)],
            "per_source": [str(source) for source in range(target + 1)],
            "per_target": [str(target)],
        }[self.tying]
        bias = torch.zeros(self.d_model, dtype=torch.float64)
        for name in names:
            if (key := f"{DECODER}.{name}.bias_param") in self.found:
                bias = bias + self._vector(key, self.d_model)
        if self.tying == "per_target" and (key := f"decoder_module.feature_offset.{target}") in self.found:
            scale_key = f"decoder_module.feature_scale.{target}"
            offset = self._vector(key, self.n_features)
            scale = self._vector(scale_key, self.n_features) if scale_key in self.found else torch.ones_like(offset)
            weight = self._read(self._decoder(target, target).key)
            bias = bias + (target + 1) * (weight @ (offset * scale))
        if self.statistics:
            norm = self.statistics[target]
            bias = bias * norm.target_std + norm.target_mean
            if self.has_skip:
                bias = bias - self._skip(target) @ norm.input_mean
        return bias

    @cached_property
    def has_skip(self) -> bool:
        return any(key.startswith("decoder_module.skip_weights.") and "->" not in key for key in self.found)

    def _skip(self, layer: int) -> Tensor:
        key = f"decoder_module.skip_weights.{layer}"
        stored = self._stored(key, 2, "[d_model, d_model]")
        if stored.shape != (self.d_model, self.d_model):
            raise ValueError(f"{self.path}: {key} has shape {list(stored.shape)}, expected {[self.d_model] * 2}")
        weight = self._read(key)
        if self.statistics:
            norm = self.statistics[layer]
            weight = weight / norm.input_std * norm.target_std[:, None]
        return weight

    @cached_property
    def thresholds(self) -> Tensor:
        stored = self._stored(THRESHOLDS, 2, "[layers, features]")
        if stored.shape != (self.n_layers, self.n_features):
            expected = [self.n_layers, self.n_features]
            raise ValueError(f"{self.path}: {THRESHOLDS} has shape {list(stored.shape)}, expected {expected}")
        return self._read(THRESHOLDS).exp()

    def k(self) -> int | None:
        """TopK's k where each layer keeps its own; a share below 1 is of the features."""
        if self.activation != "topk":
            return None
        if self.cfg.get("topk_mode", "global") != "per_layer" and self.n_layers > 1:
            raise ValueError(
                f"{self.config_path}: topk_mode is not 'per_layer': the layers compete "
                f"for k places, which no layer can decide alone"
            )
        k = self.cfg.get("topk_k")
        if isinstance(k, bool) or not isinstance(k, int | float) or not 0 < k <= self.n_features:
            raise ValueError(f"{self.config_path}: topk_k is {str(k)[:80]}, expected a number above 0")
        return max(1, int(k * self.n_features)) if k < 1 else int(k)

    # ---- normalisation ----

    @cached_property
    def statistics_path(self) -> Path | None:
        """norm_stats.json in the folder, or, as published sets have it, beside it."""
        for folder in (self.folder, self.folder.parent):
            if (folder / STATISTICS).is_file():
                return folder / STATISTICS
        return None

    @cached_property
    def statistics(self) -> Sequence[Normalisation] | None:
        method = self.cfg.get("normalization_method", "none")
        if method in ("sqrt_d_model", "auto_sqrt_d_model", "estimated_mean_std_sqrt_d_model"):
            raise ValueError(f"{self.config_path}: normalization_method {method!r} is not read; expected 'mean_std'")
        if self.statistics_path is None:
            if method not in ("none", None):
                raise FileNotFoundError(
                    f"{self.folder} has no {STATISTICS}, but {CONFIG} says normalization_method {str(method)[:80]!r}: "
                    f"without it the features would be wrong. Copy the file that training wrote into the folder"
                )
            return None
        found = read_json(self.statistics_path, LARGEST_STATISTICS)
        return [self._normalisation(found, i) for i in range(self.n_layers)]

    def _normalisation(self, found: Mapping[str, Any], layer: int) -> Normalisation:
        vectors = []
        for side in ("inputs", "targets"):
            for what in ("mean", "std"):
                values: Any = found
                for key in (str(layer), side, what):
                    values = values.get(key) if isinstance(values, dict) else None
                vectors.append(self._numbers(values, f"{layer}.{side}.{what}", positive=what == "std"))
        return Normalisation(*vectors)

    def _numbers(self, values: Any, key: str, positive: bool) -> Tensor:
        problem = f"{self.statistics_path}: {key} is not a list of {self.d_model} "
        problem += "numbers above 0" if positive else "finite numbers"
        if not isinstance(values, list) or len(values) != self.d_model:
            raise ValueError(problem)
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ValueError(problem)
        try:
            vector = torch.tensor(values, dtype=torch.float64)
        except (OverflowError, RuntimeError, ValueError) as error:
            raise ValueError(problem) from error
        if not bool(torch.isfinite(vector).all()) or (positive and not bool((vector > 0).all())):
            raise ValueError(problem)
        return vector

    def notes(self) -> tuple[str, ...]:
        notes = [] if self.tying == "none" else [f"decoders tied {self.tying.replace('_', ' ')}"]
        return (*notes, f"normalisation of {STATISTICS} folded in") if self.statistics else tuple(notes)


@dataclass(frozen=True, eq=False)
class Computed(InFile):
    """A vector or matrix that several tensors of the file make together, in memory."""

    value: Tensor | None = None

    def rows(self, features: Tensor | slice = slice(None), output: int | None = None) -> Tensor:
        assert self.value is not None
        return self.value[features]


def _state_file(folder: Path) -> Path:
    """The one file of tensors in a folder."""
    for endings in ((".safetensors",), (".pt", ".pth", ".bin")):
        files = sorted(path for path in folder.iterdir() if path.suffix in endings and path.is_file())
        if len(files) > 1:
            names = ", ".join(path.name for path in files[:5])
            raise ValueError(f"{folder} has several files of tensors: {names}. Keep the one to be read in it")
        if files:
            return files[0]
    raise FileNotFoundError(f"{folder} has {CONFIG} but no state dict beside it: expected a .safetensors or .pt file")


def _hooks(cfg: Mapping[str, Any]) -> tuple[str, str]:
    """TransformerLens's hooks from cfg.json's templates: the hook's own name, or the module that was tapped."""
    read, written = "hook_resid_mid", "hook_mlp_out"
    for key in ("tl_input_template", "tl_output_template"):
        template = cfg.get(key)
        if isinstance(template, str) and (match := re.fullmatch(r"blocks\.\{[^}]*\}\.([\w.]{1,80})", template)):
            hook = {"mlp.hook_pre": "mlp.hook_in"}.get(match[1], match[1])
            read, written = (hook, written) if key == "tl_input_template" else (read, hook)
            continue
        module = cfg.get(key.replace("tl_", "mlp_"))
        if not isinstance(module, str):
            continue
        if key == "tl_input_template" and module.endswith(("mlp.input", "ln_2.output", "layernorm.output")):
            read = "mlp.hook_in"
        if key == "tl_output_template" and module.endswith("mlp.output"):
            written = "mlp.hook_out"
    return read, written
