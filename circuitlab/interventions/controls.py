"""Controls: the same intervention on random active features matched in size, and the effect as the dose grows.

The size of a change is what it writes, |Δa_s| · ‖W_dec,s‖ (all of the decoder's layers). A control replaces every
intervened feature by a random active one of the same position (and layer, where there are enough) and changes it in the
same direction, by as much as writes equally much. The effect is KL(before ‖ after) of the next token, in nats:

    stands_out = effect / median of the controls' effects        p = (1 + #{controls ≥ effect}) / (1 + #controls)

The dose curve moves the intervened features by t · Δa, t from 0 to 1.5.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from circuitlab.interventions.edits import Edits, FeatureEdit
from circuitlab.interventions.forward import Outcome

if TYPE_CHECKING:
    from circuitlab.interventions.result import InterventionRun

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
ROUNDING = 1e-12
"""Nats that rounding alone makes."""
MATCHED = 0.9
"""Controls that write less than this share of what the intervention writes say nothing about it."""
SAME_LAYER = 4
"""Fewer candidates than this in the layer, and other layers of the position are drawn from too."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """How far an intervention's effect stands out from controls; `controls` and `dose` are the tables behind it.

    `effect` in nats, `p` the share of controls (the intervention counted in) with at least that effect; `top_changed`
    and `controls_changed`: whether the likeliest token changed, and in what share of the controls. `matched` is how
    much of what the intervention writes its controls write: 1, unless too few other features are active to draw from;
    below `MATCHED` nothing is said to stand out.
    """

    effect: float
    p: float
    stands_out: float
    top_changed: bool
    controls_changed: float
    matched: float
    controls: pd.DataFrame
    dose: pd.DataFrame

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if self.effect == 0:
            return f"does not stand out: nothing changes at the last position, p={self.p:.2g}"
        times = f"{self.stands_out:.3g} times" if np.isfinite(self.stands_out) else "infinitely many times"
        said = "stands out" if self.p <= 0.05 and self.matched >= MATCHED else "does not stand out"
        few = "" if self.matched >= MATCHED else f"; too few others are active: controls write {self.matched:.0%} of it"
        token = "the top token changed" if self.top_changed else "the top token stayed"
        return (
            f"{said}: {self.effect:.3g} nats, {times} the median control, p={self.p:.2g}; "
            f"{token} (in {self.controls_changed:.0%} of {len(self.controls)} controls){few}"
        )

    def __repr__(self) -> str:
        return f"<Verdict: {self.text}>"


def verdict(run: InterventionRun, n_controls: int = 20, seed: int = 0) -> Verdict:
    """Run the controls and the dose curve; ValueError for interventions on no prompt feature, or without candidates."""
    if n_controls < 1:
        raise ValueError(f"n_controls={n_controls}: ask for at least 1")
    before, _ = run.probabilities()
    effect, top = effect_of(run, run.outcome, before)
    rows, drawn = [], matched_controls(run, n_controls, seed)
    for edits, outcome in zip(drawn, run.experiment.outcomes(drawn), strict=True):
        kl, changed = effect_of(run, outcome, before)
        rows.append((kl, changed != int(before.argmax()), edits.names["control"]))
    size = written(run, run.edits)
    controls = pd.DataFrame(rows, columns=["effect", "top_changed", "nodes"])
    effects = controls["effect"].to_numpy(float)
    median = float(np.median(effects))
    return Verdict(
        effect=effect,
        p=(1 + int((effects >= effect).sum())) / (1 + n_controls),
        stands_out=effect / median if median > 0 else np.inf if effect > 0 else np.nan,
        top_changed=top != int(before.argmax()),
        controls_changed=float(np.mean(controls["top_changed"].to_numpy(bool))),
        matched=float(np.mean([written(run, edits) for edits in drawn])) / size if size > 0 else 1.0,
        controls=controls,
        dose=dose_curve(run, before),
    )


def effect_of(run: InterventionRun, outcome: Outcome, before: Float[np.ndarray, " vocab"]) -> tuple[float, int]:
    """KL(before ‖ after) at the last position in nats, and the likeliest token after."""
    after = run.experiment.replacement.model.unembed(outcome.final_after[-1]).double().log_softmax(-1).cpu().numpy()
    held = before > 0
    divergence = float((before[held] * (np.log(before[held]) - after[held])).sum())
    return divergence if divergence > ROUNDING else 0.0, int(after.argmax())


def matched_controls(run: InterventionRun, n_controls: int, seed: int, excluded: Collection[str] = ()) -> list[Edits]:
    """Edits of random active features, as large as the run's; see the module's text.

    `excluded` names nodes that are not to be drawn, being of the claim's own group.
    """
    edits = [edit for edit in run.edits.features if edit.pos is not None]
    if not edits:
        raise ValueError("controls need an intervention on features of the prompt, not only on errors or tokens")
    candidates = _candidates(run, edits, excluded)
    return [_control(run, edits, candidates, np.random.default_rng([seed, i])) for i in range(n_controls)]


def _candidates(run: InterventionRun, edits: list[FeatureEdit], excluded: Collection[str]) -> pd.DataFrame:
    """Active features at the positions that were intervened on, but for these, their namesakes and the excluded."""
    table = run.features
    touched, positions = {edit.node for edit in edits} | set(excluded), {edit.pos for edit in edits}
    named = {edit.node for edit in edits}
    names = {label for node, label in zip(table.index, table["label"], strict=True) if node in named} - {pd.NA}
    columns = zip(table.index, table["pos"], table["label"], table["before"], strict=True)
    free = table.iloc[
        [
            row
            for row, (node, pos, label, before) in enumerate(columns)
            if before != 0 and pos in positions and node not in touched and (label is pd.NA or label not in names)
        ]
    ]
    if not len(free):
        raise ValueError("no other feature is active at these positions, so there is nothing to compare with")
    norms = [
        _norm(run, int(layer), int(feature)) for layer, feature in zip(free["layer"], free["feature"], strict=True)
    ]
    free = free.assign(norm=norms).iloc[np.flatnonzero(np.array(norms) > 0)]
    if not len(free):
        raise ValueError("no other feature at these positions writes anything, so there is nothing to compare with")
    return free


def written(run: InterventionRun, edits: Edits) -> float:
    """Σ_s |Δa_s| ‖W_dec,s‖ over the prompt's edited features."""
    prompt = [edit for edit in edits.features if edit.pos is not None]
    before = [float(run.outcome.before[edit.layer][edit.pos, edit.feature]) for edit in prompt]
    sizes = [abs(e.value(a) - a) * _norm(run, e.layer, e.feature) for e, a in zip(prompt, before, strict=True)]
    return sum(sizes)


def _norm(run: InterventionRun, layer: int, feature: int) -> float:
    transcoder = run.experiment.replacement.transcoder
    row = transcoder.W_dec.rows(layer, torch.tensor([feature], device=transcoder.device))
    return float(torch.linalg.vector_norm(row.detach()))


def _control(
    run: InterventionRun, edits: list[FeatureEdit], candidates: pd.DataFrame, rng: np.random.Generator
) -> Edits:
    at, layer = candidates["pos"].to_numpy(), candidates["layer"].to_numpy()
    free, chosen = np.full(len(candidates), True), []
    for edit in edits:
        before = float(run.outcome.before[edit.layer][edit.pos, edit.feature])
        change = edit.value(before) - before
        here = np.flatnonzero(free & (at == edit.pos))
        near = here[layer[here] == edit.layer]
        pool = near if len(near) >= SAME_LAYER else here
        if not len(pool):
            continue
        number = int(pool[int(rng.integers(len(pool)))])
        row, free[number] = candidates.iloc[number], False
        size = change * _norm(run, edit.layer, edit.feature) / float(row["norm"])
        chosen.append(FeatureEdit(int(row["layer"]), int(row["feature"]), int(row["pos"]), 1.0, size))
    return Edits(tuple(chosen), names={"control": tuple(edit.node for edit in chosen)})


def dose_curve(run: InterventionRun, before: Float[np.ndarray, " vocab"]) -> pd.DataFrame:
    """`dose` (1 is the run itself), `effect` in nats, and the top token's `probability`, `token` after."""
    model, top = run.experiment.replacement.model, int(before.argmax())
    rows = []
    outcomes = run.experiment.outcomes([_scaled(run.edits, dose) for dose in DOSES])
    for dose, outcome in zip(DOSES, outcomes, strict=True):
        effect, now = effect_of(run, outcome, before)
        chance = model.unembed(outcome.final_after[-1]).double().softmax(-1)[top].item()
        rows.append((dose, effect, chance, model.token_strings([now])[0]))
    return pd.DataFrame(rows, columns=["dose", "effect", "probability", "token"])


def _scaled(edits: Edits, dose: float) -> Edits:
    """Every change times `dose`: v' = v + t ((scale − 1) v + offset)."""
    features = tuple(
        FeatureEdit(e.layer, e.feature, e.pos, 1.0 + dose * (e.scale - 1.0), dose * e.offset) for e in edits.features
    )
    errors = {key: 1.0 + dose * (factor - 1.0) for key, factor in edits.errors.items()}
    tokens = {key: 1.0 + dose * (factor - 1.0) for key, factor in edits.tokens.items()}
    return Edits(features, errors, tokens, edits.names)
