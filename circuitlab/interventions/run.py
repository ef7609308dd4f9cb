"""`model.intervene`: set nodes of a prompt to other values and see what the model, or its replacement, makes of it.

The base is always the true model: with nothing changed every mode gives the model's own logits, since the errors
y^l − ŷ^l are held. Features act by the difference of their values times their decoder vectors (see modes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from typing_extensions import TypeIs

from circuitlab.interventions.baseline import Baseline
from circuitlab.interventions.cancel import Asked
from circuitlab.interventions.edits import Edits
from circuitlab.interventions.forward import Outcome, forward
from circuitlab.interventions.generation import Sampling, generate_perturbed
from circuitlab.interventions.modes import Mode, resolve_mode
from circuitlab.interventions.paths import along_path
from circuitlab.interventions.request import Request, resolve
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.values import Positions

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel

Prompt = str | Sequence[int] | Tensor
Batch = Sequence[str] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class Experiment:
    """A prompt, a mode and how to look names up: everything of an intervention but its amounts."""

    replacement: ReplacementModel
    baseline: Baseline
    mode: str
    end_layer: int | None
    freeze_attention: bool
    freeze_norms: bool
    graph: Graph | None = None
    supernodes: Mapping[str, Sequence[str]] | None = None
    cancelled: Asked | None = None

    def resolve(self, request: Request, positions: Positions | Mapping[str, Positions] | None = None) -> Edits:
        return resolve(self.baseline, self.replacement.labels, request, positions, self.graph, self.supernodes)

    def mode_for(self, edits: Edits) -> Mode:
        n_layers = self.replacement.model.n_layers
        return resolve_mode(self.mode, self.end_layer, self.freeze_attention, self.freeze_norms, n_layers, edits.layers)

    def outcome(self, edits: Edits) -> Outcome:
        """Run, and refuse what overflowed."""
        model, transcoder = self.replacement.model, self.replacement.transcoder
        outcome = forward(model, transcoder, self.baseline, edits, self.mode_for(edits), self.cancelled)
        require_finite(outcome, edits)
        return outcome

    def run(self, edits: Edits, n_tokens: int = 0, sampling: Sampling | None = None) -> InterventionRun:
        outcome = self.outcome(edits)
        generated: tuple[int, ...] = ()
        sampling = sampling or Sampling()
        if n_tokens:
            generated = generate_perturbed(
                self.replacement, self.baseline, edits, self.mode_for(edits), n_tokens, sampling, self.cancelled
            )
        return InterventionRun(replace(self, cancelled=None), edits, outcome, generated, n_tokens, sampling)


def experiment(
    replacement: ReplacementModel,
    prompt: Prompt,
    mode: str = "propagating",
    end_layer: int | None = None,
    freeze_attention: bool = True,
    freeze_norms: bool = True,
    graph: Graph | None = None,
    supernodes: Mapping[str, Sequence[str]] | None = None,
) -> Experiment:
    """The experiment on a prompt; its unperturbed run is computed once and remembered."""
    mask_bos = True if graph is None else bool(graph.metadata.get("mask_bos", True))
    baseline = replacement.baselines.of(replacement.model, replacement.transcoder, prompt, mask_bos)
    return Experiment(replacement, baseline, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)


def intervene(
    replacement: ReplacementModel,
    prompt: Prompt | Batch,
    interventions: Request,
    *,
    graph: Graph | None = None,
    positions: Positions | Mapping[str, Positions] | None = None,
    mode: str = "propagating",
    end_layer: int | None = None,
    freeze_attention: bool = True,
    freeze_norms: bool = True,
    supernodes: Mapping[str, Sequence[str]] | None = None,
    along: Sequence[str] | None = None,
    n_tokens: int = 0,
    temperature: float | int = 0.0,
    seed: int = 0,
    cancelled: Asked | None = None,
) -> InterventionRun | list[InterventionRun]:
    """Run a prompt with some of its nodes set to other values.

    `interventions` maps names to amounts: a supernode, label ("Texas"), feature ("L3/55"), node id, error or token id,
    to a steering factor M, `Value(v)` or `Added(d)`; see request.py for names and `positions`, modes.py for `mode`,
    `end_layer` and what is frozen; `along` lets it act along one edge or path only, see paths.py. A list of prompts
    (texts, or lists of ids) gives a list of runs. `n_tokens` continues the text under the intervention: the likeliest
    tokens, or sampled from `seed` at a `temperature` above 0; what is frozen is frozen, at generated tokens, at what
    the unperturbed model has on the same text. `cancelled()` is asked before every layer; once it is true the run ends
    in `Cancelled`.

    Raises ValueError for names, positions, modes and amounts that make no sense or overflow, saying which and why.
    """
    if is_batch(prompt):
        options = {
            "graph": graph, "positions": positions, "mode": mode, "end_layer": end_layer, "supernodes": supernodes,
            "along": along, "freeze_attention": freeze_attention, "freeze_norms": freeze_norms, "n_tokens": n_tokens,
            "temperature": temperature, "seed": seed, "cancelled": cancelled,
        }  # fmt: skip
        return [cast(InterventionRun, intervene(replacement, one, interventions, **options)) for one in prompt]
    assert not is_batch(prompt)
    setting = experiment(replacement, prompt, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)
    setting = replace(setting, cancelled=cancelled)
    edits = setting.resolve(interventions, positions)
    if along is not None:
        setting, edits = along_path(setting, edits, along)
    return setting.run(edits, n_tokens, Sampling(temperature, seed))


def is_batch(prompt: Prompt | Batch) -> TypeIs[Batch]:
    """Several prompts, not one text or one list of ids."""
    return (
        isinstance(prompt, Sequence) and not isinstance(prompt, str) and bool(prompt) and not isinstance(prompt[0], int)
    )


def require_finite(outcome: Outcome, edits: Edits) -> None:
    """ValueError if the perturbed stream holds NaN or infinite numbers."""
    if not bool(torch.isfinite(outcome.final_after).all()):
        raise ValueError(
            f"the intervention on {', '.join(edits.names)} overflows: the model's output is no longer finite; "
            "give smaller factors or values"
        )
