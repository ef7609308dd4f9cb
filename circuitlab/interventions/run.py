"""`model.intervene`: set nodes of a prompt to other values and see what the model, or its replacement, makes of it.

The base is always the true model: with nothing changed every mode gives the model's own logits, since the errors
y^l − ŷ^l are held. Features act by the difference of their values times their decoder vectors (see modes.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from typing_extensions import TypeIs

from circuitlab.graph import Graph
from circuitlab.interventions.baseline import Baseline, Stack
from circuitlab.interventions.cancel import Asked
from circuitlab.interventions.edits import Edits
from circuitlab.interventions.forward import Outcome, forward
from circuitlab.interventions.generation import GREEDY, Sampling, go_on, start_perturbed
from circuitlab.interventions.modes import Mode, resolve_mode
from circuitlab.interventions.paths import along_path
from circuitlab.interventions.request import Request, resolve
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.values import Positions
from circuitlab.targets import require_whole

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel

Prompt = str | Sequence[int] | Tensor
Batch = Sequence[str] | Sequence[Sequence[int]]
TOGETHER = 50_000_000
"""Activations (position, layer, feature) in one pass: 200 MB in float32."""


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
        return self.outcomes([edits])[0]

    def outcomes(self, every: Sequence[Edits]) -> list[Outcome]:
        """Several interventions on the prompt, side by side."""
        return outcomes([(self, edits) for edits in every])

    def run(self, edits: Edits, n_tokens: int = 0, sampling: Sampling = GREEDY) -> InterventionRun:
        """Run, and go on for `n_tokens`; where the model itself runs, its pass over the prompt serves both."""
        require_whole("n_tokens", n_tokens)
        if not n_tokens:
            return InterventionRun(replace(self, cancelled=None), edits, self.outcome(edits))
        mode = self.mode_for(edits)
        started = start_perturbed(self.replacement, self.baseline, edits, mode, n_tokens, self.cancelled)
        outcome = self.outcome(edits) if mode.frozen else started.outcomes()[0]
        require_finite(outcome, edits)
        generated = go_on(started, n_tokens, sampling)
        return InterventionRun(replace(self, cancelled=None), edits, outcome, generated, n_tokens, sampling)


def outcomes(runs: Sequence[tuple[Experiment, Edits]]) -> list[Outcome]:
    """The outcomes of several edits, of one prompt or of several: those of one mode in one pass, if memory allows."""
    modes = [setting.mode_for(edits) for setting, edits in runs]
    found: dict[int, Outcome] = {}
    for mode in dict.fromkeys(modes):
        rows = [row for row, other in enumerate(modes) if other == mode]
        longest = max(runs[row][0].baseline.n_positions for row in rows)
        config = runs[0][0].replacement.transcoder.config
        at_once = max(1, TOGETHER // (longest * config.n_layers * config.n_features))
        for first in range(0, len(rows), at_once):
            chosen = rows[first : first + at_once]
            settings, edits = zip(*(runs[row] for row in chosen), strict=True)
            replacement = settings[0].replacement
            stack = settings[0].baseline.stack if len(chosen) == 1 else Stack(tuple(s.baseline for s in settings))
            found |= zip(
                chosen,
                forward(replacement.model, replacement.transcoder, stack, edits, mode, settings[0].cancelled),
                strict=True,
            )
    for row, (_, edits) in enumerate(runs):
        require_finite(found[row], edits)
    return [found[row] for row in range(len(runs))]


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
    return experiments(replacement, [prompt], mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)[0]


def experiments(
    replacement: ReplacementModel,
    prompts: Sequence[Prompt],
    mode: str = "propagating",
    end_layer: int | None = None,
    freeze_attention: bool = True,
    freeze_norms: bool = True,
    graph: Graph | None = None,
    supernodes: Mapping[str, Sequence[str]] | None = None,
) -> list[Experiment]:
    """The same experiment on several prompts; unperturbed runs that are not known come from one pass."""
    if graph is not None and not isinstance(graph, Graph):
        raise ValueError(f"graph={graph!r:.60}: expected the Graph of this prompt (a widget's is view.graph)")
    for name, frozen in (("freeze_attention", freeze_attention), ("freeze_norms", freeze_norms)):
        if not isinstance(frozen, bool | np.bool_):
            raise ValueError(f"{name}={frozen!r:.60}: expected True or False")
    mask_bos = True if graph is None else bool(graph.metadata.get("mask_bos", True))
    baselines = replacement.baselines.of_all(replacement.model, replacement.transcoder, prompts, mask_bos)
    return [
        Experiment(replacement, baseline, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)
        for baseline in baselines
    ]


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
    """Run a prompt, or several at once, with some of its nodes set to other values: see `ReplacementModel.intervene`.

    `cancelled()` is asked before every layer; once it is true the run ends in `Cancelled`.
    Names and `positions` are resolved in request.py, modes stand in modes.py, `along` in paths.py.
    """
    sampling = Sampling(temperature, seed)
    several = is_batch(prompt)
    require_whole("n_tokens", n_tokens)
    prompts = _each_read(replacement, prompt) if several else [prompt]
    settings = experiments(replacement, prompts, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)
    settings = [replace(setting, cancelled=cancelled) for setting in settings]
    runs = []
    for number, setting in enumerate(settings):
        try:
            edits = setting.resolve(interventions, positions)
            runs.append((setting, edits) if along is None else along_path(setting, edits, along))
        except ValueError as error:
            if several:
                raise ValueError(f"prompt {number} of {len(prompts)}: {error}") from error
            raise
    if n_tokens:
        done = [setting.run(edits, n_tokens, sampling) for setting, edits in runs]
    else:
        found = outcomes(runs)
        done = [
            InterventionRun(replace(setting, cancelled=None), edits, outcome)
            for (setting, edits), outcome in zip(runs, found, strict=True)
        ]
    return done if several else done[0]


def _each_read(replacement: ReplacementModel, prompts: Batch | Tensor | np.ndarray) -> list[Prompt]:
    """The prompts of a batch as token ids; what is wrong with one says with which."""
    read: list[Prompt] = []
    for number, prompt in enumerate(prompts):
        try:
            read.append(replacement.model.to_tokens(prompt))
        except ValueError as error:
            raise ValueError(f"prompt {number} of {len(prompts)}: {error}") from error
    return read


def is_batch(prompt: Prompt | Batch) -> TypeIs[Batch]:
    """Several prompts, not one text or one list of ids."""
    if isinstance(prompt, Tensor | np.ndarray):
        return prompt.ndim == 2
    listed = isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes) and bool(prompt)
    return listed and not isinstance(prompt[0], Real)


def require_finite(outcome: Outcome, edits: Edits) -> None:
    """ValueError if the perturbed stream holds NaN or infinite numbers."""
    if not bool(torch.isfinite(outcome.final_after).all()):
        raise ValueError(
            f"the intervention on {', '.join(edits.names)} overflows: the model's output is no longer finite; "
            "give smaller factors or values"
        )
