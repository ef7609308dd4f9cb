"""The unperturbed prompt that an intervention is measured against, computed once and remembered.

Holds the local replacement model, what each encoder read, and the dense activations. `Baselines` keeps the last
prompts of a replacement model, so that dragging a slider costs one linear pass and no forward pass of the model; what
it does not know of several prompts comes from one pass. `Stack` sets prompts side by side, padded behind.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.local_replacement import FrozenNetwork, FrozenNorm, LocalReplacement, local_replacements, padded
from circuitlab.model import Model
from circuitlab.transcoder import Transcoder

REMEMBERED = 8
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True, eq=False)
class Baseline:
    """One prompt, unperturbed. Activations are dense per layer, [pos, feat], 0 at a masked BOS."""

    local: LocalReplacement
    strings: tuple[str, ...]

    @property
    def tokens(self) -> Int[Tensor, " pos"]:
        return self.local.tokens

    @property
    def n_positions(self) -> int:
        return len(self.local.tokens)

    @cached_property
    def linear(self) -> FrozenNetwork:
        """The frozen network without its biases: it maps changes to changes."""
        return self.local.network.without_biases(0, readout=False)

    @cached_property
    def stack(self) -> Stack:
        """This prompt alone as a batch."""
        return Stack((self,))

    @cached_property
    def pre_activations(self) -> tuple[Float[Tensor, "pos feat"], ...]:
        transcoder, inputs = self.local.transcoder, self.local.inputs
        with torch.no_grad():
            return tuple(transcoder.pre_activations(i, x.to(transcoder.dtype)) for i, x in enumerate(inputs))

    @cached_property
    def activations(self) -> tuple[Float[Tensor, "pos feat"], ...]:
        with torch.no_grad():
            return tuple(
                masked(self.local.transcoder.activate(layer, pre), self.local.mask_bos)
                for layer, pre in enumerate(self.pre_activations)
            )


@dataclass(frozen=True, eq=False)
class Stack:
    """Several prompts as rows of one batch, zeros behind the shorter ones: attention never looks there."""

    baselines: tuple[Baseline, ...]

    @property
    def mask_bos(self) -> bool:
        return self.baselines[0].local.mask_bos

    @cached_property
    def tokens(self) -> Int[Tensor, "batch pos"]:
        return padded([baseline.tokens for baseline in self.baselines])

    @cached_property
    def linear(self) -> FrozenNetwork:
        """The prompts' frozen networks without biases, side by side: weights shared, patterns and scales not."""
        networks = [baseline.linear for baseline in self.baselines]

        def norm(norms: Sequence[FrozenNorm]) -> FrozenNorm:
            return replace(norms[0], inverse_scale=padded([norm.inverse_scale for norm in norms]))

        blocks = []
        for level in zip(*(network.blocks for network in networks), strict=True):
            optional = {
                name: norm([getattr(block, name) for block in level])
                for name in ("ln1", "ln1_post", "encoder_norm", "decoder_norm")
                if getattr(level[0], name) is not None
            }
            blocks.append(replace(level[0], pattern=padded([block.pattern for block in level], (1, 2)), **optional))
        return FrozenNetwork(tuple(blocks), norm([network.final_norm for network in networks]))

    @cached_property
    def inputs(self) -> tuple[Float[Tensor, "batch pos d_model"], ...]:
        return self._layers([baseline.local.inputs for baseline in self.baselines])

    @cached_property
    def activations(self) -> tuple[Float[Tensor, "batch pos feat"], ...]:
        return self._layers([baseline.activations for baseline in self.baselines])

    @cached_property
    def pre_activations(self) -> tuple[Float[Tensor, "batch pos feat"], ...]:
        return self._layers([baseline.pre_activations for baseline in self.baselines])

    @staticmethod
    def _layers(rows: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
        return tuple(padded(layer) for layer in zip(*rows, strict=True))


def masked(activation: Float[Tensor, "*batch pos feat"], mask_bos: bool, start: int = 0) -> Tensor:
    """Position 0 has no features where BOS is masked; `start` is the first position."""
    if mask_bos and start == 0:
        activation = activation.clone()
        activation[..., 0, :] = 0
    return activation


@dataclass
class Baselines:
    """The last prompts of one model, forgotten when a weight of model or transcoder was changed in place."""

    kept: OrderedDict[tuple, Baseline] = field(default_factory=OrderedDict)
    weights: list[Tensor] = field(default_factory=list)

    def of(
        self, model: Model, transcoder: Transcoder, prompt: str | Sequence[int] | Tensor, mask_bos: bool = True
    ) -> Baseline:
        """The baseline of a prompt, text or token ids."""
        return self.of_all(model, transcoder, [prompt], mask_bos)[0]

    def of_all(
        self,
        model: Model,
        transcoder: Transcoder,
        prompts: Sequence[str | Sequence[int] | Tensor],
        mask_bos: bool = True,
    ) -> list[Baseline]:
        """The baselines of several prompts; those not yet known from one forward pass."""
        with _ONE_AT_A_TIME:
            version = self._weights_version(model, transcoder)
            listed = [model.to_tokens(prompt) for prompt in prompts]
            keys = [(tuple(tokens.tolist()), mask_bos, version) for tokens in listed]
            missing = {key: tokens for key, tokens in zip(keys, listed, strict=True) if key not in self.kept}
            if missing:
                with torch.no_grad():
                    found = local_replacements(model, transcoder, list(missing.values()), mask_bos)
                for key, local in zip(missing, found, strict=True):
                    self.kept[key] = Baseline(local, tuple(model.token_strings(local.tokens)))
            chosen = [self.kept[key] for key in keys]
            for key in keys:
                self.kept.move_to_end(key)
            while len(self.kept) > REMEMBERED:
                self.kept.popitem(last=False)
            return chosen

    def _weights_version(self, model: Model, transcoder: Transcoder) -> int:
        """Grows with every change of a weight in place. The weights are listed once: that takes longer than a pass."""
        if not self.weights:
            self.weights += [*model.bridge.parameters(), *transcoder.parameters()]
        return sum(weight._version for weight in self.weights)
