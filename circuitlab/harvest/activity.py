"""Which features are active where: one forward pass, and every layer's encoder, as sorted lists of what is not zero.

Features are numbered across layers, layer · n_features + index. The pre-activations of a layer are computed feature by
feature, W_enc xᵀ [feat, token], so that what is active comes sorted by feature without a sort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.harvest.blocks import Batch
from circuitlab.model import Model
from circuitlab.transcoder import Transcoder

VALUES = 4_000_000
"""Pre-activations in memory at once."""


@dataclass(frozen=True)
class Active:
    """What is active in a batch: feature (rising), token (rising within a feature; the n-th counted position), value.

    `row` and `pos` say where in the batch the n-th counted position is.
    """

    feature: np.ndarray
    token: np.ndarray
    value: np.ndarray
    row: np.ndarray
    pos: np.ndarray


@torch.no_grad()
def active_features(model: Model, transcoder: Transcoder, batch: Batch) -> Active:
    """Everything above zero at the counted positions of a batch."""
    counted = batch.counted
    where = torch.from_numpy(counted).to(model.device)
    sites = [f"blocks.{layer}.{transcoder.config.input_hook}" for layer in range(transcoder.config.n_layers)]
    seen = model.capture(torch.from_numpy(batch.tokens).to(model.device), sites)[1]
    parts = []
    for layer, site in enumerate(sites):
        x = seen.pop(site)[where].to(transcoder.dtype)
        _require_finite(x.float().cpu().numpy(), f"what the encoder of layer {layer} reads")
        for first, values in _activations(transcoder, layer, x):
            feature, token, value = _nonzero(values)
            _require_finite(value, f"an activation of layer {layer}")
            parts.append((feature + (layer * transcoder.config.n_features + first), token, value))
    feature, token, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    row, pos = np.nonzero(counted)
    return _above_zero(Active(feature, token, value, row, pos))


def _activations(transcoder: Transcoder, layer: int, x: Float[Tensor, "token d_model"]):
    """Pairs (first feature, activations [feat, token]) that cover a layer, chunk by chunk."""
    weight, bias = transcoder.W_enc[layer], transcoder.b_enc[layer]
    n_features, n_tokens = len(weight), len(x)
    if transcoder.config.activation == "topk" or type(transcoder) is not Transcoder:  # all of a token at once
        yield 0, transcoder.encode(layer, x).T.contiguous()
        return
    step = max(VALUES // max(n_tokens, 1), 1)
    threshold = None if transcoder.threshold is None else transcoder.threshold[layer]
    for first in range(0, n_features, step):
        rows = slice(first, first + step)
        pre = torch.addmm(bias[rows, None], weight[rows], x.T)
        yield first, pre if threshold is None else pre.mul_(pre > threshold[rows, None])


def _require_finite(values: np.ndarray, what: str) -> None:
    """ValueError for NaN and infinity, which would be counted as silence or spoil every sum."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"{what} is NaN or infinite: load the model with dtype=float32 where it is half precision, and look "
            "whether the transcoder is made for it"
        )


def _nonzero(values: Float[Tensor, "feat token"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature, token and value of everything above zero, feature by feature."""
    flat = values.reshape(-1)
    if flat.device.type == "cpu":
        place = torch.from_numpy(np.flatnonzero((flat > 0).numpy()))
    else:
        place = (flat > 0).nonzero()[:, 0]
    value = flat[place].float().cpu().numpy()
    feature, token = np.divmod(place.cpu().numpy(), max(values.shape[1], 1))
    return feature, token, value


def _above_zero(active: Active) -> Active:
    """The same without values that vanish in float32."""
    kept = active.value > 0
    if kept.all():
        return active
    return Active(active.feature[kept], active.token[kept], active.value[kept], active.row, active.pos)
