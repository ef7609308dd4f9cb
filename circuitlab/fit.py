"""Does a transcoder belong to a model? Its reconstruction on a short text, and other ways of reading the same weights.

A transcoder made for other weights, another hook, or activations that were processed differently (norm gains folded
into the next weights, streams centred or scaled) still loads: it has the right shapes. What tells is the share of the
MLP outputs' variance that it explains at each layer,

    1 − Σ ‖y − ŷ‖² / Σ ‖y − ȳ‖²       over the positions of a text but the first,

near one where it fits, near or below zero where not. Where it explains next to nothing, other readings are tried: the
input with or without the norm and its gain, centred, scaled to length √d; the output before or after the post-norm.
What fits is named, and `load(…, adapt=True)` reads the transcoder so.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitlab.model import Model
from circuitlab.transcoder import Transcoder
from circuitlab.weights import Held

TEXT = (
    "The river rises in the mountains north of the town, runs past two old mills and a church, and reaches the sea "
    "after about forty miles. In 1912 a flood took the bridge; three years later it was rebuilt in stone."
)
ATLAS_TEXTS = (
    "question : what is the governor of the state of Springford ? answer : Ivey .",
    'the opposite of "crasseux" in Chinese is " 净" .',
    "journal : founded 19 69 , volume 27 , year 19 96 .",
    "fact : the capital of the state containing Dallas is Austin .",
)
NOTHING = 0.1
"""Explained variance below which a layer counts as not explained."""
BETTER = 0.2
"""How much more another reading must explain, mean over layers, to be named."""
N_SAMPLED = 16
INPUTS = ("hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in")
OUTPUTS = ("hook_mlp_out", "mlp.hook_out")


class TranscoderMismatchWarning(UserWarning):
    """A transcoder explains next to nothing of a model's MLP outputs, so it was likely made for something else."""


@dataclass(frozen=True)
class Reading:
    """A way to read a transcoder: hooks; whether its input is centred (processed weights) or scaled to length √d."""

    input_hook: str
    output_hook: str
    centred: bool = False
    scaled: bool = False

    def __str__(self) -> str:
        how = [name for name, on in (("centred", self.centred), ("scaled to length √d", self.scaled)) if on]
        return f"{self.input_hook}{' ' + ' and '.join(how) if how else ''} → {self.output_hook}"


@dataclass(frozen=True)
class Fit:
    """How much a transcoder explains of each layer's MLP output, how many positions said so, and what would fit better.

    `output_scale` is the factor that would bring ŷ closest to y; 1 where it fits.
    """

    explained: tuple[float, ...]
    n_positions: int
    output_scale: float
    better: Reading | None = None
    better_explained: float | None = None
    input_scales: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return sum(self.explained) / len(self.explained)

    @property
    def unexplained_layers(self) -> tuple[int, ...]:
        return tuple(layer for layer, share in enumerate(self.explained) if not share >= NOTHING)

    @property
    def matches(self) -> bool:
        """Whether at least half of the layers are explained."""
        return 2 * len(self.unexplained_layers) <= len(self.explained)

    def __str__(self) -> str:
        layers = self.unexplained_layers
        if not layers:
            return f"explains {self.mean:.0%} of the MLP outputs' variance on a short text (mean over layers)"
        named = ", ".join(f"layer {layer} {self.explained[layer]:.2f}" for layer in layers[:12])
        text = f"explained variance on a short text: {named}{', …' if len(layers) > 12 else ''} (1 is all, 0 nothing)"
        if not self.matches:
            text += "; it is likely mismatched: made for another model, hook, or processing of the weights"
        if self.better is not None:
            text += f". Read as {self.better} it explains {self.better_explained:.2f}: load(…, adapt=True) reads it so"
        elif not 0.5 < self.output_scale < 2.0:
            text += f". Its outputs times {self.output_scale:.3g} would come closest: are they scaled?"
        return text


def measure(model: Model, transcoder: Transcoder, tokens: Sequence[Int[Tensor, " _"]] | None = None) -> Fit:
    """Explained variance per layer on some prompts (default: a short text); other readings where that is nothing."""
    seen = _activations(model, tokens or short_text(model))
    config, declared = transcoder.config, _Declared(transcoder)
    reading = Reading(config.input_hook, config.output_hook)
    explained, scale = declared.explained(seen, reading)
    fit = Fit(tuple(explained), len(next(iter(seen.values()))[0]), scale)
    if len(fit.unexplained_layers) * 4 < len(explained):
        return fit
    best, share = None, fit.mean
    for candidate in _candidates(seen, reading):
        found = declared.explained(seen, candidate)[0]
        mean = sum(found) / len(found)
        simpler = best is not None and mean < share + 0.01
        if mean > share and not simpler:
            best, share = candidate, mean
    if best is None or share < max(fit.mean, 0.0) + BETTER:
        return fit
    scales = tuple(_length_scale(x) for x in seen[best.input_hook]) if best.scaled else ()
    return replace(fit, better=best, better_explained=share, input_scales=scales)


def warn_of_mismatch(fit: Fit, name: str) -> None:
    """A TranscoderMismatchWarning where a layer is not explained."""
    if fit.unexplained_layers:
        warnings.warn(f"{name}: {fit}", TranscoderMismatchWarning, stacklevel=3)


def adapted(transcoder: Transcoder, fit: Fit) -> Transcoder:
    """A copy that reads what `fit.better` says: centring and scaling folded into the encoders, hooks replaced.

    As it is where nothing better was found. ValueError where encoders that stay in their files would have to change.
    """
    if fit.better is None:
        return transcoder
    result = copy.copy(transcoder)
    result._modules = dict(transcoder._modules)
    result.config = replace(transcoder.config, input_hook=fit.better.input_hook, output_hook=fit.better.output_hook)
    if not (fit.better.centred or fit.better.scaled):
        return result
    if not isinstance(transcoder.W_enc, Held):
        raise ValueError("encoders that stay in their files cannot be adapted: load with lazy=False")
    with torch.no_grad():
        result.W_enc = Held([_folded(weight, fit, layer) for layer, weight in enumerate(transcoder.W_enc)])
        if transcoder.W_skip is not None:
            result.W_skip = Held([_folded(weight, fit, layer) for layer, weight in enumerate(transcoder.W_skip)])
    return result


def _folded(weight: Tensor, fit: Fit, layer: int) -> nn.Parameter:
    """The weight that reads x as this one reads the processed x."""
    assert fit.better is not None
    weight = weight.detach() * (fit.input_scales[layer] if fit.better.scaled else 1.0)
    if fit.better.centred:
        weight = weight - weight.mean(-1, keepdim=True)
    return nn.Parameter(weight, requires_grad=False)


# ---- measuring ----


def short_text(model: Model) -> list[Int[Tensor, " _"]]:
    """Prompts to measure on: atlas's own texts, else English; what the model writes where it cannot read that."""
    if model.name in ("atlas", "atlas-quirk"):
        return [model.to_tokens(text) for text in ATLAS_TEXTS]
    if model.tokenizer is not None:
        with suppress(ValueError):  # a vocabulary of other words, a short context
            return [model.to_tokens(TEXT)[: model.n_ctx]]
    return list(_sampled(model))


def _sampled(model: Model) -> Int[Tensor, "seq pos"]:
    """Two texts that the model writes itself, from BOS or token 0 on."""
    generator = torch.Generator().manual_seed(0)
    bos = getattr(model.tokenizer, "bos_token_id", None)
    tokens = torch.full((2, 1), bos or 0, device=model.device)
    for _ in range(min(N_SAMPLED, model.n_ctx) - 1):
        probabilities = model.logits(tokens)[:, -1].double().softmax(-1).cpu()
        tokens = torch.cat([tokens, torch.multinomial(probabilities, 1, generator=generator).to(tokens)], dim=1)
    return tokens


def _activations(model: Model, prompts: Sequence[Int[Tensor, " _"]]) -> dict[str, list[Float[Tensor, "_ d_model"]]]:
    """What stands at every hook of every layer, the first position of each prompt left out."""
    hooks = [hook for hook in (*INPUTS, *OUTPUTS) if f"blocks.0.{hook}" in model.sites]
    sites = {f"blocks.{layer}.{hook}" for hook in hooks for layer in range(model.n_layers)}
    passes = [model.capture(tokens[None], sites)[1] for tokens in prompts]
    return {
        hook: [torch.cat([seen[f"blocks.{layer}.{hook}"][0, 1:] for seen in passes]) for layer in range(model.n_layers)]
        for hook in hooks
    }


def _candidates(seen: dict[str, list[Tensor]], declared: Reading) -> list[Reading]:
    """Readings to try, the simplest first."""
    hooks = product([hook for hook in INPUTS if hook in seen], [hook for hook in OUTPUTS if hook in seen])
    plain = [Reading(read, written) for read, written in hooks]
    processed = [
        replace(reading, centred=c, scaled=s)
        for c, s in ((True, False), (False, True), (True, True))
        for reading in plain
    ]
    return [reading for reading in (*plain, *processed) if reading != declared]


def _length_scale(x: Float[Tensor, "pos d_model"]) -> float:
    """The factor that brings activations to length √d, as some trainers have them."""
    return float(x.shape[-1] ** 0.5 / x.norm(dim=-1).mean())


class _Declared:
    """One transcoder's reconstructions under different readings; only the active features' decoders are read."""

    def __init__(self, transcoder: Transcoder) -> None:
        self.transcoder = transcoder

    @torch.no_grad()
    def explained(self, seen: dict[str, list[Tensor]], reading: Reading) -> tuple[list[float], float]:
        """Explained variance of each layer, and the factor on ŷ that fits best over all."""
        t, shares, products, squares = self.transcoder, [], 0.0, 0.0
        active: list[tuple[Tensor, Tensor]] = []
        for layer, raw in enumerate(seen[reading.input_hook]):
            x = raw.to(t.dtype)
            if reading.scaled:
                x = x * _length_scale(x)
            if reading.centred:
                x = x - x.mean(-1, keepdim=True)
            activations = t.encode(layer, x)
            features = activations.any(0).nonzero()[:, 0]
            active.append((features, activations[:, features]))
            written = t.b_dec[layer] + t.skip(layer, x)
            for source in range(0 if t.config.kind == "clt" else layer, layer + 1):
                rows = t.decoder_rows(source, layer, active[source][0])
                assert rows is not None, "a source in this range writes to the layer"
                written = written + active[source][1] @ rows
            y, written = seen[reading.output_hook][layer].double(), written.double().expand_as(raw)
            variance = (y - y.mean(0)).square().sum()
            shares.append(float(1 - (y - written).square().sum() / variance.clamp_min(torch.finfo(y.dtype).tiny)))
            centred = written - written.mean(0)
            products += float(((y - y.mean(0)) * centred).sum())
            squares += float(centred.square().sum())
        return shares, products / squares if squares else 1.0
