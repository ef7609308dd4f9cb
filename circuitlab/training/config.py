"""What a training run is: every setting, documented, with defaults that suit a small model on a few CPU
cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of `train`. Losses and thresholds are in units of each layer's standard deviation."""

    kind: str = "clt"
    """Cross-layer ("clt") or per-layer ("plt") transcoder."""
    n_features: int = 1024
    """Features per layer."""
    activation: str = "batchtopk"
    """"topk": the k largest of a position. "batchtopk": the k · batch largest of a batch and layer, saved
    as JumpReLU with one calibrated threshold per layer. "jumprelu": learnt thresholds and the tanh
    penalty."""
    k: int = 16
    """Active features per position and layer (topk: at most; batchtopk: on average)."""
    skip: bool = False
    """Add a linear skip connection from what the encoder reads to what the decoder writes."""
    input_hook: str = "hook_resid_mid"
    """Hook the encoder reads, without its "blocks.N."."""
    output_hook: str = "hook_mlp_out"
    """Hook the decoder rebuilds, without its "blocks.N."."""

    steps: int = 6000
    """Optimiser steps."""
    minutes: float | None = None
    """Wall time from the first token to the last step; where set, `steps` follows from the measured rate."""
    batch_size: int = 1024
    """Positions per step, over all processes together."""
    learning_rate: float = 1e-2
    """Adam's step size at its highest."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly, as a factor on a cosine that falls over all steps."""
    final_learning_rate: float = 0.02
    """Learning rate of the last step, as a fraction of the highest."""

    sparsity: float = 1e-3
    """jumprelu: λ of the tanh penalty at the end of training; it rises linearly from 0."""
    tanh_scale: float = 4.0
    """jumprelu: c of tanh(c · ‖W_dec,i‖ · a_i)."""
    bandwidth: float = 0.5
    """jumprelu: width ε of the kernel that gives the thresholds a gradient."""
    initial_threshold: float = 0.5
    """jumprelu: threshold of every feature at the start."""
    auxiliary: float = 1 / 32
    """Weight of the loss by which dead features learn to rebuild the residual (topk, batchtopk)."""
    dead_after: int = 200_000
    """A feature that was silent on so many training positions counts as dead."""

    n_tokens: int = 1_000_000
    """Tokens to sample from the model, or at most to take from a text. With `minutes`, sampling ends after
    a fifth of them."""
    sequence_length: int = 256
    """Tokens per sequence of sampled text or of a file, BOS included; the model's context where that is
    shorter."""
    temperature: float = 1.0
    """Of the sampled text."""
    exclude_tokens: tuple[int, ...] | None = None
    """Token ids whose positions count neither in the loss nor in the metrics; None: the tokenizer's BOS and
    padding. Position 0 never counts."""
    held_out: float = 0.03
    """Fraction of the sequences kept for the metrics; at least one sequence, at most 40,000 tokens."""
    buffer_gigabytes: float = 2.0
    """Memory per process for activations; what does not fit is collected and shuffled block by block."""

    precision: str = "auto"
    """Of the large matrix products and the stored activations: "bfloat16", "float32", or "auto", bfloat16
    where the device has hardware for it. The weights are float32 throughout."""
    seed: int = 0
    """Of the initial weights, the sampled text and every shuffle."""
    shards: int | None = None
    """Parts a batch is drawn from; processes share them. None: one per process. The same number gives the
    same batches on any number of processes."""
    checkpoint_seconds: float = 60.0
    """Wall time between checkpoints."""

    def __post_init__(self) -> None:
        self._require_choice("kind", ("clt", "plt"))
        self._require_choice("activation", ("batchtopk", "topk", "jumprelu"))
        self._require_choice("precision", ("auto", "bfloat16", "float32"))
        for name in ("n_features", "k", "steps", "batch_size", "n_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.k > self.n_features:
            raise ValueError(f"k={self.k} exceeds n_features={self.n_features}: choose a smaller k")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length={self.sequence_length} must be at least 2: position 0 is not trained on")
        for name in ("learning_rate", "tanh_scale", "bandwidth", "initial_threshold", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        for name in ("warmup", "sparsity", "auxiliary", "checkpoint_seconds", "final_learning_rate"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must lie between 0 and 1: the metrics need text of their own")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes} must be above 0; leave it out to train for steps={self.steps}")
        if not self.buffer_gigabytes > 0:
            raise ValueError(f"buffer_gigabytes={self.buffer_gigabytes} must be above 0")

    def _require_choice(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(map(repr, allowed))}")
