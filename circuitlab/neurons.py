"""The neuron basis: a model's own MLP neurons as features, for models without a transcoder.

A neuron reads what its MLP reads and writes its row of the output weights, so the MLP is rebuilt exactly and there are
no errors. What is not linear is its activation. RelP (relevance propagation) puts in its place a linear function of x
with the same value, whose coefficients are frozen at the prompt:

    plain   h = act(z),        z = w·x + b         identity rule: h = (act(z)/z) z with the ratio frozen. A node's
                                                   pre-activation is z, which is linear: its edges add up to z, and it
                                                   sends on h = ratio · z.
    gated   h = act(g) u,      g = w_g·x + b_g     identity rule for act, half rule for the product: each factor gets
                               u = w_u·x + b_u     half of what the product is worth,
                                                   h = ½ (act(g)/g · u) g + ½ act(g) u,  both brackets frozen.
                                                   A node's pre-activation is h itself: the neuron reads the vector
                                                   v = ½ (act(g)/g · u) w_g + ½ act(g) w_u, and its edges add up to h.

Both close exactly, whatever the nonlinearity. Attention patterns and norms are frozen as everywhere else.

Source: Jafari, Eberle, Khakzar, Nanda 2025, "RelP: Faithful and Efficient Circuit Discovery via Relevance Patching"
(arXiv:2508.21258), its LN-, identity- and half-rule. Difference: edges between single neurons, as in "Circuit Tracing"
(2025), where the paper scores components.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitlab.evidence import NEURONS
from circuitlab.model import MlpWeights, Model
from circuitlab.transcoder import Transcoder, TranscoderConfig
from circuitlab.weights import Held

RULE = f"{NEURONS} (RelP rule)"
"""How the basis is named in metadata, pages and reports."""


class Neurons(Transcoder):
    """A model's MLPs in the place of a per-layer transcoder; make one with `neurons_of`.

    `W_enc[l]` [feat, d_model] are the input weights (of gated MLPs those of the factor `up`), `W_dec[l]` [feat, 1,
    d_model] the output weights, shared with the model where its precision allows.
    """

    exact = True

    def __init__(self, model_name: str, layers: Sequence[MlpWeights], dtype: torch.dtype) -> None:
        nn.Module.__init__(self)

        def fixed(tensors: Sequence[Tensor]) -> Held:
            return Held([nn.Parameter(tensor.to(dtype), requires_grad=False) for tensor in tensors])

        d_model, n_features = layers[0].W_in.shape
        self.config = TranscoderConfig(
            "plt", len(layers), n_features, d_model, "neuron", None, "mlp.hook_in", "mlp.hook_out", model_name
        )
        zeros, none = torch.zeros(n_features), torch.zeros(d_model)
        self.W_enc = fixed([mlp.W_in.T for mlp in layers])
        self.b_enc = fixed([_or(mlp.b_in, zeros, mlp.W_in) for mlp in layers])
        self.W_dec = fixed([mlp.W_out[:, None] for mlp in layers])
        self.b_dec = fixed([_or(mlp.b_out, none, mlp.W_in) for mlp in layers])
        gates = [mlp.W_gate for mlp in layers if mlp.W_gate is not None]
        self.W_gate = fixed([gate.T for gate in gates]) if gates else None
        self.b_gate = fixed([_or(mlp.b_gate, zeros, mlp.W_in) for mlp in layers]) if gates else None
        self.threshold = None
        self.W_skip = None
        self.act = layers[0].act

    def __repr__(self) -> str:
        c, gated = self.config, "gated, half rule" if self.W_gate is not None else "identity rule"
        return f"Neurons({c.n_layers} layers x {c.n_features} MLP neurons, RelP: {gated}; no transcoder)"

    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feat"]:
        """z of plain neurons; of gated ones h, their activation (see the module's text)."""
        up = super().pre_activations(layer, x)
        gate = self._gate(layer, x)
        return up if gate is None else self.act(gate) * up

    def activate(self, layer: int, pre_activation: Float[Tensor, "*batch feat"]) -> Float[Tensor, "*batch feat"]:
        """act(z) of plain neurons; nothing is left to do for gated ones."""
        return self.act(pre_activation) if self.W_gate is None else pre_activation

    def reading(
        self, layer: int, features: Int[Tensor, " target"], x: Float[Tensor, "target d_model"]
    ) -> tuple[Float[Tensor, "target d_model"], Float[Tensor, " target"]]:
        """The vectors that neurons read x through, each at its own position, and their offsets; v·x + offset is the
        pre-activation."""
        up, offset = super().reading(layer, features, x)
        if self.W_gate is None or self.b_gate is None:
            return up, offset
        gating, gate_offset = self.W_gate[layer][features], self.b_gate[layer][features]
        x = x.to(up.dtype)
        g, u = (x * gating).sum(-1) + gate_offset, (x * up).sum(-1) + offset
        of_gate, of_up = self._halves(g, u)
        return of_gate[:, None] * gating + of_up[:, None] * up, of_gate * gate_offset + of_up * offset

    def linear_change(
        self, layer: int, x: Float[Tensor, "*batch d_model"], change: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch feat"]:
        """How pre-activations move with x when the coefficients stay frozen at x."""
        moved = self.W_enc.read(layer, change)
        gate = self._gate(layer, x)
        if gate is None or self.W_gate is None:
            return moved
        of_gate, of_up = self._halves(gate, super().pre_activations(layer, x))
        return of_gate * (change @ self.W_gate[layer].T) + of_up * moved

    def _gate(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feat"] | None:
        if self.W_gate is None or self.b_gate is None:
            return None
        return nn.functional.linear(x, self.W_gate[layer], self.b_gate[layer])

    def _halves(self, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """½ act(g)/g · u and ½ act(g), the frozen coefficients of gate and up."""
        opened = self.act(gate)
        ratio = torch.where(gate == 0, torch.zeros_like(gate), opened / torch.where(gate == 0, 1.0, gate))
        return 0.5 * ratio * up, 0.5 * opened


def _or(bias: Tensor | None, zeros: Tensor, like: Tensor) -> Tensor:
    return zeros.to(like) if bias is None else bias


def neurons_of(model: Model) -> Neurons:
    """The neurons of a model's MLPs; ValueError where its MLPs are of another kind (experts, fused weights)."""
    layers = [model.mlp_weights(layer) for layer in range(model.n_layers)]
    return Neurons(model.name, layers, torch.promote_types(model.dtype, torch.float32))
