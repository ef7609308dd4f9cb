"""What a picture of an intervention shows: the groups that were set, and those that changed and bear on the answer.

With a graph a node's score is influence · (|Δa| / max(a, a') + 0.1): a large change that bears on nothing is no part of
the story; that what matters most has hardly changed is. Without a graph it is what its change writes at the last
position towards the new answer, |Δa · W_dec · (u_after − u_before)|, u the unembedding columns of the likeliest tokens
before and after (of the first two, where the answer stays).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from circuitlab.interventions.result import InterventionRun

UNCHANGED = 0.1
"""What a node that has not changed counts, of one that has changed by all it was."""
WEAKEST = 0.08
"""Share of the highest score below which a group is left out."""


def tables(run: InterventionRun, n: int = 8, n_groups: int = 8) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tokens, groups and edges as `circuitlab.figures.plot_intervention` takes them; at most `n_groups` groups, but
    all that were set."""
    groups = shown_groups(run, n_groups)
    left = run.remaining(groups).reset_index()
    left["factor"] = [factor_of(run, str(name)) for name in left["name"]]
    vectors = [name in run.edits.names and not _features_of(run, str(name)) for name in left["name"]]
    left["remaining"] = left["remaining"].where(~np.array(vectors, dtype=bool), left["factor"])
    left["label"] = [label_of(run, str(name)) for name in left["name"]]
    return run.top_tokens(n), left, edges_between(run, groups)


def shown_groups(run: InterventionRun, n_groups: int) -> dict[str, list[str]]:
    """Node ids by group: what was set first, then by falling score."""
    groups = {name: list(ids) for name, ids in run.edits.names.items()}
    claimed = {node for ids in groups.values() for node in ids}
    scores = node_scores(run)
    scored = []
    for name, ids in run._groups().items():
        free = [node for node in ids if node not in claimed and node in scores.index]
        if free and name not in groups:
            scored.append((float(scores[free].sum()), name, free))
    scored.sort(key=lambda item: -item[0])
    least = WEAKEST * scored[0][0] if scored else 0.0
    room = max(0, n_groups - len(groups))
    return {**groups, **{name: free for score, name, free in scored[:room] if score >= least}}


def node_scores(run: InterventionRun) -> pd.Series:
    """How much each feature node belongs into the picture, by node id."""
    table = run.features
    change = table["difference"].abs().to_numpy(float)
    if run.experiment.graph is None:
        return pd.Series(change * np.abs(written(run)), index=table.index)
    size = table[["before", "after"]].abs().max(axis=1).to_numpy(float)
    nodes = run.experiment.graph.nodes.set_index("id")
    influence = nodes["influence"].reindex(table.index).to_numpy(np.float64, na_value=0.0)
    share = np.divide(change, size, out=np.zeros_like(size), where=size > 0)
    return pd.Series(influence * (share + UNCHANGED), index=table.index)


def written(run: InterventionRun) -> np.ndarray:
    """Per row of `run.features`: what a unit of it writes, over all layers, at the last position towards the new answer
    and off the old; 0 at other positions."""
    model, transcoder = run.experiment.replacement.model, run.experiment.replacement.transcoder
    before, after = (int(chances.argmax()) for chances in run.probabilities())
    if before == after:
        before, after = run.top_tokens(2)["token_id"]
    towards = model.W_U[:, after] - model.W_U[:, before]
    table = run.features
    found = np.zeros(len(table))
    layers, last = table["layer"].to_numpy(), (table["pos"] == table["pos"].max()).to_numpy()
    for layer in range(len(run.outcome.before)):
        rows = np.flatnonzero((layers == layer) & last)
        features = table["feature"].to_numpy()[rows].tolist()
        decoders = transcoder.W_dec[layer][features].detach()
        found[rows] = (decoders.sum(1) @ towards.to(decoders)).double().cpu().numpy()
    return found


def factor_of(run: InterventionRun, name: str) -> float:
    """What a group was multiplied by; infinite where it was 0 and was set, NaN where it was left alone."""
    if name not in run.edits.names:
        return np.nan
    features = _features_of(run, name)
    if not features:
        return next(factor for node, factor in vector_factors(run).items() if node in run.edits.names[name])
    part = run.features.reindex([node for node in features if node in run.features.index])
    before, after = part[["before", "after"]].to_numpy(float).sum(0).tolist()
    if before:
        return after / before
    return float(np.copysign(np.inf, after)) if after else np.nan


def _features_of(run: InterventionRun, name: str) -> list[str]:
    """Ids of the features that were set under a name."""
    vectors = vector_factors(run)
    return [node for node in run.edits.names[name] if node not in vectors]


def vector_factors(run: InterventionRun) -> dict[str, float]:
    """Factors of the errors and tokens that were set, by node id."""
    tokens = run.experiment.baseline.tokens
    errors = {f"{layer}_-1_{pos}": factor for (layer, pos), factor in run.edits.errors.items()}
    return errors | {f"E_{int(tokens[pos])}_{pos}": factor for pos, factor in run.edits.tokens.items()}


def label_of(run: InterventionRun, name: str) -> str:
    """What a box is called: a node that was set by its id has a name that says more."""
    if run.edits.names.get(name) != (name,):
        return name
    layer, feature, pos = name.split("_")
    token = run.experiment.baseline.strings[int(pos)].strip()
    if layer == "E":
        return token
    if feature == "-1":
        return f"error L{layer} at {token}"
    label = run.features["label"].get(name)
    return label if isinstance(label, str) else f"L{layer}/{feature}"


def edges_between(run: InterventionRun, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """`source`, `target`, `weight`: the graph's edges between groups, added up."""
    if run.experiment.graph is None:
        return pd.DataFrame({"source": [], "target": [], "weight": []})
    owner = {node: name for name, ids in groups.items() for node in ids}
    summed: dict[tuple[str, str], float] = {}
    for source, target, weight in run.experiment.graph.edges.itertuples(index=False, name=None):
        ends = owner.get(source), owner.get(target)
        if ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
            summed[ends[0], ends[1]] = summed.get((ends[0], ends[1]), 0.0) + float(weight)
    rows = [(source, target, weight) for (source, target), weight in summed.items()]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def about(run: InterventionRun) -> str:
    """In words: what was set, in which prompt."""
    prompt = "".join(run.experiment.baseline.strings)[:2000]
    return f"Intervention on {', '.join(run.edits.names)} in {prompt!r}"
