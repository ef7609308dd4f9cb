"""Forward passes with edits: through the linear frozen network, or through the model beside its unperturbed self.

`frozen_forward` sends changes only: the frozen network is linear, so the perturbed stream is the unperturbed one plus
what the network makes of Δembedding and of the changed MLP outputs. No pass of the model, no hooks.

`PairedForward` runs the model on two equal rows, row 0 unperturbed, row 1 perturbed. Whatever is frozen is copied from
row 0, whatever the mode holds is taken from it, and the features of both rows are read side by side. With a key-value
cache the same holds token by token. Hooks live inside `Model.run` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.interventions.baseline import Baseline, masked
from circuitlab.interventions.cancel import Asked, heed
from circuitlab.interventions.edits import Edits, Pending
from circuitlab.interventions.modes import Mode
from circuitlab.model import Model
from circuitlab.neurons import Neurons
from circuitlab.transcoder import Transcoder

NORMS = ("ln1", "ln1_post", "ln2", "ln2_post")


@dataclass(frozen=True, eq=False)
class Outcome:
    """Both runs: activations [pos, feat] per layer, pre-activations, and the final normed stream.

    `after` is what each encoder reads in the perturbed run, and at the edited places the value that was set.
    """

    before: tuple[Float[Tensor, "pos feat"], ...]
    after: tuple[Float[Tensor, "pos feat"], ...]
    pre_before: tuple[Float[Tensor, "pos feat"], ...]
    pre_after: tuple[Float[Tensor, "pos feat"], ...]
    final_before: Float[Tensor, "pos d_model"]
    final_after: Float[Tensor, "pos d_model"]


def forward(
    model: Model,
    transcoder: Transcoder,
    baseline: Baseline,
    edits: Edits,
    mode: Mode,
    cancelled: Asked | None = None,
) -> Outcome:
    """The outcome of an intervention on the prompt, by the cheapest way that the mode allows."""
    with torch.no_grad():
        if mode.frozen:
            return frozen_forward(transcoder, baseline, edits, mode, cancelled)
        paired = PairedForward(model, transcoder, baseline, edits, mode, cancelled=cancelled)
        return paired.run(baseline.tokens).outcome()


def frozen_forward(
    transcoder: Transcoder, baseline: Baseline, edits: Edits, mode: Mode, cancelled: Asked | None = None
) -> Outcome:
    """Changes through the frozen network, layer by layer."""
    local, n = baseline.local, baseline.n_positions
    pending = Pending(len(local.features))
    pre_after, after = [], []

    def mlp_out(layer: int, x: Tensor) -> Tensor:
        heed(cancelled)
        before, pre_activation, read = baseline.activations[layer], baseline.pre_activations[layer], None
        if bool(x.any()):
            moved = local.inputs[layer] + x
            pre_activation = transcoder.pre_activations(layer, moved.to(transcoder.dtype))
            if mode.name == "direct" and isinstance(transcoder, Neurons):  # the edges' own linear rule
                pre_activation = baseline.pre_activations[layer] + transcoder.linear_change(
                    layer, local.inputs[layer].to(transcoder.dtype), x.to(transcoder.dtype)
                )
            read = masked(transcoder.activate(layer, pre_activation), local.mask_bos)
        read = before if read is None else read
        changed = edits.apply(layer, before if mode.holds(layer) else read, before, 0, n) - before
        pending.write(transcoder, layer, changed)
        pre_after.append(pre_activation)
        after.append(edits.apply(layer, read, before, 0, n))
        return sum_of(x, pending.take(layer), edits.added_output(baseline, layer), skipped(transcoder, layer, x))

    embedding = edits.added_embedding(baseline)
    start = torch.zeros_like(local.token_embeddings) if embedding is None else embedding
    _, change = baseline.linear.encoder_inputs(start, mlp_out)
    return Outcome(
        baseline.activations,
        tuple(after),
        baseline.pre_activations,
        tuple(pre_after),
        local.final,
        local.final + change,
    )


def sum_of(like: Tensor, *parts: Tensor | None) -> Tensor:
    """The parts that are there, added up, in the shape and precision of `like`."""
    total = torch.zeros_like(like)
    for part in parts:
        if part is not None:
            total = total + part.to(like)
    return total


def skipped(transcoder: Transcoder, layer: int, change: Float[Tensor, "pos d_model"]) -> Tensor | None:
    """The skip connection's answer to a change of what the encoder reads."""
    if transcoder.W_skip is None:
        return None
    return (change.to(transcoder.dtype) @ transcoder.W_skip[layer].detach().T).to(change.dtype)


@dataclass
class PairedForward:
    """The model on two rows of the same tokens, unperturbed and perturbed; `run` may be called chunk by chunk."""

    model: Model
    transcoder: Transcoder
    baseline: Baseline
    edits: Edits
    mode: Mode
    cache: object = None
    seen: int = 0
    logits: Tensor | None = None
    cancelled: Asked | None = None
    _read: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=dict)
    _final: Tensor | None = None

    def run(self, tokens: Int[Tensor, " pos"]) -> PairedForward:
        """Go on with these tokens; keeps the logits of both rows, [2, pos, vocab]."""
        start = self.seen
        edit = self._hooks(start)
        options = {} if self.cache is None else {"past_key_values": self.cache, "use_cache": True}
        self.logits, captured = self.model.run(
            tokens.expand(2, -1), capture=["ln_final.hook_out"], edit=edit, **options
        )
        self._final = captured["ln_final.hook_out"]
        self.seen = start + len(tokens)
        return self

    def outcome(self) -> Outcome:
        """What the last `run` saw."""
        assert self._final is not None
        layers = [self._read[layer] for layer in range(self.model.n_layers)]
        before, after, pre_before, pre_after = (tuple(column) for column in zip(*layers, strict=True))
        final = self._final.to(torch.promote_types(self.model.dtype, torch.float32))
        return Outcome(before, after, pre_before, pre_after, final[0], final[1])

    def _hooks(self, start: int) -> dict[str, Callable[[Tensor], Tensor]]:
        config, n_layers = self.transcoder.config, self.model.n_layers
        pending = Pending(n_layers)
        inputs: dict[int, Tensor] = {}
        edit: dict[str, Callable[[Tensor], Tensor]] = {}
        if self.mode.freeze_attention:
            edit |= {f"blocks.{layer}.attn.hook_pattern": copy_first_row for layer in range(n_layers)}
        if self.mode.freeze_norms:
            sites = [f"blocks.{layer}.{norm}.hook_scale" for layer in range(n_layers) for norm in NORMS]
            edit |= {site: copy_first_row for site in [*sites, "ln_final.hook_scale"] if site in self.model.sites}
        if self.edits.tokens and start == 0:
            edit["blocks.0.hook_resid_pre"] = self._embed
        for layer in range(n_layers):
            edit[f"blocks.{layer}.{config.input_hook}"] = self._reader(layer, start, pending, inputs)
            edit[f"blocks.{layer}.{config.output_hook}"] = self._writer(layer, start, pending, inputs)
        return edit

    def _embed(self, embedding: Tensor) -> Tensor:
        added = self.edits.added_embedding(self.baseline)
        return embedding if added is None else torch.stack([embedding[0], embedding[1] + added.to(embedding)])

    def _reader(self, layer: int, start: int, pending: Pending, inputs: dict[int, Tensor]) -> Callable:
        transcoder, n_prompt, mask_bos = self.transcoder, self.baseline.n_positions, self.baseline.local.mask_bos

        def read(x: Tensor) -> Tensor:
            heed(self.cancelled)
            inputs[layer] = x
            pre_before, pre_after = transcoder.pre_activations(layer, x.to(transcoder.dtype))
            before = masked(transcoder.activate(layer, pre_before), mask_bos, start)
            after = masked(transcoder.activate(layer, pre_after), mask_bos, start)
            changed = self.edits.apply(layer, before if self.mode.holds(layer) else after, before, start, n_prompt)
            if self.mode.writes(layer):
                pending.write(transcoder, layer, changed - before)
            after = self.edits.apply(layer, after, before, start, n_prompt)
            self._read[layer] = before, after, pre_before, pre_after
            return x

        return read

    def _writer(self, layer: int, start: int, pending: Pending, inputs: dict[int, Tensor]) -> Callable:
        def write(mlp_out: Tensor) -> Tensor:
            written, skip = pending.take(layer), None
            if not self.mode.writes(layer):
                written = None
            own = mlp_out[1] if self.mode.uses_mlp(layer) else mlp_out[0]
            if not self.mode.uses_mlp(layer):
                skip = skipped(self.transcoder, layer, inputs[layer][1] - inputs[layer][0])
            errors = self.edits.added_output(self.baseline, layer) if start == 0 else None
            return torch.stack([mlp_out[0], own + sum_of(own, written, skip, errors)])

        return write


def copy_first_row(value: Tensor) -> Tensor:
    """Row 1 takes what row 0 has."""
    return value[:1].expand_as(value)
