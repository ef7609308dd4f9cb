"""Forward passes with edits: through the linear frozen network, or through the model beside its unperturbed self.

Both take a batch: one row of edits per prompt, prompts of different lengths padded behind, where causal attention
never looks, so that each row is what it is alone.

`frozen_forward` sends changes only: the frozen network is linear, so the perturbed stream is the unperturbed one plus
what the network makes of Δembedding and of the changed MLP outputs. No pass of the model, no hooks.

`PairedForward` runs the model on two rows per prompt: the first half of the batch unperturbed, the second perturbed.
Whatever is frozen is copied from the first half, whatever the mode holds is taken from it, and the features of both are
read side by side. With a key-value cache the same holds token by token. Hooks live inside `Model.run` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.interventions.baseline import Stack, masked
from circuitlab.interventions.cancel import Asked, heed
from circuitlab.interventions.edits import Edits, Pending, place
from circuitlab.interventions.modes import Mode
from circuitlab.local_replacement import padded
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
    stack: Stack,
    edits: Sequence[Edits],
    mode: Mode,
    cancelled: Asked | None = None,
) -> list[Outcome]:
    """The outcome of each prompt's edits, by the cheapest way that the mode allows; one pass for all."""
    with torch.no_grad():
        if mode.frozen:
            return frozen_forward(transcoder, stack, edits, mode, cancelled)
        paired = PairedForward(model, transcoder, stack, edits, mode, cancelled=cancelled)
        return paired.run(stack.tokens).outcomes()


def frozen_forward(
    transcoder: Transcoder, stack: Stack, edits: Sequence[Edits], mode: Mode, cancelled: Asked | None = None
) -> list[Outcome]:
    """Changes through the frozen network, layer by layer."""
    pending = Pending(transcoder.config.n_layers)
    pre_after, after = [], []

    def mlp_out(layer: int, x: Tensor) -> Tensor:
        heed(cancelled)
        before, pre_activation, read = stack.activations[layer], stack.pre_activations[layer], None
        if bool(x.any()):
            moved = stack.inputs[layer] + x
            pre_activation = transcoder.pre_activations(layer, moved.to(transcoder.dtype))
            if mode.name == "direct" and isinstance(transcoder, Neurons):  # the edges' own linear rule
                pre_activation = stack.pre_activations[layer] + transcoder.linear_change(
                    layer, stack.inputs[layer].to(transcoder.dtype), x.to(transcoder.dtype)
                )
            read = masked(transcoder.activate(layer, pre_activation), stack.mask_bos)
        read = before if read is None else read
        placed = place(edits, layer, before, 0, before.shape[1])
        changed = placed.set_in(before if mode.holds(layer) else read, before) - before
        pending.write(transcoder, layer, changed)
        pre_after.append(pre_activation)
        after.append(placed.set_in(read, before))
        return sum_of(x, pending.take(layer), added_output(stack, edits, layer), skipped(transcoder, layer, x))

    embedding = added_embedding(stack, edits)
    start = torch.zeros_like(stack.inputs[0]) if embedding is None else embedding
    _, change = stack.linear.encoder_inputs(start, mlp_out)
    outcomes = []
    for row, baseline in enumerate(stack.baselines):
        n, local = baseline.n_positions, baseline.local
        here_after, here_pre = (tuple(layer[row, :n] for layer in layers) for layers in (after, pre_after))
        final = local.final + change[row, :n]
        outcomes.append(
            Outcome(baseline.activations, here_after, baseline.pre_activations, here_pre, local.final, final)
        )
    return outcomes


def added_embedding(stack: Stack, edits: Sequence[Edits]) -> Float[Tensor, "batch pos d_model"] | None:
    """What each row's edited tokens add to the embeddings."""
    if not any(one.tokens for one in edits):
        return None
    rows = [baseline.local.token_embeddings for baseline in stack.baselines]
    added = [one.added_embedding(b) for one, b in zip(edits, stack.baselines, strict=True)]
    return padded([torch.zeros_like(row) if one is None else one for row, one in zip(rows, added, strict=True)])


def added_output(stack: Stack, edits: Sequence[Edits], layer: int) -> Float[Tensor, "batch pos d_model"] | None:
    """What each row's edited errors of a layer add to its MLP output."""
    added = [one.added_output(b, layer) for one, b in zip(edits, stack.baselines, strict=True)]
    if all(one is None for one in added):
        return None
    rows = [baseline.local.errors[layer] for baseline in stack.baselines]
    return padded([torch.zeros_like(row) if one is None else one for row, one in zip(rows, added, strict=True)])


def sum_of(like: Tensor, *parts: Tensor | None) -> Tensor:
    """The parts that are there, added up, in the shape and precision of `like`."""
    total = torch.zeros_like(like)
    for part in parts:
        if part is not None:
            total = total + part.to(like)
    return total


def skipped(transcoder: Transcoder, layer: int, change: Float[Tensor, "*batch pos d_model"]) -> Tensor | None:
    """The skip connection's answer to a change of what the encoder reads."""
    if transcoder.W_skip is None:
        return None
    return (change.to(transcoder.dtype) @ transcoder.W_skip[layer].detach().T).to(change.dtype)


@dataclass
class PairedForward:
    """The model on each prompt's tokens twice, unperturbed and perturbed; one prompt may be run chunk by chunk.

    `cache`: an empty key-value cache to read and extend. `logits` are those of the last chunk, [2 · batch, pos, vocab],
    the perturbed ones in the second half.
    """

    model: Model
    transcoder: Transcoder
    stack: Stack
    edits: Sequence[Edits]
    mode: Mode
    cache: object = None
    seen: int = 0
    logits: Tensor | None = None
    cancelled: Asked | None = None
    _read: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=dict)
    _final: Tensor | None = None

    def run(self, tokens: Int[Tensor, "batch pos"]) -> PairedForward:
        """Go on with these tokens."""
        start = self.seen
        edit = self._hooks(start)
        options = {} if self.cache is None else {"past_key_values": self.cache, "use_cache": True}
        self.logits, captured = self.model.run(
            torch.cat([tokens, tokens]), capture=["ln_final.hook_out"], edit=edit, **options
        )
        self._final = captured["ln_final.hook_out"]
        self.seen = start + tokens.shape[1]
        return self

    def outcomes(self) -> list[Outcome]:
        """What the last `run`, of whole prompts, saw in each."""
        assert self._final is not None
        layers = [self._read[layer] for layer in range(self.model.n_layers)]
        final = self._final.to(torch.promote_types(self.model.dtype, torch.float32)).chunk(2)
        outcomes = []
        for row, baseline in enumerate(self.stack.baselines):
            n = baseline.n_positions
            before, after, pre_before, pre_after = (
                tuple(layer[row, :n] for layer in column) for column in zip(*layers, strict=True)
            )
            outcomes.append(Outcome(before, after, pre_before, pre_after, final[0][row, :n], final[1][row, :n]))
        return outcomes

    def _hooks(self, start: int) -> dict[str, Callable[[Tensor], Tensor]]:
        config, n_layers = self.transcoder.config, self.model.n_layers
        pending = Pending(n_layers)
        inputs: dict[int, Tensor] = {}
        edit: dict[str, Callable[[Tensor], Tensor]] = {}
        if self.mode.freeze_attention:
            edit |= {f"blocks.{layer}.attn.hook_pattern": copy_first_half for layer in range(n_layers)}
        if self.mode.freeze_norms:
            sites = [f"blocks.{layer}.{norm}.hook_scale" for layer in range(n_layers) for norm in NORMS]
            edit |= {site: copy_first_half for site in [*sites, "ln_final.hook_scale"] if site in self.model.sites}
        if start == 0 and (added := added_embedding(self.stack, self.edits)) is not None:
            edit["blocks.0.hook_resid_pre"] = lambda embedding: add_to_second_half(embedding, added)
        for layer in range(n_layers):
            edit[f"blocks.{layer}.{config.input_hook}"] = self._reader(layer, start, pending, inputs)
            edit[f"blocks.{layer}.{config.output_hook}"] = self._writer(layer, start, pending, inputs)
        return edit

    def _reader(self, layer: int, start: int, pending: Pending, inputs: dict[int, Tensor]) -> Callable:
        transcoder, mode, mask_bos = self.transcoder, self.mode, self.stack.mask_bos
        n_prompt = self.stack.tokens.shape[1]

        def read(x: Tensor) -> Tensor:
            heed(self.cancelled)
            inputs[layer] = x
            pre_activation = transcoder.pre_activations(layer, x.to(transcoder.dtype))
            activation = masked(transcoder.activate(layer, pre_activation), mask_bos, start)
            (pre_before, pre_after), (before, after) = pre_activation.chunk(2), activation.chunk(2)
            placed = place(self.edits, layer, before, start, n_prompt)
            set_after = placed.set_in(after, before)
            if mode.writes(layer):
                changed = placed.set_in(before, before) if mode.holds(layer) else set_after
                pending.write(transcoder, layer, changed - before)
            self._read[layer] = before, set_after, pre_before, pre_after
            return x

        return read

    def _writer(self, layer: int, start: int, pending: Pending, inputs: dict[int, Tensor]) -> Callable:
        def write(mlp_out: Tensor) -> Tensor:
            unperturbed, own = mlp_out.chunk(2)
            written, skip = pending.take(layer), None
            if not self.mode.writes(layer):
                written = None
            if not self.mode.uses_mlp(layer):
                before, after = inputs[layer].chunk(2)
                own, skip = unperturbed, skipped(self.transcoder, layer, after - before)
            errors = added_output(self.stack, self.edits, layer) if start == 0 else None
            return torch.cat([unperturbed, own + sum_of(own, written, skip, errors)])

        return write


def copy_first_half(value: Tensor) -> Tensor:
    """The perturbed rows take what the unperturbed ones have."""
    unperturbed, _ = value.chunk(2)
    return torch.cat([unperturbed, unperturbed])


def add_to_second_half(value: Tensor, added: Tensor) -> Tensor:
    """Only the perturbed rows are changed."""
    unperturbed, perturbed = value.chunk(2)
    return torch.cat([unperturbed, perturbed + added.to(value)])
