"""How far an intervention's effect is followed: the papers' ways, each with the equation it computes.

Let S be the intervened features, Δa_s the change of s from its unperturbed value, y^l the model's unperturbed MLP
outputs, x'^l what the encoder of layer l reads in the perturbed run, and a'^l = encode(x'^l).

direct       y'^l = y^l + Σ_{s∈S} Δa_s W_dec,s^l                                                    for every layer l
    All other features and all errors hold their values: with attention and norms frozen, each target's
    pre-activation moves by Σ_s A_{s→t} Δa_s / a_s, its edges of the attribution graph, exactly.

constrained  y'^l = y^l + Σ_{s∈S} Δa_s W_dec,s^l   for l ≤ end_layer,   y'^l = MLP^l(·)   for l > end_layer
    "Constrained patching". Up to the end layer the features hold their values, S aside; after it the model's own MLPs
    answer to the changed stream, and S writes nothing more of its own: what is seen there is knock-on effects.

propagating  y'^l = y^l + Σ_{s∈S} Δa_s W_dec,s^l + Σ_{t∉S} (a'_t − a_t) W_dec,t^l                    for every layer l
    "Iterative patching" in the local replacement model: later features are computed anew from the changed stream and
    their changes are decoded in turn; the errors y^l − ŷ^l hold their values.

steering     y'^l = MLP^l(·) + Σ_{s∈S} Δa_s W_dec,s^l                                                for every layer l
    The model itself with the decoder vectors added on top. A cross-layer feature counts twice where an MLP, answering
    to what the feature wrote earlier, writes it too: that is why the papers constrain.

Transcoders with skip connections: where y^l stands, the skip's linear answer W_skip (x'^l − x^l) joins it, as it does
in the graph's edges. Attention patterns and norm denominators are held at their unperturbed values unless
`freeze_attention=False` or `freeze_norms=False`.

Source: Ameisen et al. 2025, "Circuit Tracing", on interventions and steering with cross-layer features;
https://transformer-circuits.pub/2025/attribution-graphs/methods.html. Differences: the default, `propagating` with
attention and norms frozen, is the graph's own model with its nonlinearities.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from circuitlab.targets import require_whole

NAMES = ("propagating", "direct", "constrained", "steering")


@dataclass(frozen=True)
class Mode:
    """A resolved mode: features of layers up to `end_layer` hold their values (−1: none)."""

    name: str
    end_layer: int
    freeze_attention: bool
    freeze_norms: bool

    @property
    def frozen(self) -> bool:
        """Whether the linear frozen network tells it all: nothing but features answers."""
        return self.freeze_attention and self.freeze_norms and self.name in ("direct", "propagating")

    def holds(self, layer: int) -> bool:
        """Features of this layer keep their unperturbed values."""
        return layer <= self.end_layer or self.name == "steering"

    def uses_mlp(self, layer: int) -> bool:
        """The model's own MLP of this layer answers to the changed stream."""
        return self.name == "steering" or (self.name == "constrained" and layer > self.end_layer)

    def writes(self, layer: int) -> bool:
        """Changed features write into this layer."""
        return self.name != "constrained" or layer <= self.end_layer


def resolve_mode(
    name: str, end_layer: int | None, freeze_attention: bool, freeze_norms: bool, n_layers: int, layers: list[int]
) -> Mode:
    """The mode for interventions at these layers; ValueError for a name or an end layer that makes no sense."""
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        raise ValueError(f"mode={name!r}{f': did you mean {near[0]!r}?' if near else ''} Modes: {', '.join(NAMES)}")
    if name != "constrained":
        if end_layer is not None:
            raise ValueError(f"end_layer={end_layer} belongs to mode='constrained', not to mode={name!r}")
        held = n_layers - 1 if name == "direct" else -1
        return Mode(name, held, freeze_attention, freeze_norms)
    last = max(layers, default=0)
    if end_layer is None:
        end_layer = last
    require_whole("end_layer", end_layer)
    if not 0 <= end_layer < n_layers:
        raise ValueError(f"end_layer={end_layer} is outside the model's layers 0 to {n_layers - 1}")
    if end_layer < last:
        raise ValueError(
            f"end_layer={end_layer} lies before layer {last}, which is intervened on: give {last} or more, or leave "
            "that feature out"
        )
    return Mode(name, end_layer, freeze_attention, freeze_norms)
