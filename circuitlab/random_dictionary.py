"""A transcoder whose features stand for nothing: random directions that are active as often as the real features.

What a label's score is worth shows against it: features of this dictionary are labelled and scored in the same way.
For feature f of layer l of the transcoder that it stands beside,

    encoder     a random direction u of the residual stream, uniform on the sphere
    threshold   such that u·x exceeds it at the share of positions at which f is active (JumpReLU, no bias)
    decoders    random directions with the lengths of f's own

so that density, layer and decoder norms agree feature by feature, and only the directions are chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.corpus import records
from circuitlab.harvest.blocks import blocks, read_block
from circuitlab.model import Model
from circuitlab.replacement import ReplacementModel
from circuitlab.store.store import Store
from circuitlab.transcoder import Transcoder

CHUNK = 256
"""Features whose thresholds are found at once."""
SAMPLE = 2_000
"""Records on which thresholds are found."""


@torch.no_grad()
def random_dictionary(
    model: ReplacementModel, densities: Sequence[np.ndarray], texts: Sequence[str | Sequence[int]], seed: int = 0
) -> ReplacementModel:
    """The model with a random dictionary of its transcoder's sizes, kind and hooks, without labels.

    `densities[layer]` has one share of positions per feature (NaN or 0: never active); `texts` are what the thresholds
    are found on, at least a few thousand tokens, first positions left out.
    Raises ValueError where the densities do not fit the transcoder or the texts hold nothing to count.
    """
    real = model.transcoder
    config = replace(real.config, activation="jumprelu", k=None, skip=False)
    sizes = [len(row) for row in densities]
    if sizes != [config.n_features] * config.n_layers:
        raise ValueError(
            f"densities are of {sizes} features per layer; the transcoder has {config.n_layers} layers of "
            f"{config.n_features}"
        )
    generator = torch.Generator().manual_seed(seed)
    made = Transcoder(config, real.dtype).to(real.device)
    assert made.threshold is not None
    for layer, x in enumerate(_stream(model.model, config.input_hook, config.n_layers, texts)):
        made.W_enc[layer].copy_(_directions(made.W_enc[layer].shape, generator))
        norms = real.W_dec[layer].detach().norm(dim=-1, keepdim=True)
        made.W_dec[layer].copy_(_directions(made.W_dec[layer].shape, generator).to(norms) * norms)
        made.threshold[layer].copy_(_thresholds(made.W_enc[layer], x.to(made.dtype), np.asarray(densities[layer])))
    return ReplacementModel(model.model, made.requires_grad_(False), {})


def random_like(model: ReplacementModel, store: str | Path, corpus: Any) -> ReplacementModel:
    """The random dictionary beside the transcoder whose evidence over `corpus` is in `store`.

    The thresholds are found on the corpus's first records.
    """
    densities = [row["density"].to_numpy() for _, row in Store(store).summary.groupby("layer", sort=True)]
    first = next(blocks(records(corpus), SAMPLE), None)
    if first is None:
        raise ValueError("the corpus gave no texts when it was read again: give a list or files, not a generator")
    return random_dictionary(model, densities, read_block(model.model, first, model.model.n_ctx).rows)


def _directions(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Unit vectors, uniform on the sphere."""
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def _stream(
    model: Model, hook: str, n_layers: int, texts: Sequence[str | Sequence[int]]
) -> list[Float[Tensor, "token d_model"]]:
    """What each layer's encoder reads at all positions of the texts but the first."""
    rows = sorted((model.to_tokens(text) for text in texts), key=len)
    sites = [f"blocks.{layer}.{hook}" for layer in range(n_layers)]
    parts: list[list[Tensor]] = [[] for _ in sites]
    for length in sorted({len(row) for row in rows} - {0, 1}):
        same = [row for row in rows if len(row) == length]
        for at in range(0, len(same), 128):
            seen = model.capture(torch.stack(same[at : at + 128]).to(model.device), sites)[1]
            for layer, site in enumerate(sites):
                parts[layer].append(seen[site][:, 1:].flatten(0, 1))
    if not parts[0]:
        raise ValueError("the texts hold no position after the first: give some thousand tokens")
    return [torch.cat(layer) for layer in parts]


def _thresholds(
    encoders: Float[Tensor, "feat d_model"], x: Float[Tensor, "token d_model"], density: np.ndarray
) -> Float[Tensor, " feat"]:
    """Per feature a value that its pre-activation exceeds at the share `density` of the positions.

    JumpReLU gives the pre-activation itself, so that thresholds lie at 0 at least.
    """
    places = np.rint(np.nan_to_num(density) * len(x)).astype(np.int64)
    found = []
    for at in range(0, len(encoders), CHUNK):
        falling = (x @ encoders[at : at + CHUNK].T).sort(dim=0, descending=True).values
        place = torch.from_numpy(places[at : at + CHUNK]).to(falling.device)
        around = [falling.gather(0, row.clamp(0, len(x) - 1)[None])[0] for row in (place - 1, place)]
        between = (around[0] + around[1]) / 2
        found.append(torch.where(place == 0, torch.inf, between.clamp_min(0.0)))
    return torch.cat(found)
