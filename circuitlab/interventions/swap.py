"""Swap one concept for another: its features off, the other's on, at the values that a second prompt gives them.

The papers' substitution experiment: in "… the state containing Dallas is" the Texas features are set to 0 and the
California features of "… the state containing Oakland is" are set to `strength` times their values there.

Source: Lindsey et al. 2025, "On the Biology of a Large Language Model", section on multi-step reasoning;
https://transformer-circuits.pub/2025/attribution-graphs/biology.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circuitlab.interventions.edits import Edits, FeatureEdit
from circuitlab.interventions.generation import Sampling
from circuitlab.interventions.request import Resolver
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.run import Prompt, experiment
from circuitlab.interventions.values import Positions

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel

Names = str | Sequence[str]


def swap(
    replacement: ReplacementModel,
    prompt: Prompt,
    out: Names,
    into: Names,
    from_prompt: Prompt,
    *,
    strength: float | int = 1.0,
    out_factor: float | int = 0.0,
    positions: Positions | None = None,
    mode: str = "propagating",
    end_layer: int | None = None,
    freeze_attention: bool = True,
    freeze_norms: bool = True,
    graph: Graph | None = None,
    supernodes: Mapping[str, Sequence[str]] | None = None,
    n_tokens: int = 0,
    temperature: float | int = 0.0,
    seed: int = 0,
) -> InterventionRun:
    """Run `prompt` with the features named `out` at `out_factor` times their value and those of `into` from elsewhere.

    Arguments as in `ReplacementModel.swap`. Raises ValueError where one of the two is not active in its prompt.
    """
    here = experiment(replacement, prompt, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)
    there = experiment(replacement, from_prompt)
    source = Resolver(there.baseline, replacement.labels)
    found = [source.edit(name, 1.0) for name in _listed(into)]
    if any(edits.errors or edits.tokens for edits in found):
        raise ValueError(f"into={into!r} holds an error or a token: only features have values that can be taken along")
    place = set(Resolver(here.baseline, {}).place(positions).positions)
    removed = here.resolve(dict.fromkeys(_listed(out), out_factor), positions)
    where = _aligned(
        sorted({e.pos for edits in found for e in edits.features if e.pos is not None}),
        sorted({e.pos for e in removed.features if e.pos is not None}),
        here.baseline.n_positions == there.baseline.n_positions,
    )
    new: dict[str, FeatureEdit] = {}
    for edit in (edit for edits in found for edit in edits.features):
        pos = where.get(edit.pos)
        if pos is not None and pos in place:
            activation = float(there.baseline.activations[edit.layer][edit.pos, edit.feature])
            moved = FeatureEdit(edit.layer, edit.feature, pos, 0.0, strength * activation)
            new[moved.node] = moved
    if not new:
        raise ValueError(f"no feature of {into!r} stands at positions that {out!r} leaves free: give other positions=")
    kept = {edit.node: edit for edit in removed.features} | new
    names = {**removed.names, " ".join(_listed(into)): tuple(new)}
    edits = Edits(tuple(kept.values()), removed.errors, removed.tokens, names)
    return here.run(edits, n_tokens, Sampling(temperature, seed))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _aligned(there: Sequence[int], here: Sequence[int], same: bool) -> dict[int | None, int]:
    """From positions of the other prompt to positions of this one."""
    if same:
        return {pos: pos for pos in there}
    return dict(zip(reversed(there), reversed(here), strict=False))
