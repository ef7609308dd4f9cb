"""Sweeps: one intervention at many strengths, end layers or features, as a tidy table.

Every row is one run at one token: `sweep` says over what, `value` where; the unperturbed run stands beside it, so that
a plot can mark it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from circuitlab.interventions.edits import Edits
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.run import Experiment, Prompt, experiment, outcomes
from circuitlab.interventions.values import Positions

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel

FACTORS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 4.0)


@dataclass(frozen=True, eq=False)
class Sweep:
    """`table`, one row per value and token: `sweep` ("factor", "end_layer" or "feature"), `value`, `token_id`, `token`,
    `probability`, `unperturbed`, `logit`, `unperturbed_logit`."""

    table: pd.DataFrame
    title: str

    def plot(self, ax: Any = None, title: str | None = None) -> Any:
        """Probability of each token over the values, the unperturbed ones as dashed lines; matplotlib axes."""
        from circuitlab.charts import plot_sweep

        return plot_sweep(self.table, ax=ax, title=title or self.title)


def sweep(
    replacement: ReplacementModel,
    prompt: Prompt,
    names: str | Sequence[str],
    *,
    factors: Sequence[float | int] | None = None,
    end_layers: Sequence[int] | None = None,
    factor: float | int = 0.0,
    each: bool = False,
    positions: Positions | None = None,
    mode: str = "propagating",
    end_layer: int | None = None,
    freeze_attention: bool = True,
    freeze_norms: bool = True,
    graph: Graph | None = None,
    supernodes: Mapping[str, Sequence[str]] | None = None,
    n_tokens: int = 5,
) -> Sweep:
    """Intervene on `names` again and again: over `factors` (the default), or at one `factor` over `end_layers` (mode
    "constrained"), or, with `each`, on one name after the other. Arguments as in `ReplacementModel.sweep`.

    The table follows the tokens that are among the `n_tokens` likeliest, unperturbed or in any run. Raises ValueError
    for more than one of `factors`, `end_layers`, `each`.
    """
    if sum((factors is not None, end_layers is not None, each)) > 1:
        raise ValueError("a sweep goes over one thing: give factors=, or end_layers=, or each=True")
    if n_tokens < 1:
        raise ValueError(f"n_tokens={n_tokens}: follow at least 1 token")
    listed = [names] if isinstance(names, str) else list(names)
    if end_layers is not None:
        mode, end_layer = "constrained", None
    setting = experiment(replacement, prompt, mode, end_layer, freeze_attention, freeze_norms, graph, supernodes)
    asked: dict[Any, tuple[Experiment, Edits]]
    if end_layers is not None:
        edits = setting.resolve(dict.fromkeys(listed, factor), positions)
        asked = {layer: (replace(setting, end_layer=layer), edits) for layer in end_layers}
        over = "end_layer"
    elif each:
        asked = {name: (setting, setting.resolve({name: factor}, positions)) for name in listed}
        over = "feature"
    else:
        values = FACTORS if factors is None else factors
        asked = {value: (setting, setting.resolve(dict.fromkeys(listed, value), positions)) for value in values}
        over = "factor"
    if not asked:
        raise ValueError("the sweep is empty: give at least one value")
    found = outcomes(list(asked.values()))
    runs = {value: InterventionRun(*asked[value], outcome) for value, outcome in zip(asked, found, strict=True)}
    return Sweep(_table(replacement, runs, over, n_tokens), " + ".join(listed) if over != "feature" else "each alone")


def _table(replacement: ReplacementModel, runs: dict[Any, InterventionRun], over: str, n_tokens: int) -> pd.DataFrame:
    chances = {value: run.probabilities() for value, run in runs.items()}
    before = next(iter(chances.values()))[0]
    highest = np.maximum.reduce([before, *(after for _, after in chances.values())])
    followed = np.argsort(-highest, kind="stable")[:n_tokens]
    strings = replacement.model.token_strings(followed.tolist())
    parts = []
    for value, run in runs.items():
        logits, unperturbed = (
            x[-1][followed.tolist()].double().cpu().numpy() for x in (run.logits, run.baseline_logits)
        )
        parts.append(
            pd.DataFrame(
                {
                    "sweep": over,
                    "value": value,
                    "token_id": followed,
                    "token": strings,
                    "probability": chances[value][1][followed],
                    "unperturbed": before[followed],
                    "logit": logits,
                    "unperturbed_logit": unperturbed,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
