"""The replacement model: a language model in which a transcoder's features do the work of the MLPs.

Every MLP output is replaced by the transcoder's ŷ, computed from the replaced stream (`replacement_logits`);
`agreement` says how well it stands in for the model. The local replacement model of one prompt is in
local_replacement.py.

Source: Ameisen et al. 2025, "Circuit Tracing", section "Building an interpretable replacement model";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitlab.formats.transcoders import read_transcoder
from circuitlab.model import Model, load_model
from circuitlab.transcoder import Transcoder

if TYPE_CHECKING:
    from circuitlab.features import Features
    from circuitlab.graph import Graph
    from circuitlab.interventions.baseline import Baselines

ATLAS = Path(__file__).parent / "atlas"

INPUT_HOOKS = ("hook_resid_mid", "mlp.hook_in", "ln2.hook_normalized")
OUTPUT_HOOKS = ("hook_mlp_out", "mlp.hook_out")


def _no_baselines() -> Baselines:
    from circuitlab.interventions.baseline import Baselines

    return Baselines()


@dataclass(frozen=True)
class ReplacementModel:
    """A language model with its transcoder and the labels of its features; make one with `load`.

    `labels` names features: {"L3/55": "Texas"}. `baselines` remembers the last prompts that were intervened on.
    """

    model: Model
    transcoder: Transcoder
    labels: Mapping[str, str]
    baselines: Baselines = field(default_factory=_no_baselines, compare=False, repr=False)

    def __repr__(self) -> str:
        return f"ReplacementModel({self.model!r}, {self.transcoder!r}, {len(self.labels)} labels)"

    def trace(self, prompt: str | Sequence[int] | Tensor, targets: Any = None, **options: Any) -> Graph:
        """The attribution graph of a prompt: see `circuitlab.tracing.trace` for all options."""
        from circuitlab.tracing import trace

        return trace(self.model, self.transcoder, prompt, targets, **{"labels": self.labels, **options})

    def intervene(self, prompt: Any, interventions: Mapping[str, Any], **options: Any) -> Any:
        """Run a prompt with nodes set to other values: see `circuitlab.interventions.intervene` for all options."""
        from circuitlab.interventions import intervene

        return intervene(self, prompt, interventions, **options)

    def swap(self, prompt: Any, out: Any, into: Any, from_prompt: Any, **options: Any) -> Any:
        """One concept's features off, another's on as in a second prompt: see `circuitlab.interventions.swap`."""
        from circuitlab.interventions import swap

        return swap(self, prompt, out, into, from_prompt, **options)

    def sweep(self, prompt: Any, names: Any, **options: Any) -> Any:
        """One intervention at many strengths, end layers or features: see `circuitlab.interventions.sweep`."""
        from circuitlab.interventions import sweep

        return sweep(self, prompt, names, **options)

    @cached_property
    def features(self) -> Features:
        """What is known of each feature, by name or by layer and index: `model.features["L3/55"]`."""
        from circuitlab.features import Features

        return Features(self)

    def top_tokens(self, prompt: str | Sequence[int] | Tensor, n: int = 10) -> pd.DataFrame:
        """The model's n most likely next tokens: `token_id`, `token`, `probability`, and `replacement`.

        `replacement` is the probability that the replacement model gives the same token.
        """
        tokens = self.model.to_tokens(prompt)[None]
        true = self.model.logits(tokens)[0, -1].double().softmax(-1)
        replaced = replacement_logits(self.model, self.transcoder, tokens)[0, -1].double().softmax(-1)
        top = true.topk(min(n, len(true)))
        return pd.DataFrame(
            {
                "token_id": top.indices.tolist(),
                "token": self.model.token_strings(top.indices),
                "probability": top.values.tolist(),
                "replacement": replaced[top.indices].tolist(),
            }
        )

    def agreement(self, tokens: Int[Tensor, "batch pos"], include: Int[Tensor, "batch pos"] | None = None) -> Agreement:
        """How well the replacement model stands in for the model on these tokens: see `agreement`."""
        return agreement(self.model, self.transcoder, tokens, include)


def load(
    model: str | Path | nn.Module | Model = "atlas",
    transcoder: str | Path | Transcoder | None = None,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> ReplacementModel:
    """A model with its transcoder: the bundled one, or any Hugging Face model and a folder with a transcoder.

    Without a transcoder, or with "neurons", the model's MLP neurons are its features (see `circuitlab.neurons`).

    `model` is "atlas" (bundled: offline, seconds, no GPU), a folder, a hub id, or a model in memory (which is copied; a
    transcoder in memory is left as it is too).
    Raises FileNotFoundError for a folder that is not there and ValueError for a transcoder made for another model.
    """
    labels: dict[str, str] = {}
    bundled = isinstance(model, str) and model == "atlas"
    if bundled:
        model = ATLAS / "model"
        if transcoder is None:
            transcoder = ATLAS / "clt"
            labels = json.loads((ATLAS / "labels.json").read_text("utf-8"))
    loaded = model if isinstance(model, Model) else load_model(model, tokenizer, device, dtype)
    if bundled:
        loaded.name = "atlas"
    if transcoder is None or transcoder == "neurons":
        from circuitlab.neurons import neurons_of

        return ReplacementModel(loaded, neurons_of(loaded), {})
    if not isinstance(transcoder, Transcoder):
        transcoder = read_transcoder(transcoder)
    transcoder = _placed(transcoder, loaded.device, torch.promote_types(loaded.dtype, torch.float32))
    check_fit(loaded, transcoder)
    return ReplacementModel(loaded, transcoder, labels)


def _placed(transcoder: Transcoder, device: torch.device, dtype: torch.dtype) -> Transcoder:
    """The transcoder on a device in a precision; one in memory stays as it is, what needs no change is shared."""
    placed = {
        id(parameter): nn.Parameter(parameter.detach().to(device, dtype), requires_grad=False)
        for parameter in transcoder.parameters()
    }
    return copy.deepcopy(transcoder, placed)


def check_fit(model: Model, transcoder: Transcoder) -> None:
    """ValueError unless the transcoder's sizes and hook points belong to this model."""
    config = transcoder.config
    for what, found, expected in (
        ("layers", config.n_layers, model.n_layers),
        ("d_model", config.d_model, model.d_model),
    ):
        if found != expected:
            raise ValueError(
                f"this transcoder was made for another model: it has {what} = {found}, "
                f"but {model.name} has {what} = {expected}"
            )
    for what, hook, allowed in (
        ("input", config.input_hook, INPUT_HOOKS),
        ("output", config.output_hook, OUTPUT_HOOKS),
    ):
        if hook not in allowed:
            raise ValueError(f"the transcoder's {what} hook is {hook!r}; circuitlab reads {', '.join(allowed)}")
        if f"blocks.0.{hook}" not in model.sites:
            raise ValueError(f"the transcoder's {what} hook {hook!r} does not exist in {model.name}: it needs another")


def replacement_logits(
    model: Model, transcoder: Transcoder, tokens: Int[Tensor, "batch pos"], mask_bos: bool = True
) -> Float[Tensor, "batch pos vocab"]:
    """Logits of the replacement model: all MLP outputs replaced by ŷ, each layer reading the replaced stream.

    With `mask_bos` position 0 keeps its MLP outputs, as everywhere in this field: its activations are an attention
    sink's, which transcoders are not trained on.
    """
    check_fit(model, transcoder)
    inputs: list[Tensor] = []
    activations: list[Tensor] = []

    def read(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(x: Tensor) -> Tensor:
            inputs.append(x.to(transcoder.dtype))
            activations.append(transcoder.encode(layer, inputs[-1]))
            return x

        return hook

    def write(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(mlp_out: Tensor) -> Tensor:
            replaced = transcoder.decode(layer, activations, inputs[layer]).to(mlp_out.dtype)
            return torch.cat([mlp_out[:, :1], replaced[:, 1:]], dim=1) if mask_bos else replaced

        return hook

    config = transcoder.config
    edits = {f"blocks.{layer}.{config.input_hook}": read(layer) for layer in range(config.n_layers)}
    edits |= {f"blocks.{layer}.{config.output_hook}": write(layer) for layer in range(config.n_layers)}
    with torch.no_grad():
        return model.run(tokens, edit=edits)[0]


@dataclass(frozen=True)
class Agreement:
    """How the replacement model compares with the model: shares and nats, means over positions."""

    top1: float
    kl: float
    cross_entropy_model: float
    cross_entropy_replacement: float


def agreement(
    model: Model,
    transcoder: Transcoder,
    tokens: Int[Tensor, "batch pos"],
    include: Int[Tensor, "batch pos"] | None = None,
) -> Agreement:
    """Top-token agreement, KL(model ‖ replacement) and next-token cross-entropies of both, position 0 left out.

    `include` (0 or 1 per position) leaves out more, padding for example. Cross-entropies are against the next token.
    """
    true = model.logits(tokens).double().log_softmax(-1)
    replaced = replacement_logits(model, transcoder, tokens).double().log_softmax(-1)
    keep = torch.ones_like(tokens, dtype=torch.bool) if include is None else include.bool()
    keep = keep.clone()
    keep[:, 0] = False
    has_next = keep[:, :-1] & keep[:, 1:]

    def cross_entropy(log_probabilities: Tensor) -> float:
        chosen = log_probabilities[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
        return -chosen[has_next].mean().item()

    return Agreement(
        top1=(true.argmax(-1) == replaced.argmax(-1))[keep].double().mean().item(),
        kl=(true.exp() * (true - replaced)).sum(-1)[keep].mean().item(),
        cross_entropy_model=cross_entropy(true),
        cross_entropy_replacement=cross_entropy(replaced),
    )
