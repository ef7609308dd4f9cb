"""The unperturbed prompt that an intervention is measured against, computed once and remembered.

Holds the local replacement model, what each encoder read, and the dense activations. `Baselines` keeps the last
prompts of a replacement model, so that dragging a slider costs one linear pass and no forward pass of the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.local_replacement import FrozenNetwork, LocalReplacement, local_replacement
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


def masked(activation: Float[Tensor, "pos feat"], mask_bos: bool, start: int = 0) -> Float[Tensor, "pos feat"]:
    """Position 0 has no features where BOS is masked; `start` is the position of the first row."""
    if mask_bos and start == 0:
        activation = activation.clone()
        activation[0] = 0
    return activation


@dataclass
class Baselines:
    """The last prompts of one model, forgotten when a weight of model or transcoder was changed in place."""

    kept: OrderedDict[tuple, Baseline] = field(default_factory=OrderedDict)
    weights: list[Tensor] = field(default_factory=list)

    def of(self, model: Model, transcoder: Transcoder, prompt: str | Sequence[int] | Tensor, mask_bos: bool = True):
        """The baseline of a prompt, text or token ids."""
        with _ONE_AT_A_TIME:
            return self._of(model, transcoder, prompt, mask_bos)

    def _of(
        self, model: Model, transcoder: Transcoder, prompt: str | Sequence[int] | Tensor, mask_bos: bool
    ) -> Baseline:
        tokens = model.to_tokens(prompt)
        key = (tuple(tokens.tolist()), mask_bos, self._weights_version(model, transcoder))
        if key not in self.kept:
            with torch.no_grad():
                local = local_replacement(model, transcoder, tokens, mask_bos)
            self.kept[key] = Baseline(local, tuple(model.token_strings(tokens)))
            while len(self.kept) > REMEMBERED:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]

    def _weights_version(self, model: Model, transcoder: Transcoder) -> int:
        """Grows with every change of a weight in place. The weights are listed once: that takes longer than a pass."""
        if not self.weights:
            self.weights += [*model.bridge.parameters(), *transcoder.parameters()]
        return sum(weight._version for weight in self.weights)
