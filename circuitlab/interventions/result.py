"""What an intervention did: tokens, logits, features, continuation, and how it compares with what a graph foretold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuitlab.graph import percent
from circuitlab.interventions.edits import Edits
from circuitlab.interventions.forward import Outcome
from circuitlab.interventions.generation import GREEDY, Sampling, generate

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.interventions.controls import Verdict
    from circuitlab.interventions.run import Experiment


@dataclass(frozen=True, eq=False, repr=False)
class InterventionRun:
    """The result of `model.intervene`. `generated` holds the ids of the continuation."""

    experiment: Experiment
    edits: Edits
    outcome: Outcome
    generated: tuple[int, ...] = ()
    n_tokens: int = 0
    sampling: Sampling = GREEDY

    def __repr__(self) -> str:
        before, after = (self.top_tokens(1, by=which) for which in ("before", "after"))
        text = "".join(self.experiment.baseline.strings)
        changed = "unchanged" if before.token_id[0] == after.token_id[0] else f"→ {after.token[0].strip()!r}"
        return (
            f"<InterventionRun {', '.join(self.edits.names)} in {text!r}: {before.token[0].strip()!r} "
            f"({percent(before.before[0])}) {changed} ({percent(after.after[0])})>"
        )

    # ---- logits ----

    @cached_property
    def logits(self) -> Float[Tensor, "pos vocab"]:
        """Logits under the intervention."""
        return self.experiment.replacement.model.unembed(self.outcome.final_after)

    @cached_property
    def baseline_logits(self) -> Float[Tensor, "pos vocab"]:
        """Logits without it."""
        return self.experiment.replacement.model.unembed(self.outcome.final_before)

    def probabilities(self) -> tuple[Float[np.ndarray, " vocab"], Float[np.ndarray, " vocab"]]:
        """Next-token probabilities at the last position, before and after."""
        model, outcome = self.experiment.replacement.model, self.outcome
        finals = (outcome.final_before[-1], outcome.final_after[-1])
        before, after = (model.unembed(final).double().softmax(-1).cpu().numpy() for final in finals)
        return before, after

    def top_tokens(self, n: int = 10, by: str = "either") -> pd.DataFrame:
        """The likeliest next tokens: `token_id`, `token`, `before`, `after`, `difference` (probabilities).

        `by` says which run ranks them: "before", "after", or "either" (the larger of both), strongest first.
        """
        if by not in ("before", "after", "either"):
            raise ValueError(f"by={by!r} is not one of 'before', 'after', 'either'")
        if n < 1:
            raise ValueError(f"n={n}: ask for at least 1 token")
        before, after = self.probabilities()
        ranked = {"before": before, "after": after, "either": np.maximum(before, after)}[by]
        top = np.argsort(-ranked, kind="stable")[:n]
        return pd.DataFrame(
            {
                "token_id": top,
                "token": self.experiment.replacement.model.token_strings(top.tolist()),
                "before": before[top],
                "after": after[top],
                "difference": after[top] - before[top],
            }
        )

    # ---- features ----

    @cached_property
    def features(self) -> pd.DataFrame:
        """Every feature that is active in either run, by node id.

        Columns `layer`, `pos`, `feature`, `label`, `before`, `after`, `difference` (activations), and `pre_difference`,
        the change of the pre-activation, which edges foretell. An intervened node's `after` is what it was set to.
        """
        parts = [self._layer_table(layer) for layer in range(len(self.outcome.before))]
        return pd.concat(parts, ignore_index=True).set_index("id")

    def _layer_table(self, layer: int) -> pd.DataFrame:
        outcome, labels = self.outcome, self.experiment.replacement.labels
        before, after = outcome.before[layer], outcome.after[layer]
        pos, feature = ((before != 0) | (after != 0)).nonzero(as_tuple=True)
        change = (outcome.pre_after[layer] - outcome.pre_before[layer])[pos, feature]
        columns = {name: x[pos, feature].double().cpu().numpy() for name, x in (("before", before), ("after", after))}
        pos, feature = pos.tolist(), feature.tolist()
        return pd.DataFrame(
            {
                "id": [f"{layer}_{index}_{at}" for at, index in zip(pos, feature, strict=True)],
                "layer": layer,
                "pos": pos,
                "feature": feature,
                "label": pd.array([labels.get(f"L{layer}/{index}") for index in feature], dtype="string"),
                **columns,
                "difference": columns["after"] - columns["before"],
                "pre_difference": change.double().cpu().numpy(),
            }
        )

    def remaining(self, groups: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
        """How much activation is left: `before`, `after`, `remaining` = after / before, by group name.

        `groups` maps names to node ids; by default the supernodes that were given, else the graph's, else the labels. A
        group that was not active before has no share.
        """
        table = self.features
        ids = groups if groups is not None else self._groups()
        rows = []
        for name, members in ids.items():
            part = table.reindex([node for node in members if node in table.index])
            before, after = part[["before", "after"]].to_numpy(float).sum(0).tolist()
            rows.append((name, before, after, after / before if before else np.nan))
        return pd.DataFrame(rows, columns=["name", "before", "after", "remaining"]).set_index("name")

    def _groups(self) -> dict[str, list[str]]:
        if self.experiment.supernodes:
            return {name: list(ids) for name, ids in self.experiment.supernodes.items()}
        if self.experiment.graph is not None:
            named = self.experiment.graph.nodes.dropna(subset=["supernode"])
            if len(named):
                return {str(name): part["id"].tolist() for name, part in named.groupby("supernode", sort=False)}
        named = self.features.dropna(subset=["label"])
        return {str(name): part.index.tolist() for name, part in named.groupby("label", sort=False)}

    # ---- text ----

    @property
    def continuation(self) -> str:
        """The text that follows the prompt under the intervention (`n_tokens` tokens, or up to the end)."""
        return self._text(self.generated)

    @cached_property
    def baseline_continuation(self) -> str:
        """The text that follows it without the intervention, chosen in the same way."""
        model = self.experiment.replacement.model
        return self._text(generate(model, self.experiment.baseline.tokens, self.n_tokens, self.sampling))

    def _text(self, tokens: Sequence[int]) -> str:
        return "".join(self.experiment.replacement.model.token_strings(tokens))

    # ---- against the graph, against chance ----

    def compare(self, graph: Graph | None = None) -> pd.DataFrame:
        """What the graph foretold next to what happened, per node; see `circuitlab.interventions.compare`."""
        from circuitlab.interventions.compare import compare

        return compare(self, graph)

    def verdict(self, n_controls: int = 20, seed: int = 0) -> Verdict:
        """How far the effect stands out from chance; see `circuitlab.interventions.controls`."""
        from circuitlab.interventions.controls import verdict

        return verdict(self, n_controls, seed)

    def plot(self, n: int = 8, n_groups: int = 8, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw `n` tokens before and after, and what is left of `n_groups` groups: what was set, and what else changed
        and bears on the answer (see `circuitlab.interventions.picture`).

        Edges between groups are the graph's, added up, where the run has a graph. Options go to
        `circuitlab.figures.plot_intervention`; returns matplotlib axes.
        """
        from circuitlab.figures import plot_intervention
        from circuitlab.interventions.picture import tables

        return plot_intervention(*tables(self, n, n_groups), ax=ax, title=title, **options)

    def savefig(self, path: Any, n: int = 8, n_groups: int = 8, **options: Any) -> Any:
        """The same as a file, .pdf, .svg, .png or .pgf, without browser or display; gives its path.

        Options: `width` ("single-column", "double-column" or millimetres), `dpi`, `title`, `theme`, `font_size`.
        """
        from circuitlab.figures import save_intervention
        from circuitlab.interventions.picture import about, tables

        return save_intervention(path, *tables(self, n, n_groups), about=about(self), **options)
