"""The parts of the evidence that the weights give, for many features at once.

promoted, suppressed    the tokens with the largest and smallest logit weights (features.logit_weights)
logit histogram         of a feature's logit weights over the vocabulary, `BINS` even bins between its extremes
nearest                 the features of the same layer whose encoders have the largest cosine with this one's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.features import logit_weights
from circuitlab.model import Model
from circuitlab.transcoder import Transcoder

BINS = 24
VALUES = 16_000_000
"""Logit weights or cosines in memory at once."""


@dataclass(frozen=True)
class LayerWeights:
    """One layer's parts, one row per feature: ids [feat, n] with their weights, counts with edges, and neighbours."""

    promoted: tuple[np.ndarray, np.ndarray]
    suppressed: tuple[np.ndarray, np.ndarray]
    logit_counts: np.ndarray
    logit_edges: np.ndarray
    nearest: tuple[np.ndarray, np.ndarray]


@torch.no_grad()
def layer_weights(model: Model, transcoder: Transcoder, layer: int, n_tokens: int, n_nearest: int) -> LayerWeights:
    """The parts of all features of a layer."""
    n_features = transcoder.config.n_features
    chunks = [_logits(model, transcoder, layer, rows, n_tokens) for rows in _slices(n_features, model.d_vocab)]
    encoders = torch.nn.functional.normalize(transcoder.W_enc[layer].detach(), dim=1)
    near = [_nearest(encoders, rows, n_nearest) for rows in _slices(n_features, n_features)]
    promoted, suppressed, counts, edges = zip(*chunks, strict=True)
    return LayerWeights(
        _joined(promoted), _joined(suppressed), np.concatenate(counts), np.concatenate(edges), _joined(near)
    )


def _slices(n: int, width: int) -> Iterator[slice]:
    step = max(VALUES // max(width, 1), 1)
    return (slice(at, min(at + step, n)) for at in range(0, n, step))


def _joined(parts) -> tuple[np.ndarray, np.ndarray]:
    ids, values = (np.concatenate(side) for side in zip(*parts, strict=True))
    return ids, values


def _logits(model: Model, transcoder: Transcoder, layer: int, rows: slice, n: int):
    weights = logit_weights(model, transcoder, layer, rows).float()
    n = min(n, weights.shape[1])
    sides = [_arrays(weights.topk(n, largest=largest)) for largest in (True, False)]
    return *sides, *_histograms(weights)


def _histograms(weights: Float[Tensor, "feat vocab"]) -> tuple[np.ndarray, np.ndarray]:
    """Counts [feat, bin] and edges [feat, bin + 1] that hold each row's least and largest.

    Widths are rounded up to six bits and edges are multiples of them, so that a file of them is small.
    """
    low, high = weights.amin(1, keepdim=True).double(), weights.amax(1, keepdim=True).double()
    mantissa, exponent = torch.frexp((high - low).clamp_min(1e-9) / (BINS - 1.5))
    width = torch.ldexp((mantissa * 64).ceil() / 64, exponent)
    low = (low / width).floor() * width
    bins = ((weights - low) / width).long()
    bins += torch.arange(len(weights), device=weights.device)[:, None] * BINS
    counts = torch.bincount(bins.flatten(), minlength=len(weights) * BINS).view(-1, BINS)
    edges = low + width * torch.arange(BINS + 1, device=weights.device)
    return counts.cpu().numpy(), edges.float().cpu().numpy()


def _nearest(encoders: Float[Tensor, "feat d_model"], rows: slice, n: int) -> tuple[np.ndarray, np.ndarray]:
    cosines = encoders[rows] @ encoders.T
    own = torch.arange(rows.start, rows.stop, device=cosines.device)
    cosines[own - rows.start, own] = -torch.inf
    return _arrays(cosines.topk(min(n, len(encoders) - 1)))


def _arrays(top) -> tuple[np.ndarray, np.ndarray]:
    return top.indices.cpu().numpy(), top.values.float().cpu().numpy()
