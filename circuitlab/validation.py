"""Does a graph say what the model does? Its claims, tested by ablating its features one at a time.

For each of the most influential features s, s is set to 0 by constrained patching up to its own layer: nothing but what
s wrote into that layer changes, and the model's own MLPs answer above it. Effects one layer up are the edge itself,
exact by construction; from two layers up they are knock-on effects, and only those are counted in the scores below.
For every feature and logit t above, the graph's prediction (the linear effect along all paths from s to t, activations
cut at 0; see interventions/compare.py) stands beside the measured change of t's pre-activation:

    spearman    = rank correlation over all s and t; and, stricter, over t for each s, then the mean over s
    normalised_error = |predicted − measured| / |measured|
    cosine      = ⟨predicted, measured⟩ / (|predicted| |measured|)         both by layer distance, over all s and t

Reads a graph and its model, gives tables. Source: Ameisen et al. 2025, "Circuit Tracing", sections on validating
attribution graphs by perturbation; https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from circuitlab.graph import Graph
from circuitlab.interventions.compare import agreement, rank_correlation
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.run import experiment
from circuitlab.pruning import Scores, influence_from

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel

KNOCK_ON = 2
"""Layers from the ablated feature at which an MLP has answered in between."""
LEAST_TARGETS = 5
"""A feature that reaches fewer other features has no rank correlation of its own."""


READINGS = {
    "effects compared": "changes of features and logits above an ablated feature",
    "Spearman, all effects": "1: the graph orders the effects two or more layers up rightly; 0: chance; paper: 0.72",
    "Spearman, mean over ablated features": "the same for the effects of one feature at a time: stricter",
    "Spearman, sizes only": "influence, which has no sign, against the size of the effect; 0: chance",
    "Spearman of influence and KL": "1: the most influential features are those whose ablation changes the answer most",
    "cosine, mean": "1: effects are foretold up to one common factor",
    "normalised error, mean": "0: foretold exactly; 1: as far off as a graph that foretells no effect at all",
    "replacement score": "1: all influence on the answer begins at tokens, none at errors",
    "completeness score": "1: no node takes anything from errors",
    "share of the top logit from tokens": "adds up to 1 with errors and constants; signed, so it may be negative",
    "share of the top logit from errors": "what the transcoder missed: near 0 is good",
}
"""Which value of each number is good."""


def _number(value: float | int) -> str:
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"


@dataclass(frozen=True, eq=False, repr=False)
class Validation:
    """A graph's report. Tables: `features` (one row per ablated feature), `edges` (the strongest out of them),
    `claims` (every source and target), `distances` (by layer distance, targets that are features).

    `spearman_pooled` is over all knock-on effects, `spearman` the mean over ablated features, `spearman_size` the same
    for the graph's unsigned influence of s on t, (I − Â)^{-1}, and the effect's size. `influence_spearman` is the rank
    correlation of their influence with the KL divergence (nats) that their ablation makes; `explained` the shares of
    the top logit that come, along all paths, from tokens, errors and constants: they add up to 1.
    """

    prompt: str
    features: pd.DataFrame
    edges: pd.DataFrame
    claims: pd.DataFrame
    distances: pd.DataFrame
    scores: Scores
    explained: dict[str, float]

    @property
    def spearman(self) -> float:
        return float(np.nanmean(self.features["spearman"].to_numpy(float)))

    @cached_property
    def spearman_pooled(self) -> float:
        """Over all pairs of ablated feature and feature two layers up or more."""
        claims = self.claims
        knock_on = (claims["kind"].to_numpy() == "feature") & (claims["distance"].to_numpy() >= KNOCK_ON)
        part = _rows(claims, knock_on)
        return agreement(part["predicted"].to_numpy(float), part["measured"].to_numpy(float))["spearman"]

    @property
    def spearman_size(self) -> float:
        return float(np.nanmean(self.features["spearman_size"].to_numpy(float)))

    @property
    def influence_spearman(self) -> float:
        return rank_correlation(self.features["influence"].to_numpy(float), self.features["kl"].to_numpy(float))

    def summary(self) -> pd.DataFrame:
        """The report's numbers: `what`, `value` (counts are whole numbers), and `reading`, which value is good."""
        cosine, error = np.nanmean(self.features[["cosine", "normalised_error"]].to_numpy(float), axis=0)
        share = {f"share of the top logit from {kind}s": value for kind, value in self.explained.items()}
        numbers = {
            "ablated features": len(self.features),
            "effects compared": len(self.claims),
            "Spearman, all effects": self.spearman_pooled,
            "Spearman, mean over ablated features": self.spearman,
            "Spearman, sizes only": self.spearman_size,
            "Spearman of influence and KL": self.influence_spearman,
            "cosine, mean": float(cosine),
            "normalised error, mean": float(error),
            "replacement score": self.scores.replacement,
            "completeness score": self.scores.completeness,
            **share,
        }
        return pd.DataFrame(
            {
                "what": list(numbers),
                "value": pd.Series(list(numbers.values()), dtype=object),
                "reading": [READINGS.get(what, "") for what in numbers],
            }
        )

    def lines(self) -> list[str]:
        """The summary as lines of text, each number with the sentence that says which value is good."""
        rows = self.summary().itertuples(index=False)
        return [f"{what:<40}{_number(value):>8}  {reading}".rstrip() for what, value, reading in rows]

    def plot(self, axes: Any = None, title: str | None = None) -> Any:
        """Foretold against measured, and agreement by layer distance: two matplotlib axes."""
        from circuitlab.charts import plot_validation

        return plot_validation(self.claims, self.distances, axes, title)

    def savefig(self, path: str | PathLike[str]) -> Path:
        """Draw `plot` into a file that matplotlib can write (.pdf, .svg, .png)."""
        left, _ = self.plot()
        left.get_figure().savefig(Path(path))
        return Path(path)

    def __repr__(self) -> str:
        return f"<Validation of {self.prompt!r}\n" + "\n".join(self.lines()) + ">"


def validate(
    graph: Graph,
    model: ReplacementModel,
    n_features: int = 30,
    n_edges: int = 30,
    mode: str = "constrained",
    freeze_attention: bool = True,
    freeze_norms: bool = True,
) -> Validation:
    """Ablate the graph's `n_features` most influential features, one at a time, and compare with what it foretold.

    `mode` and what is frozen as in `intervene`; live attention and norms also test what a graph leaves out. Raises
    ValueError for a graph of another model, and for one without features that reach anything.
    """
    if n_features < 1:
        raise ValueError(f"n_features={n_features}: ask for at least 1")
    _require_same_model(graph, model)
    prompt = graph.metadata.get("token_ids") or graph.prompt
    rows = np.flatnonzero(graph.kind_mask("feature"))
    rows = rows[np.argsort(-graph.nodes["influence"].to_numpy(float)[rows], kind="stable")][:n_features]
    setting = experiment(model, prompt, mode, None, freeze_attention, freeze_norms, graph)
    nodes = list(graph.nodes.iloc[np.sort(rows)].itertuples())
    ablations = [setting.resolve({node.id: 0.0}) for node in nodes]
    features, edges, claims = [], [], []
    for node, edits, outcome in zip(nodes, ablations, setting.outcomes(ablations), strict=True):
        run = InterventionRun(setting, edits, outcome)
        table = _above(run.compare(graph), graph, node)
        features.append(_feature_row(graph, run, node, table))
        claims.append(table.assign(source=node.id))
        edges.append(_edges_of(graph, node.id, table))
    if not any(len(table) for table in claims):
        raise ValueError("no feature of this graph reaches another node: it was pruned too far to be validated")
    every = pd.concat(claims, ignore_index=True)
    strongest = pd.concat(edges, ignore_index=True)
    order = np.argsort(-strongest["predicted"].abs().to_numpy(), kind="stable")[:n_edges]
    return Validation(
        prompt=graph.prompt,
        features=pd.DataFrame(features).sort_values("influence", ascending=False, ignore_index=True),
        edges=strongest.iloc[order].reset_index(drop=True),
        claims=every,
        distances=_by_distance(_rows(every, every["kind"].to_numpy() == "feature")),
        scores=graph.scores(),
        explained=explained(graph),
    )


def _require_same_model(graph: Graph, model: ReplacementModel) -> None:
    for what, ours in (("n_layers", model.model.n_layers), ("n_features", model.transcoder.config.n_features)):
        theirs = graph.metadata.get(what)
        if theirs is not None and theirs != ours:
            raise ValueError(
                f"the graph was traced on another model: its {what} is {theirs}, that of {model.model.name} is {ours}"
            )


def _above(table: pd.DataFrame, graph: Graph, source: Any) -> pd.DataFrame:
    """Targets of later layers that a prediction exists for, with `distance` in layers and `influence`, without sign."""
    at = graph.nodes.set_index("id")["layer"].reindex(table.index)
    distance = at.astype("Float64").fillna(graph.n_layers).astype(float).to_numpy() - int(source.layer)
    influence = influence_from(graph.links, graph.row(source.id), ~graph.kind_mask("constant"))
    influence = influence[[graph.row(node_id) for node_id in table.index]]
    table = table.reset_index(names="target").assign(distance=distance.astype(int), influence=influence)
    predicted, measured = table["predicted"].to_numpy(float), table["measured"].to_numpy(float)
    foretold = np.abs(predicted) > 1e-9 * np.abs(predicted).max(initial=1e-30)
    return _rows(table, (table["distance"].to_numpy() > 0) & foretold & ~np.isnan(measured))


def _rows(table: pd.DataFrame, mask: np.ndarray) -> pd.DataFrame:
    return table.iloc[np.flatnonzero(mask)]


def _feature_row(graph: Graph, run: InterventionRun, node: Any, table: pd.DataFrame) -> dict[str, Any]:
    targets = _rows(table, (table["kind"].to_numpy() == "feature") & (table["distance"].to_numpy() >= KNOCK_ON))
    numbers = agreement(targets["predicted"].to_numpy(float), targets["measured"].to_numpy(float))
    sizes = agreement(targets["influence"].to_numpy(float), np.abs(targets["measured"].to_numpy(float)))
    numbers["spearman_size"] = sizes["spearman"]
    top = _rows(table, table["target"].to_numpy() == graph.targets["id"].iloc[0])
    before, after = run.probabilities()
    held = before > 0
    divergence = float((before[held] * np.log(before[held] / np.maximum(after[held], 1e-300))).sum())
    return {
        "id": node.id,
        "name": graph.names[graph.row(node.id)],
        "influence": node.influence,
        "logit_predicted": float(top["predicted"].to_numpy(float).sum()),
        "logit_measured": float(top["measured"].to_numpy(float).sum()),
        "kl": max(divergence, 0.0),
        "targets": len(targets),
        **(numbers if len(targets) >= LEAST_TARGETS else dict.fromkeys(numbers, np.nan)),
    }


def _edges_of(graph: Graph, node_id: str, table: pd.DataFrame) -> pd.DataFrame:
    """The edges out of a node: `predicted`, minus the edge, and the `measured` change of the target."""
    out = graph.outputs(node_id).set_index("id")
    known = _rows(table, np.isin(table["target"].to_numpy(str), out.index.to_numpy(str)))
    return pd.DataFrame(
        {
            "source": node_id,
            "target": known["target"].to_numpy(),
            "predicted": -out["weight"].reindex(known["target"]).to_numpy(float),
            "measured": known["measured"].to_numpy(float),
        }
    )


def _by_distance(claims: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for distance, part in claims.groupby("distance"):
        numbers = agreement(part["predicted"].to_numpy(float), part["measured"].to_numpy(float))
        rows.append({"distance": distance, "effects": len(part), **numbers})
    return pd.DataFrame(rows, columns=["distance", "effects", "spearman", "cosine", "normalised_error"])


def explained(graph: Graph) -> dict[str, float]:
    """Shares of the top logit that come from tokens, errors and constants along all paths through features.

    Each feature passes on what it gets: one back-substitution with every row divided by its sum of in-edges.
    """
    links, end = graph.links, graph.row(graph.targets["id"].iloc[0])
    share = np.zeros(len(graph.nodes))
    share[end] = 1.0
    sums = links.row_sums()
    for row in range(end, -1, -1):
        span = slice(links.indptr[row], links.indptr[row + 1])
        if share[row] != 0 and span.stop > span.start and sums[row] != 0:
            np.add.at(share, links.source[span], share[row] * links.weight[span].astype(np.float64) / sums[row])
    return {kind: float(share[graph.kind_mask(kind)].sum()) for kind in ("token", "error", "constant")}
