"""The training objective of a transcoder: activations with their surrogate gradients, loss, penalty, dead
features.

Everything here is in normalised units (see `Learner`): each layer's inputs and targets have mean 0 and, per
dimension on average, variance 1. With e^l = ŷ^l − y^l and d = d_model, averaged over the positions of a
batch,

    loss = Σ_l ‖e^l‖² / d  +  λ Σ_l Σ_i tanh(c · ‖W_dec,i^l‖ · a_i^l)  +  α · auxiliary

The penalty belongs to JumpReLU, ‖W_dec,i‖ being the norm over all of a feature's decoders (Ameisen et al.
2025). Its thresholds θ learn through a straight-through estimate with a rectangular kernel of width ε
(Rajamanoharan et al. 2024, arXiv:2407.14435): ∂a/∂θ = −(θ/ε) · 1[|z − θ| < ε/2], while ∂a/∂z = 1[z > θ] as
it is. TopK and BatchTopK need no penalty; dead features learn from the auxiliary loss of Gao et al. 2024
(arXiv:2406.04093): how much of the residual −e the strongest dead features rebuild, as a fraction of it.
BatchTopK is Bussmann et al. 2024 (arXiv:2412.06410).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

THRESHOLD_ROWS = 512


class JumpReLU(torch.autograd.Function):
    """z · 1[z > θ], with the straight-through gradient for θ."""

    @staticmethod
    def forward(ctx, z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        z, threshold = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        to_threshold = -(threshold / ctx.bandwidth) * (gradient * near).sum(tuple(range(z.ndim - 1)))
        return gradient * (z > threshold), to_threshold.to(threshold.dtype), None


def jump_relu(
    z: Float[Tensor, "*batch feat"], threshold: Float[Tensor, " feat"], bandwidth: float
) -> Float[Tensor, "*batch feat"]:
    """JumpReLU with thresholds that learn; z is cast to the thresholds' precision."""
    return JumpReLU.apply(z.to(threshold.dtype), threshold, bandwidth)  # type: ignore[return-value]


def top_k(z: Float[Tensor, "batch feat"], k: int) -> Float[Tensor, "batch feat"]:
    """The k largest of ReLU(z) at each position, 0 elsewhere."""
    kept = z.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter(-1, kept.indices, kept.values.relu())


def batch_threshold(z: Float[Tensor, "batch feat"], k: int) -> float:
    """The value that k features per position exceed on average, at least 0: BatchTopK's cut.

    Batches are shuffled, so their first THRESHOLD_ROWS positions stand for all of them.
    """
    rows = z.detach()[:THRESHOLD_ROWS]
    surplus = rows.numel() - k * len(rows)
    if not surplus:
        return 0.0
    values = rows.float().flatten().cpu().numpy()
    return max(float(np.partition(values, surplus - 1)[surplus - 1]), 0.0)


def fired_features(activations: list[Float[Tensor, "batch feat"]]) -> Bool[Tensor, "layer feat"]:
    """Which features are active anywhere in the batch: a product with ones, far faster than a comparison."""
    ones = torch.ones(1, len(activations[0]), dtype=activations[0].dtype, device=activations[0].device)
    return torch.cat([ones @ a.detach() for a in activations]) > 0


def tanh_penalty(
    activations: Float[Tensor, "batch feat"], W_dec: Float[Tensor, "feat out d_model"], scale: float
) -> Float[Tensor, ""]:
    """Σ_i tanh(c · ‖W_dec,i‖ · a_i), averaged over the batch."""
    return torch.tanh(scale * W_dec.flatten(1).norm(dim=1) * activations).sum(-1).mean()


class Decode(torch.autograd.Function):
    """ŷ of all layers at once: Σ_k a^k W_dec^{k→l}, one dense product per source layer, forward and backward.

    Arguments: the sizes (n_layers, d_model), then the activations of every layer, then their decoders.
    Works in the activations' precision and adds up in float32.
    """

    @staticmethod
    def forward(ctx, n_layers: int, d_model: int, *tensors: Tensor) -> Tensor:
        activations, decoders = tensors[:n_layers], tensors[n_layers:]
        flat = [decoder.flatten(1).to(a.dtype) for a, decoder in zip(activations, decoders, strict=True)]
        ctx.save_for_backward(*activations, *flat)
        ctx.shapes = [decoder.shape for decoder in decoders]
        output = torch.zeros(len(activations[0]), n_layers * d_model, device=flat[0].device)
        output = output.to(torch.promote_types(flat[0].dtype, torch.float32))
        for layer, (a, decoder) in enumerate(zip(activations, flat, strict=True)):
            output[:, layer * d_model : layer * d_model + decoder.shape[1]] += a @ decoder
        return output.unflatten(1, (n_layers, d_model))

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n_layers = len(ctx.shapes)
        activations, flat = ctx.saved_tensors[:n_layers], ctx.saved_tensors[n_layers:]
        gradient = gradients[0].to(flat[0].dtype)
        d_model = gradient.shape[-1]
        gradient = gradient.flatten(1)
        to_activations, to_decoders = [], []
        for layer, (a, decoder) in enumerate(zip(activations, flat, strict=True)):
            part = gradient[:, layer * d_model : layer * d_model + decoder.shape[1]]
            to_activations.append(part @ decoder.T)
            to_decoders.append((a.T @ part).view(ctx.shapes[layer]).to(torch.promote_types(a.dtype, torch.float32)))
        return (None, None, *to_activations, *to_decoders)


def decode_all(
    activations: list[Float[Tensor, "batch _"]], decoders: list[Float[Tensor, "_ _ d_model"]]
) -> Float[Tensor, "batch layer d_model"]:
    """Reconstructions of all layers, without biases and skip connections."""
    return Decode.apply(len(activations), decoders[0].shape[-1], *activations, *decoders)  # type: ignore[return-value]


def auxiliary_loss(
    pre_activations: list[Float[Tensor, "batch feat"]],
    decoders: list[Float[Tensor, "_ _ d_model"]],
    dead: Bool[Tensor, "layer feat"],
    residual: Float[Tensor, "batch layer d_model"],
) -> Float[Tensor, ""]:
    """Share of the residual (a constant here) that the d_model / 2 strongest dead features of each layer
    miss."""
    chosen = [mask.nonzero().flatten() for mask in dead]
    k = max(residual.shape[-1] // 2, 1)
    activations = [top_k(z[:, index], min(k, len(index))) for z, index in zip(pre_activations, chosen, strict=True)]
    rebuilt = decode_all(activations, [decoder[index] for decoder, index in zip(decoders, chosen, strict=True)])
    target = residual.detach()
    return (rebuilt - target).square().sum() / target.square().sum().clamp_min(1e-12)


def dead_features(silent_for: Tensor, dead_after: int) -> Bool[Tensor, "layer feat"]:
    """Which features were silent on the last `dead_after` positions."""
    return silent_for >= dead_after


def learning_rate_at(step: int, total: int, warmup: int, final: float) -> float:
    """Factor on the highest learning rate: a cosine down to `final`, times a linear rise up to `warmup`."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fraction = min(step / max(total - 1, 1), 1.0)
    return rise * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fraction)))
