"""What a graph foretold next to what an intervention did, node by node.

The prediction follows the graph's edges from the intervened nodes S, in topological order, Δ_s being the change of an
activation and A_{s→t} / a_s the edge per unit of it:

    Δpre_t = Σ_s (A_{s→t} / a_s) Δa_s        Δa_t = max(0, a_t + Δpre_t) − a_t   (t a feature that the mode lets answer)

A neuron (`circuitlab.neurons`) passes on what it is worth per unit: Δa_t / a_t = Δpre_t / pre_t.

In mode "direct" no later feature answers: Δpre_t is the sum of the edges out of S. Measured is the change of t's
pre-activation (a logit's: of its demeaned, uncapped logit).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float64

from circuitlab.graph import Graph

if TYPE_CHECKING:
    from circuitlab.interventions.result import InterventionRun


def compare(run: InterventionRun, graph: Graph | None = None) -> pd.DataFrame:
    """Per feature and logit that S reaches: `kind`, `name`, `before`, `predicted`, `measured` (changes), by node id.

    `.attrs` holds `spearman`, `cosine`, `normalised_error` = |predicted − measured| / |measured| over the nodes. Raises
    ValueError without a graph of this very prompt.
    """
    graph = graph if graph is not None else run.experiment.graph
    if graph is None:
        raise ValueError(
            "compare needs the prompt's graph: run.compare(model.trace(prompt)), or intervene(…, graph=graph)"
        )
    if tuple(graph.tokens) != run.experiment.baseline.strings:
        raise ValueError(f"the graph is of another prompt, {graph.prompt!r}: trace this one")
    predicted, reached = predict(run, graph)
    rows = np.flatnonzero(reached & graph.kind_mask("feature", "logit"))
    nodes = graph.nodes.iloc[rows]
    table = pd.DataFrame(
        {
            "kind": nodes["kind"].to_numpy(),
            "name": [graph.names[row] for row in rows],
            "before": nodes["pre_activation"].to_numpy(float),
            "predicted": predicted[rows],
            "measured": [measured(run, node) for node in nodes.itertuples()],
        },
        index=pd.Index(nodes["id"].to_numpy(), name="id"),
    )
    table.attrs.update(agreement(table["predicted"].to_numpy(), table["measured"].to_numpy()))
    return table


def agreement(predicted: Float64[np.ndarray, " node"], observed: Float64[np.ndarray, " node"]) -> dict[str, float]:
    """Rank correlation, cosine and normalised error of two columns; NaN where one is constant."""
    norms = float(np.linalg.norm(predicted) * np.linalg.norm(observed))
    varied = len(predicted) > 2 and np.ptp(predicted) > 0 and np.ptp(observed) > 0
    size = float(np.linalg.norm(observed))
    return {
        "spearman": rank_correlation(predicted, observed) if varied else np.nan,
        "cosine": float(predicted @ observed) / norms if norms else np.nan,
        "normalised_error": float(np.linalg.norm(predicted - observed)) / size if size else np.nan,
    }


def rank_correlation(a: Float64[np.ndarray, " node"], b: Float64[np.ndarray, " node"]) -> float:
    """Spearman's: the correlation of ranks, ties at their mean rank."""
    first, second = (pd.Series(x).rank().to_numpy(float) for x in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def predict(run: InterventionRun, graph: Graph) -> tuple[Float64[np.ndarray, " node"], np.ndarray]:
    """The foretold change of every row's pre-activation, and which rows S reaches (S itself left out)."""
    shares, edited = intervened_shares(run, graph)
    mode = run.experiment.mode_for(run.edits)
    activation, layer = graph.nodes["activation"].to_numpy(float), graph.nodes["layer"].fillna(-1).to_numpy(int)
    pre_activation = graph.nodes["pre_activation"].to_numpy(float)
    answers = graph.kind_mask("feature") & ~edited & (layer > mode.end_layer) & (mode.name != "steering")
    links, change = graph.links, np.zeros(len(graph.nodes))
    reached = np.zeros(len(graph.nodes), dtype=bool)
    felt = shares != 0
    for row in range(len(change)):
        span = slice(links.indptr[row], links.indptr[row + 1])
        source = links.source[span]
        if not felt[source].any():
            continue
        change[row] = float(links.weight[span].astype(np.float64) @ shares[source])
        reached[row] = not edited[row]
        if answers[row] and graph.in_neurons:
            shares[row] = change[row] / pre_activation[row] if pre_activation[row] else 0.0
            felt[row] = shares[row] != 0
        elif answers[row] and activation[row] > 0:
            shares[row] = max(0.0, activation[row] + change[row]) / activation[row] - 1.0
            felt[row] = shares[row] != 0
    return change, reached


def intervened_shares(run: InterventionRun, graph: Graph) -> tuple[Float64[np.ndarray, " node"], np.ndarray]:
    """Δa / a of the intervened rows (0 elsewhere), and which rows they are."""
    shares, edited = np.zeros(len(graph.nodes)), np.zeros(len(graph.nodes), dtype=bool)
    rows = {node_id: row for row, node_id in enumerate(graph.nodes["id"])}
    missing = []
    changes: dict[str, float] = {}
    for edit in run.edits.features:
        if edit.pos is not None:
            before = float(run.outcome.before[edit.layer][edit.pos, edit.feature])
            changes[edit.node] = edit.value(before) / before - 1.0 if before else np.nan
    changes |= {f"{layer}_-1_{pos}": factor - 1.0 for (layer, pos), factor in run.edits.errors.items()}
    tokens = run.experiment.baseline.tokens
    changes |= {f"E_{int(tokens[pos])}_{pos}": factor - 1.0 for pos, factor in run.edits.tokens.items()}
    for node, share in changes.items():
        if node not in rows or np.isnan(share):
            missing.append(node)
        else:
            shares[rows[node]], edited[rows[node]] = share, True
    if missing:
        raise ValueError(
            f"the graph has no edges out of {', '.join(missing[:3])}: it was pruned, or these features are not active "
            "in the prompt; a graph foretells changes of its own nodes only"
        )
    return shares, edited


def measured(run: InterventionRun, node) -> float:
    """The change of a feature's pre-activation, or of a logit's value before any soft-cap."""
    outcome = run.outcome
    if node.kind == "feature":
        at = int(node.pos), int(node.feature)
        return float(outcome.pre_after[node.layer][at] - outcome.pre_before[node.layer][at])
    if pd.isna(node.token_id):
        return np.nan
    model = run.experiment.replacement.model
    moved = outcome.final_after[int(node.pos)] - outcome.final_before[int(node.pos)]
    W_U = model.W_U.to(moved.dtype)
    return float(moved @ (W_U[:, int(node.token_id)] - W_U.mean(1)))
