"""Edge and path patching: an intervention that acts only along a given edge or path of the graph.

Along S → T₁ → … → T_m, every hop is a direct one: what the changed nodes write reaches the next ones with everything
else frozen, those take the values that the hop gives them, and nothing else of the hop counts:

    a'_t = activation(pre_t + Σ_{s∈S} A_{s→t} Δa_s / a_s)        for t ∈ T₁, then from T₁ to T₂, …

The last nodes then act freely, in the mode of the intervention; a path that ends in "logits" acts on them directly.

Source: path patching after Goldowsky-Dill et al. 2023 (arXiv:2304.05969), with the edges of Ameisen et al. 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circuitlab.interventions.edits import Edits, FeatureEdit
from circuitlab.interventions.forward import Outcome

if TYPE_CHECKING:
    from circuitlab.interventions.run import Experiment

LOGITS = "logits"


def along_path(setting: Experiment, edits: Edits, path: Sequence[str]) -> tuple[Experiment, Edits]:
    """The experiment and edits that an intervention becomes when it acts along `path` only.

    `path` names what lies between: node ids, features, labels or supernodes, from the first receiver on; "logits" may
    come last. Raises ValueError for an empty path, an unknown name, and a hop that goes backwards.
    """
    if isinstance(path, str) or not path:
        raise ValueError(f"along={path!r} must list what the intervention acts through, like ['Texas', 'say Austin']")
    direct = replace(setting, mode="direct", end_layer=None)
    for name in path:
        if not isinstance(name, str):
            raise ValueError(f"along={list(path)!r:.60}: names are text; got {name!r:.60}")
        if name == LOGITS:
            if name != path[-1]:
                raise ValueError(f"along={list(path)!r}: {LOGITS!r} can only come last")
            return direct, edits
        receivers = setting.resolve({name: 1.0})
        _require_forward(edits, receivers, name)
        edits = _received(direct.outcome(edits), receivers, name)
    return setting, edits


def _require_forward(edits: Edits, receivers: Edits, name: str) -> None:
    again = {edit.node for edit in edits.features} & {edit.node for edit in receivers.features}
    if again:
        raise ValueError(f"along {name!r}: {min(again)} is what acts, so it cannot also be what receives")
    if receivers.errors or receivers.tokens or not receivers.features:
        raise ValueError(f"along {name!r}: only features can stand on a path, and 'logits' at its end")
    sources = [(edit.layer, edit.pos) for edit in edits.features] + list(edits.errors)
    sources += [(-1, pos) for pos in edits.tokens]
    places = [(edit.layer, edit.pos) for edit in receivers.features]
    if not any(
        above > layer and later is not None and pos is not None and later >= pos
        for layer, pos in sources
        for above, later in places
    ):
        raise ValueError(
            f"along {name!r}: no edge leads there: it must lie in a later layer, at the same position or a later one"
        )


def _received(outcome: Outcome, receivers: Edits, name: str) -> Edits:
    """The receivers at the values that the hop gives them."""
    edits = []
    for edit in receivers.features:
        if edit.pos is not None:
            value = float(outcome.after[edit.layer][edit.pos, edit.feature])
            edits.append(FeatureEdit(edit.layer, edit.feature, edit.pos, 0.0, value))
    return Edits(tuple(edits), names={name: tuple(edit.node for edit in edits)})
