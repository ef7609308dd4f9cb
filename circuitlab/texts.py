"""Feature activations over a small list of texts: enough for examples before a corpus has been harvested.

`show` runs the model once over all texts, in batches padded at the end (attention is causal: a pad changes nothing
before it), encodes every layer, and keeps what is active. The first position of every text is left out: what is active
there is an attention sink's doing, which transcoders are not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.model import Model
from circuitlab.transcoder import Transcoder

BATCH_VALUES = 16_000_000
"""Encoder outputs of one layer and batch that are in memory at once."""


@dataclass(frozen=True)
class Hits:
    """What is active in one layer, sorted by feature: those of feature f are `starts[f]:starts[f + 1]`."""

    starts: Int[np.ndarray, " feat_plus_1"]
    text: Int[np.ndarray, " hit"]
    pos: Int[np.ndarray, " hit"]
    activation: Float[np.ndarray, " hit"]

    def of(self, feature: int) -> Hits:
        span = slice(int(self.starts[feature]), int(self.starts[feature + 1]))
        return Hits(self.starts[feature : feature + 2], self.text[span], self.pos[span], self.activation[span])


@dataclass(frozen=True)
class ShownTexts:
    """Token ids of every text and the activations of all features on them; `n_tokens` without first positions."""

    tokens: tuple[list[int], ...]
    layers: tuple[Hits, ...]
    n_tokens: int

    def __len__(self) -> int:
        return len(self.tokens)

    def activations(self, layer: int, feature: int) -> dict[int, Float[np.ndarray, " pos"]]:
        """Of each text on which a feature is active, its activation at every position."""
        hits = self.layers[layer].of(feature)
        rows: dict[int, np.ndarray] = {}
        for text, pos, activation in zip(hits.text.tolist(), hits.pos.tolist(), hits.activation.tolist(), strict=True):
            if text not in rows:
                rows[text] = np.zeros(len(self.tokens[text]))
            rows[text][pos] = activation
        return rows


def show(model: Model, transcoder: Transcoder, texts: Sequence[str | Sequence[int]]) -> ShownTexts:
    """Run the model on these texts (or token ids) and keep all feature activations.

    Raises ValueError for no texts at all and for one that the model cannot read (see `Model.to_tokens`).
    """
    if isinstance(texts, str):
        raise ValueError(f"texts is a list of texts, not the one text {texts[:40]!r}: write [text]")
    rows = tuple(model.to_tokens(text).tolist() for text in texts)
    if not rows:
        raise ValueError("no texts were given: name at least one")
    found: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(transcoder.config.n_layers)]
    for batch in _batches([len(row) for row in rows], transcoder.config.n_features):
        for layer, activations in enumerate(_encode(model, transcoder, [rows[text] for text in batch])):
            row, pos, feature = activations.nonzero(as_tuple=True)
            values = activations[row, pos, feature].double()
            found[layer].append(
                (np.array(batch)[row.cpu().numpy()], *(t.cpu().numpy() for t in (pos, feature, values)))
            )
    layers = tuple(_sorted(parts, transcoder.config.n_features) for parts in found)
    return ShownTexts(rows, layers, sum(len(row) - 1 for row in rows))


def token_activations(
    model: Model, transcoder: Transcoder, tokens: Int[Tensor, " pos"], layer: int, feature: int
) -> Float[Tensor, " pos"]:
    """One feature's activation at every position of one prompt, 0 at the first."""
    site = f"blocks.{layer}.{transcoder.config.input_hook}"
    seen = model.capture(tokens[None], [site])[1][site][0]
    with torch.no_grad():
        activation = transcoder.encode(layer, seen.to(transcoder.dtype))[:, feature] + 0.0  # no negative zeros
    activation[0] = 0.0
    return activation


def _batches(lengths: Sequence[int], n_features: int) -> list[list[int]]:
    """Texts by length, in batches whose encoder output fits `BATCH_VALUES`."""
    batches: list[list[int]] = []
    for text in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * lengths[text] * n_features > BATCH_VALUES:
            batches.append([])
        batches[-1].append(text)
    return batches


def _encode(model: Model, transcoder: Transcoder, rows: list[list[int]]):
    """Activations [row, pos, feat] of each layer in turn, 0 at first positions and pads."""
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest, dtype=torch.long, device=model.device)
    real = torch.zeros(len(rows), longest, dtype=torch.bool, device=model.device)
    for at, row in enumerate(rows):
        tokens[at, : len(row)] = torch.tensor(row)
        real[at, 1 : len(row)] = True
    sites = [f"blocks.{layer}.{transcoder.config.input_hook}" for layer in range(transcoder.config.n_layers)]
    seen = model.capture(tokens, sites)[1]
    for layer, site in enumerate(sites):
        with torch.no_grad():
            yield transcoder.encode(layer, seen.pop(site).to(transcoder.dtype)) * real[..., None]


def _sorted(parts: list[tuple[np.ndarray, ...]], n_features: int) -> Hits:
    text, pos, feature, activation = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((pos, text, feature))
    starts = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=n_features))])
    return Hits(starts, text[order], pos[order], activation[order])
