"""Transcoders: sparse dictionaries that stand in for a model's MLPs.

At every layer l the encoder reads the residual stream and gives feature activations; the decoders rebuild the
MLP outputs from the features of that layer and, in a cross-layer transcoder (CLT), of all earlier layers:

    a^l = activation(W_enc^l x^l + b_enc^l)
    ŷ^l = b_dec^l + Σ_{k≤l} a^k W_dec^{k→l}  (+ W_skip^l x^l)

A per-layer transcoder (PLT) is the case in which a feature writes to its own layer only. One class serves both:
`W_dec[k]` has the shape [feat, out, d_model], its index j writing to layer k + j; `out` is n_layers - k for a CLT
and 1 for a PLT. Encoders and decoders are in memory or, lazily, in files (weights.py).

Source: Ameisen et al. 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models",
https://transformer-circuits.pub/2025/attribution-graphs/methods.html (section "Building an interpretable
replacement model"); JumpReLU from Rajamanoharan et al. 2024 (arXiv:2407.14435), TopK from Gao et al. 2024
(arXiv:2406.04093), skip connections from Paulo et al. 2025 (arXiv:2501.18823).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitlab.weights import Held, Weights

Kind = Literal["clt", "plt"]
Activation = Literal["relu", "jumprelu", "topk", "neuron"]
"""How pre-activations become activations; "neuron": an MLP's own nonlinearity, see circuitlab.neurons."""


@dataclass(frozen=True)
class TranscoderConfig:
    """Sizes and hook points of a transcoder.

    `input_hook` and `output_hook` are TransformerLens names without their `blocks.N.`: published CLTs read
    `hook_resid_mid` and write `hook_mlp_out`; many PLTs read `mlp.hook_in` and write `mlp.hook_out`.
    """

    kind: Kind
    n_layers: int
    n_features: int
    d_model: int
    activation: Activation = "relu"
    k: int | None = None
    input_hook: str = "hook_resid_mid"
    output_hook: str = "hook_mlp_out"
    model_name: str = ""
    skip: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("kind", self.kind, ("clt", "plt")),
            ("activation", self.activation, ("relu", "jumprelu", "topk", "neuron")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
        for name in ("n_layers", "n_features", "d_model"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.activation == "topk" and not (self.k and 1 <= self.k <= self.n_features):
            raise ValueError(f"activation='topk' needs k between 1 and n_features={self.n_features}, not k={self.k}")

    def n_outputs(self, layer: int) -> int:
        """How many layers a feature of `layer` writes to."""
        return self.n_layers - layer if self.kind == "clt" else 1


class Transcoder(nn.Module):
    """A CLT or PLT; the weights are the module's parameters, one list entry per layer, zero until set.

    `W_enc` and `W_dec` may be `OnDisk` instead: then they are no parameters, and reading an entry reads the file.

    Shapes, for layer l of L: `W_enc[l]` [feat, d_model], `b_enc[l]` [feat], `W_dec[l]` [feat, out, d_model],
    `b_dec[l]` [d_model]; with JumpReLU `threshold[l]` [feat]; with skip connections `W_skip[l]` [d_model, d_model],
    which adds x @ W_skip.T.
    """

    exact = False
    """Whether the MLPs are rebuilt without an error: only a model's own neurons do that."""

    def __init__(self, config: TranscoderConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        n, feat, d = config.n_layers, config.n_features, config.d_model

        def per_layer(*shape: int) -> Held:
            return Held([nn.Parameter(torch.zeros(*shape, dtype=dtype)) for _ in range(n)])

        self.W_enc: Weights = per_layer(feat, d)
        self.b_enc = per_layer(feat)
        self.W_dec: Weights = Held(
            [nn.Parameter(torch.zeros(feat, config.n_outputs(layer), d, dtype=dtype)) for layer in range(n)]
        )
        self.b_dec = per_layer(d)
        self.threshold = per_layer(feat) if config.activation == "jumprelu" else None
        self.W_skip = per_layer(d, d) if config.skip else None

    @property
    def dtype(self) -> torch.dtype:
        return self.b_enc[0].dtype

    @property
    def device(self) -> torch.device:
        return self.b_enc[0].device

    def __repr__(self) -> str:
        c = self.config
        k = f", k={c.k}" if c.activation == "topk" else ""
        skip = ", skip" if c.skip else ""
        return (
            f"Transcoder({c.kind.upper()}, {c.n_layers} layers x {c.n_features} features, d_model={c.d_model}, "
            f"{c.activation}{k}{skip}, {c.input_hook} -> {c.output_hook})"
        )

    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feat"]:
        """W_enc x + b_enc of one layer."""
        return self.W_enc.read(layer, x, self.b_enc[layer])

    def reading(
        self, layer: int, features: Int[Tensor, " target"], x: Float[Tensor, "target d_model"]
    ) -> tuple[Float[Tensor, "target d_model"], Float[Tensor, " target"]]:
        """The vectors that features read the stream through, and their offsets; `x` is what each reads."""
        return self.W_enc.rows(layer, features).detach(), self.b_enc[layer].detach()[features]

    def activate(self, layer: int, pre_activation: Float[Tensor, "*batch feat"]) -> Float[Tensor, "*batch feat"]:
        """The nonlinearity: ReLU; JumpReLU x·1[x > threshold]; TopK, the k largest of ReLU(x) per position."""
        if self.threshold is not None:
            return pre_activation * (pre_activation > self.threshold[layer])
        positive = pre_activation.relu()
        if self.config.activation == "topk":
            kept = positive.topk(self.config.k or 0, dim=-1)
            return torch.zeros_like(positive).scatter(-1, kept.indices, kept.values)
        return positive

    def encode(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feat"]:
        """Feature activations of one layer from what its encoder reads."""
        return self.activate(layer, self.pre_activations(layer, x))

    def decode(
        self,
        layer: int,
        activations: Sequence[Float[Tensor, "*batch feat"]],
        x: Float[Tensor, "*batch d_model"] | None = None,
    ) -> Float[Tensor, "*batch d_model"]:
        """ŷ of one layer from the dense activations of layers 0..layer; `x` is needed with skip connections."""
        first = 0 if self.config.kind == "clt" else layer
        output = self.b_dec[layer].expand(*activations[layer].shape[:-1], -1)
        for source in range(first, layer + 1):
            output = output + self.W_dec.write(source, layer - source, activations[source])
        return output + self.skip(layer, x)

    def skip(self, layer: int, x: Float[Tensor, "*batch d_model"] | None) -> Tensor | float:
        """The skip connection's part of ŷ: x @ W_skip.T, or 0 where there is none."""
        if self.W_skip is None:
            return 0.0
        if x is None:
            raise ValueError("this transcoder has skip connections: decode needs x, what the encoder read")
        return x @ self.W_skip[layer].T

    def decoder_rows(
        self, source: int, target: int, features: Int[Tensor, " active"]
    ) -> Float[Tensor, "active d_model"] | None:
        """The decoder vectors of some features of layer `source` into layer `target`; None where they don't write.

        Only these rows are read, so a memory-mapped or offloaded decoder costs what its active features cost.
        """
        offset = target - source
        if not 0 <= offset < self.config.n_outputs(source):
            return None
        return self.W_dec.rows(source, features, offset)
