"""How good a transcoder is: reconstruction per layer, and the replacement model against the model.

    explained variance of layer l = 1 − Σ_p ‖ŷ^l_p − y^l_p‖² / Σ_p ‖y^l_p − ȳ^l‖²,   ȳ^l the mean over
    positions p

L0 is the mean number of active features per position; dead features are those that no position of the text
activates. End to end, all MLPs are replaced and each layer reads the replaced stream
(`circuitlab.replacement`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.model import Model
from circuitlab.replacement import replacement_logits
from circuitlab.training.tokens import TokenData
from circuitlab.transcoder import Transcoder

EVALUATION_TOKENS = 4_096


@dataclass(frozen=True)
class LayerMetrics:
    """Reconstruction of one layer's MLP outputs."""

    layer: int
    explained_variance: float
    l0: float
    dead: int


@dataclass(frozen=True)
class Metrics:
    """A transcoder measured on `positions` positions; KL and cross-entropies in nats.

    `explained_variance` and `l0` are means over layers; `explained_variance_pooled` weighs layers by their
    variance.
    """

    layers: tuple[LayerMetrics, ...]
    explained_variance: float
    explained_variance_pooled: float
    l0: float
    dead: int
    top1_agreement: float
    kl: float
    cross_entropy_model: float
    cross_entropy_replacement: float
    positions: int

    def __str__(self) -> str:
        """A table for people."""
        rows = [f"layer {m.layer:<3} {m.explained_variance:9.2%} {m.l0:8.1f} {m.dead:6}" for m in self.layers]
        total = f"all       {self.explained_variance:9.2%} {self.l0:8.1f} {self.dead:6}"
        return "\n".join(
            [
                "          explained       L0   dead",
                *rows,
                total,
                f"replacement model: top-1 agreement {self.top1_agreement:.1%}, KL {self.kl:.4f}, cross-entropy "
                f"{self.cross_entropy_replacement:.4f} (model {self.cross_entropy_model:.4f})",
                f"on {self.positions:,} held-out positions",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def evaluate(model: Model, transcoder: Transcoder, data: TokenData) -> Metrics:
    """Measure a transcoder on some text, at the positions that count."""
    per_pass = max(EVALUATION_TOKENS // data.tokens.shape[1], 1)
    batches = list(zip(data.tokens.long().split(per_pass), data.include.split(per_pass), strict=True))
    sums = _LayerSums(transcoder)
    ends = torch.zeros(6, dtype=torch.float64)
    for tokens, include in batches:
        tokens, include = tokens.to(model.device), include.to(model.device)
        logits = sums.add(model, tokens, include)
        ends += _end_to_end(logits, replacement_logits(model, transcoder, tokens), tokens, include)
    layers = sums.metrics()
    positions, agreed, kl, following, true, replaced = ends.tolist()
    following = max(following, 1.0)
    return Metrics(
        layers=tuple(layers),
        explained_variance=sum(layer.explained_variance for layer in layers) / len(layers),
        explained_variance_pooled=1 - float(sums.error.sum() / sums.variance.sum().clamp_min(1e-30)),
        l0=sum(layer.l0 for layer in layers) / len(layers),
        dead=sum(layer.dead for layer in layers),
        top1_agreement=agreed / positions,
        kl=kl / positions,
        cross_entropy_model=true / following,
        cross_entropy_replacement=replaced / following,
        positions=int(positions),
    )


class _LayerSums:
    """Sums over positions from which the layer metrics follow."""

    def __init__(self, transcoder: Transcoder) -> None:
        n, config = transcoder.config.n_layers, transcoder.config
        self.transcoder = transcoder
        self.count = 0
        self.error = torch.zeros(n, dtype=torch.float64)
        self.total = torch.zeros(n, config.d_model, dtype=torch.float64)
        self.squares = torch.zeros(n, dtype=torch.float64)
        self.active = torch.zeros(n, dtype=torch.float64)
        self.fired = torch.zeros(n, config.n_features, dtype=torch.bool)

    @property
    def variance(self) -> Tensor:
        """Σ_p ‖y_p − ȳ‖² per layer."""
        return self.squares - self.total.square().sum(-1) / self.count

    @torch.no_grad()
    def add(self, model: Model, tokens: Tensor, include: Tensor) -> Float[Tensor, "batch pos vocab"]:
        """Add a batch of text; returns the model's logits."""
        t = self.transcoder
        config, layers = t.config, range(t.config.n_layers)
        reads = [f"blocks.{layer}.{config.input_hook}" for layer in layers]
        writes = [f"blocks.{layer}.{config.output_hook}" for layer in layers]
        logits, seen = model.capture(tokens, [*reads, *writes])
        inputs = [seen[site][include].to(t.dtype) for site in reads]
        activations = [t.encode(layer, x) for layer, x in enumerate(inputs)]
        self.count += len(inputs[0])
        for layer in layers:
            y = seen[writes[layer]][include].double()
            error = t.decode(layer, activations, inputs[layer]).double() - y
            self.error[layer] += error.square().sum().cpu()
            self.total[layer] += y.sum(0).cpu()
            self.squares[layer] += y.square().sum().cpu()
            self.active[layer] += (activations[layer] > 0).sum().cpu()
            self.fired[layer] |= (activations[layer] > 0).any(0).cpu()
        return logits

    def metrics(self) -> Sequence[LayerMetrics]:
        explained = 1 - self.error / self.variance.clamp_min(1e-30)
        l0 = self.active / self.count
        return [
            LayerMetrics(layer, explained[layer].item(), l0[layer].item(), int((~self.fired[layer]).sum()))
            for layer in range(len(explained))
        ]


def _end_to_end(logits: Tensor, replaced: Tensor, tokens: Tensor, include: Tensor) -> Float[Tensor, " six"]:
    """Sums over counted positions: 1, agreement, KL; and, where the next token counts too: 1, both
    cross-entropies."""
    true, other = (values.double().log_softmax(-1) for values in (logits, replaced))
    agreed = (true.argmax(-1) == other.argmax(-1))[include].sum()
    kl = (true.exp() * (true - other)).sum(-1)[include].sum()
    following = include[:, :-1] & include[:, 1:]
    chosen = [-p[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0][following].sum() for p in (true, other)]
    return torch.stack([include.sum(), agreed, kl, following.sum(), *chosen]).double().cpu()
