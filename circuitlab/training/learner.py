"""A transcoder while it learns: weights in normalised units, and what else must survive a stop.

Each layer's inputs x and targets y are centred and divided by one number per layer, so that their
dimensions have variance 1 on average; learning rates, thresholds and penalties then mean the same on every
model. `export` folds means and scales back into the weights: with x' = (x − m)/s and y' = (y − n)/t,

    W_enc x' + b_enc = (W_enc/s) x + (b_enc − W_enc m/s),    y = t·y' + n.

Pre-activations, and with them thresholds and activations, stay what they were.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from circuitlab.training import objective
from circuitlab.training.config import TrainingConfig
from circuitlab.transcoder import Transcoder, TranscoderConfig

DECODER_SCALE = 0.02
CUT_MEMORY = 0.99


@dataclass(frozen=True)
class Loss:
    """What is minimised, the reconstruction error in it (a share of variance, summed over layers), and
    activations."""

    total: Tensor
    error: Tensor
    activations: list[Tensor]

    @property
    def l0(self) -> Tensor:
        """Active features per position, mean over layers."""
        return torch.stack([a.count_nonzero() / len(a) for a in self.activations]).mean()


class Learner(nn.Module):
    """The transcoder being trained, its normalisation, BatchTopK's running cuts and how long features are
    silent."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor
    cut: Tensor
    silent_for: Tensor

    def __init__(self, config: TrainingConfig, n_layers: int, d_model: int, model_name: str = "") -> None:
        super().__init__()
        self.config = config
        learnt = TranscoderConfig(
            kind=config.kind,  # type: ignore[arg-type]
            n_layers=n_layers,
            n_features=config.n_features,
            d_model=d_model,
            activation="jumprelu" if config.activation == "jumprelu" else "relu",
            input_hook=config.input_hook,
            output_hook=config.output_hook,
            model_name=model_name,
            skip=config.skip,
        )
        self.transcoder = Transcoder(learnt)
        for name, shape in (("mean", (n_layers, d_model)), ("scale", (n_layers, 1))):
            for side in "xy":
                self.register_buffer(f"{side}_{name}", torch.zeros(shape) if name == "mean" else torch.ones(shape))
        self.register_buffer("cut", torch.full((n_layers,), float("nan")))
        self.register_buffer("silent_for", torch.zeros(n_layers, config.n_features, dtype=torch.long))
        self._initialise(torch.Generator().manual_seed(config.seed))

    def _initialise(self, generator: torch.Generator) -> None:
        """Random unit encoder rows; a feature's own-layer decoder is its encoder's transpose, the others 0.

        With JumpReLU the `threshold` parameters hold logarithms while they learn.
        """
        t = self.transcoder
        with torch.no_grad():
            for layer, weight in enumerate(t.W_enc):
                weight.copy_(nn.functional.normalize(torch.randn(weight.shape, generator=generator), dim=1))
                t.W_dec[layer][:, 0] = DECODER_SCALE * weight
            for threshold in t.threshold or ():
                threshold.fill_(self.config.initial_threshold)
                threshold.log_()

    def normalise(self, x_mean: Tensor, x_scale: Tensor, y_mean: Tensor, y_scale: Tensor) -> None:
        """Set the units from measured means [layer, d_model] and standard deviations [layer, 1]."""
        for name, value in (
            ("x_mean", x_mean),
            ("x_scale", x_scale),
            ("y_mean", y_mean),
            ("y_scale", y_scale),
        ):
            getattr(self, name).copy_(value)

    def pre_activations(self, x: Float[Tensor, "batch layer d_model"]) -> list[Float[Tensor, "batch feat"]]:
        """Of every layer, from normalised inputs."""
        return [self.transcoder.pre_activations(layer, x[:, layer]) for layer in range(x.shape[1])]

    def activate(self, pre: list[Float[Tensor, "batch feat"]]) -> list[Float[Tensor, "batch feat"]]:
        """The training-time nonlinearity; BatchTopK moves its running cuts along."""
        config = self.config
        if config.activation == "jumprelu":
            assert self.transcoder.threshold is not None
            thresholds = self.transcoder.threshold
            return [objective.jump_relu(z, log.exp(), config.bandwidth) for z, log in zip(pre, thresholds, strict=True)]
        if config.activation == "topk":
            return [objective.top_k(z, config.k) for z in pre]
        cuts = [objective.batch_threshold(z, config.k) for z in pre]
        now = torch.tensor(cuts, device=self.cut.device)
        self.cut.copy_(torch.where(self.cut.isnan(), now, CUT_MEMORY * self.cut + (1 - CUT_MEMORY) * now))
        return [nn.functional.threshold(z, cut, 0.0) for z, cut in zip(pre, cuts, strict=True)]

    def reconstruct(
        self, activations: list[Float[Tensor, "batch feat"]], x: Float[Tensor, "batch layer d_model"]
    ) -> Float[Tensor, "batch layer d_model"]:
        """ŷ of all layers, normalised."""
        t = self.transcoder
        output = objective.decode_all(activations, list(t.W_dec)) + torch.stack(list(t.b_dec))
        if t.W_skip is not None:
            output = output + torch.stack([x[:, layer] @ w.T for layer, w in enumerate(t.W_skip)], dim=1)
        return output

    def loss(
        self,
        x: Float[Tensor, "batch layer d_model"],
        y: Float[Tensor, "batch layer d_model"],
        progress: float,
    ) -> Loss:
        """The objective on raw inputs and targets; `progress` runs from 0 to 1 over training."""
        x = (x - self.x_mean) / self.x_scale
        y = (y - self.y_mean) / self.y_scale
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            pre = self.pre_activations(x)
            activations = self.activate(pre)
            residual = self.reconstruct(activations, x) - y
            error = residual.square().sum((0, 1)).sum() / (len(x) * x.shape[-1])
            if self.config.activation == "jumprelu":
                total = error + self.config.sparsity * progress * self._penalty(activations)
            else:
                total = error + self._auxiliary(pre, residual)
        return Loss(total, error.detach(), [a.detach() for a in activations])

    def _penalty(self, activations: list[Float[Tensor, "batch feat"]]) -> Tensor:
        scale, decoders = self.config.tanh_scale, self.transcoder.W_dec
        pairs = zip(activations, decoders, strict=True)
        return torch.stack([objective.tanh_penalty(a, w, scale) for a, w in pairs]).sum()

    def _auxiliary(
        self, pre: list[Float[Tensor, "batch feat"]], residual: Float[Tensor, "batch layer d_model"]
    ) -> Tensor | float:
        dead = objective.dead_features(self.silent_for, self.config.dead_after)
        if not self.config.auxiliary or not bool(dead.any()):
            return 0.0
        loss = objective.auxiliary_loss(pre, list(self.transcoder.W_dec), dead, -residual)
        return self.config.auxiliary * loss

    def count_silence(self, fired: Tensor, positions: int) -> None:
        """Note which features [layer, feat] fired on the last `positions` positions."""
        self.silent_for.add_(positions).masked_fill_(fired, 0)

    @torch.no_grad()
    def export(self, thresholds: Float[Tensor, " layer"] | None = None) -> Transcoder:
        """The transcoder in the model's own units; BatchTopK becomes JumpReLU with one threshold per
        layer."""
        config = self.config
        activation = "topk" if config.activation == "topk" else "jumprelu"
        k = config.k if activation == "topk" else None
        learnt, n = self.transcoder, self.transcoder.config.n_layers
        result = Transcoder(dataclasses.replace(learnt.config, activation=activation, k=k)).to(learnt.device)
        for layer in range(n):
            outputs = learnt.config.n_outputs(layer)
            encoder = learnt.W_enc[layer] / self.x_scale[layer]
            result.W_enc[layer].copy_(encoder)
            result.b_enc[layer].copy_(learnt.b_enc[layer] - encoder @ self.x_mean[layer])
            result.W_dec[layer].copy_(learnt.W_dec[layer] * self.y_scale[layer : layer + outputs])
            bias = learnt.b_dec[layer] * self.y_scale[layer] + self.y_mean[layer]
            if learnt.W_skip is not None and result.W_skip is not None:
                skip = learnt.W_skip[layer] * (self.y_scale[layer] / self.x_scale[layer])
                result.W_skip[layer].copy_(skip)
                bias = bias - skip @ self.x_mean[layer]
            result.b_dec[layer].copy_(bias)
            if result.threshold is not None:
                result.threshold[layer].copy_(self._threshold(layer, thresholds))
        return result

    def _threshold(self, layer: int, thresholds: Tensor | None) -> Tensor:
        if self.transcoder.threshold is not None:
            return self.transcoder.threshold[layer].exp()
        cuts = self.cut if thresholds is None else thresholds
        return cuts[layer].nan_to_num(0.0).expand(self.config.n_features)
