"""What an intervention changes, node by node: features by layer, errors, tokens.

Every change is v' = scale · v + offset with v the unperturbed value at the same place. Edits of features beyond the
prompt (`Onward`) hold at every generated position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.interventions.baseline import Baseline
from circuitlab.transcoder import Transcoder


@dataclass(frozen=True)
class FeatureEdit:
    """One feature at one position; `pos` None stands for all generated positions."""

    layer: int
    feature: int
    pos: int | None
    scale: float
    offset: float

    @property
    def node(self) -> str:
        return f"{self.layer}_{self.feature}_{self.pos}"

    def value(self, before: float) -> float:
        return self.scale * before + self.offset


@dataclass(frozen=True)
class Edits:
    """All changes of one intervention, and under which names they were asked for.

    `errors` maps (layer, pos) and `tokens` pos to the factor; `names` maps what the user wrote to node ids.
    """

    features: tuple[FeatureEdit, ...] = ()
    errors: Mapping[tuple[int, int], float] = field(default_factory=dict)
    tokens: Mapping[int, float] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        return [edit.layer for edit in self.features] + [layer for layer, _ in self.errors]

    def at(self, layer: int, start: int, stop: int, n_prompt: int) -> list[FeatureEdit]:
        """Edits of a layer's features at positions start..stop; onward edits get the generated positions there."""
        found = []
        for edit in self.features:
            if edit.layer != layer:
                continue
            where = range(max(start, n_prompt), stop) if edit.pos is None else (edit.pos,)
            found += [
                FeatureEdit(layer, edit.feature, pos, edit.scale, edit.offset) for pos in where if start <= pos < stop
            ]
        return found

    def added_embedding(self, baseline: Baseline) -> Float[Tensor, "pos d_model"] | None:
        """What the edited tokens add to the embeddings."""
        if not self.tokens:
            return None
        added = torch.zeros_like(baseline.local.token_embeddings)
        for pos, factor in self.tokens.items():
            added[pos] = (factor - 1.0) * baseline.local.token_embeddings[pos]
        return added

    def added_output(self, baseline: Baseline, layer: int) -> Float[Tensor, "pos d_model"] | None:
        """What the edited errors of a layer add to its MLP output."""
        chosen = {pos: factor for (at, pos), factor in self.errors.items() if at == layer}
        if not chosen:
            return None
        added = torch.zeros_like(baseline.local.errors[layer])
        for pos, factor in chosen.items():
            added[pos] = (factor - 1.0) * baseline.local.errors[layer, pos]
        return added


@dataclass(frozen=True)
class Placed:
    """Edits of one layer in a batch of prompts, as columns: v' = scale · v + offset at [row, pos, feature]."""

    at: tuple[Int[Tensor, " edit"], Int[Tensor, " edit"], Int[Tensor, " edit"]] | None
    scale: Float[Tensor, " edit"]
    offset: Float[Tensor, " edit"]

    def set_in(
        self, activation: Float[Tensor, "batch pos feat"], before: Float[Tensor, "batch pos feat"]
    ) -> Float[Tensor, "batch pos feat"]:
        """`activation` with the edited entries set; itself where there are none."""
        if self.at is None:
            return activation
        changed = activation.clone()
        changed[self.at] = self.scale * before[self.at] + self.offset
        return changed


def place(
    edits: Sequence[Edits], layer: int, like: Float[Tensor, "batch pos feat"], start: int, n_prompt: int
) -> Placed:
    """The edits of a layer, one entry of `edits` per row of `like`, whose first position is `start`."""
    rows = [
        (row, edit) for row, one in enumerate(edits) for edit in one.at(layer, start, start + like.shape[1], n_prompt)
    ]
    numbers = torch.tensor([(edit.scale, edit.offset) for _, edit in rows], dtype=torch.float64).view(-1, 2).to(like)
    if not rows:
        return Placed(None, numbers[:, 0], numbers[:, 1])
    index = torch.tensor([(row, (edit.pos or 0) - start, edit.feature) for row, edit in rows], device=like.device)
    return Placed((index[:, 0], index[:, 1], index[:, 2]), numbers[:, 0], numbers[:, 1])


@dataclass
class Pending:
    """What changed features have yet to write: [batch, pos, d_model] per layer, filled from the first layer on."""

    n_layers: int
    outputs: dict[int, Tensor] = field(default_factory=dict)

    def write(self, transcoder: Transcoder, layer: int, change: Float[Tensor, "batch pos feat"]) -> None:
        """Decode Δa of one layer into all layers that it writes to; only the changed features' rows are read."""
        changed: Int[Tensor, " changed"] = change.flatten(0, 1).any(0).nonzero()[:, 0]
        if not len(changed):
            return
        rows = transcoder.W_dec.rows(layer, changed).detach()
        written = torch.einsum("bpf,fod->obpd", change[..., changed].to(rows.dtype), rows)
        for offset, output in enumerate(written):
            target = layer + offset
            self.outputs[target] = self.outputs[target] + output if target in self.outputs else output

    def take(self, layer: int) -> Tensor | None:
        return self.outputs.pop(layer, None)


def merged(parts: Sequence[Edits]) -> Edits:
    """Edits of several names as one; ValueError for a node that two of them set."""
    owner: dict[object, str] = {}
    for part in parts:
        (name,) = part.names
        keys = [edit.node for edit in part.features] + list(part.errors) + [("token", pos) for pos in part.tokens]
        for key in keys:
            if key in owner and owner[key] != name:
                raise ValueError(f"the node {key} belongs to {owner[key]!r} and to {name!r}: name it once")
            owner[key] = name
    return Edits(
        features=tuple(edit for part in parts for edit in part.features),
        errors={key: factor for part in parts for key, factor in part.errors.items()},
        tokens={pos: factor for part in parts for pos, factor in part.tokens.items()},
        names={name: ids for part in parts for name, ids in part.names.items()},
    )
