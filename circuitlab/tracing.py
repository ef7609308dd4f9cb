"""From a prompt to its attribution graph: freeze, choose targets, attribute, assemble the tables.

With `max_features`, rows are computed for the most influential features only: starting from the logits, the influence
that the rows so far give to every feature decides which rows come next. What is not chosen is folded into the error
node of its layer and position, so that every target's edges still add up to its pre-activation.

Source: Ameisen et al. 2025, "Circuit Tracing", sections "Constructing an attribution graph" and "Pruning" (influence).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from circuitlab.attribution import Attributor, Targets, feature_targets, run_side_by_side
from circuitlab.graph import NODE_COLUMNS, Graph
from circuitlab.links import Links, SharedSources
from circuitlab.local_replacement import LocalReplacement, local_replacement
from circuitlab.model import Model
from circuitlab.neurons import RULE
from circuitlab.sources import Sources, forward_leaves
from circuitlab.targets import Target, TargetRequest, require_whole, resolve_targets, stack_vectors
from circuitlab.transcoder import Transcoder

OTHER_NEURONS = "other neurons"
"""What an error stands for in the neuron basis: the neurons that `max_features` folded into it."""
LARGEST_ROWS = 2**28
"""How many numbers may be held while the most influential features are chosen."""
NEURONS = 2000
"""How many neurons a graph keeps unless it is told: all are active everywhere, and most do next to nothing."""


def trace(
    model: Model,
    transcoder: Transcoder,
    prompt: str | Sequence[int] | Tensor,
    targets: TargetRequest | Sequence[TargetRequest] | None = None,
    *,
    position: int = -1,
    max_logits: int = 10,
    logit_mass: float = 0.95,
    max_features: int | None = None,
    mask_bos: bool = True,
    constants_by_layer: bool = False,
    labels: Mapping[str, str] | None = None,
    densities: Mapping[str, float] | None = None,
    progress: bool = True,
) -> Graph:
    """The attribution graph of a prompt.

    `prompt` is text or token ids. `targets` are read at `position`: by default the most likely next tokens, at most
    `max_logits`, covering `logit_mass` of the probability; else a token (text or id), a `LogitDifference`, a
    `Direction`, or a list of these. `max_features` keeps the most influential features and folds the others into
    errors; None keeps all, of neurons the 2,000 most influential (`NEURONS`). `mask_bos` makes all that position 0's
    MLPs wrote a constant. `labels` names features ("L3/55": "Texas"); `densities`, likewise by name, are kept in
    `metadata["densities"]` for the features of the graph, where the widget's density slider finds them.

    Raises ValueError for prompts, targets and numbers that make no sense, saying which and why.
    """
    if max_features is not None:
        require_whole("max_features", max_features)
    if max_features is not None and max_features < 1:
        raise ValueError(f"max_features={max_features} must be at least 1, or None for all active features")
    tokens = model.to_tokens(prompt)
    with torch.no_grad():
        local = local_replacement(model, transcoder, tokens, mask_bos)
        resolved = resolve_targets(model, targets, position, local.final, local.logits, max_logits, logit_mass)
        n_active = sum(map(len, local.features))
        if max_features is None and transcoder.exact:
            max_features = NEURONS
        whole = max_features is None or max_features >= n_active
        errors = not (whole and transcoder.exact)
        attributor = Attributor(local, forward_leaves(local, constants_by_layer), errors)
        logits = _logit_targets(local, resolved)
        if whole or max_features is None:
            links, kept = _all_edges(attributor, logits, progress), None
        else:
            links, kept = _most_influential_edges(attributor, logits, resolved, max_features, progress)
    nodes = _node_table(model, attributor, resolved, kept, labels or {})
    text = prompt if isinstance(prompt, str) else "".join(model.token_strings(tokens))
    return Graph(
        prompt=text,
        tokens=tuple(model.token_strings(tokens)),
        nodes=nodes,
        links=links,
        metadata={
            "model": model.name,
            "transcoder": RULE if transcoder.exact else transcoder.config.model_name or repr(transcoder),
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "n_features": transcoder.config.n_features,
            "token_ids": tokens.tolist(),
            "mask_bos": mask_bos,
            "max_features": max_features,
            "active_features": n_active,
            **({"basis": "neurons"} if transcoder.exact else {}),
            **_known_densities(nodes, densities or {}),
            "dtype": str(local.final.dtype).removeprefix("torch."),
            "circuitlab": version("circuitlab"),
        },
    )


def _known_densities(nodes: pd.DataFrame, densities: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Only those of the graph's own features, in four digits: a store knows hundreds of thousands, a file is small."""
    features = nodes[nodes["kind"] == "feature"]
    names = {f"L{layer}/{index}" for layer, index in zip(features["layer"], features["feature"], strict=True)}
    known = {name: float(f"{densities[name]:.4g}") for name in sorted(names & densities.keys())} if densities else {}
    return {"densities": known} if known else {}


def _logit_targets(local: LocalReplacement, targets: Sequence[Target]) -> Targets:
    offsets = torch.tensor([target.offset for target in targets], dtype=local.final.dtype, device=local.final.device)
    layer = np.full(len(targets), len(local.features))
    return Targets(layer, np.array([target.pos for target in targets]), stack_vectors(targets), offsets)


# ---- all edges ----


def _all_edges(attributor: Attributor, logits: Targets, progress: bool) -> Links:
    """Edges into every active feature and every logit, written straight into compressed rows."""
    local, sources = attributor.local, attributor.sources
    targets = Targets.join([*(feature_targets(local, layer) for layer in range(len(local.features))), logits])
    first = sources.n_rows + len(logits) - len(targets)
    runs = [
        SharedSources(first + start, first + stop, _columns(sources, layer, pos))
        for start, stop, layer, pos in targets.runs()
    ]
    sizes = [(run.stop - run.start) * len(run.sources) for run in runs]
    weight = torch.empty(sum(sizes), dtype=local.final.dtype)
    matrices = [part.view(run.stop - run.start, -1) for part, run in zip(weight.split(sizes), runs, strict=True)]
    _fill(attributor, targets, matrices, progress)
    return Links.from_runs(runs, weight.numpy(), sources.n_rows + len(logits))


def _columns(sources: Sources, layer: int, pos: int) -> Int[np.ndarray, " edge"]:
    return np.concatenate([np.arange(a, b, dtype=np.int32) for a, b in sources.ranges(layer, pos)])


def _fill(
    attributor: Attributor, targets: Targets, matrices: list[Float[Tensor, "_ _"]], progress: bool = False
) -> None:
    """Edges of targets into matrices on the CPU, one per run, computed where the network lives."""
    device = targets.vectors.device
    there = matrices if device.type == "cpu" else [torch.empty_like(matrix, device=device) for matrix in matrices]
    with tqdm(total=len(targets), desc="attributing", unit="node", delay=2, disable=not progress) as bar:
        run_side_by_side(attributor.jobs(targets, there), bar.update)
    for matrix, computed in zip(matrices, there, strict=True):
        if computed is not matrix:
            matrix.copy_(computed)


# ---- the most influential features ----


@dataclass(frozen=True)
class EdgeRows:
    """Edges of the targets at one layer and position: `weights[i, j]` from row columns[j] to row rows[i].

    `totals` are the sums of absolute weights, constants left out, from before anything was folded.
    """

    layer: int
    rows: Int[np.ndarray, " target"]
    columns: Int[np.ndarray, " edge"]
    weights: Float[np.ndarray, "target edge"]
    totals: Float[np.ndarray, " target"]

    @property
    def size(self) -> int:
        return self.weights.size + self.columns.size


def _edge_rows(attributor: Attributor, targets: Targets, rows: Int[np.ndarray, " target"]) -> list[EdgeRows]:
    sources, runs = attributor.sources, list(targets.runs())
    columns = [_columns(sources, layer, pos) for _, _, layer, pos in runs]
    matrices = [
        torch.empty(run[1] - run[0], len(into), dtype=attributor.local.final.dtype)
        for run, into in zip(runs, columns, strict=True)
    ]
    _fill(attributor, targets, matrices)
    found = []
    for (start, stop, layer, _), into, matrix in zip(runs, columns, matrices, strict=True):
        weights = matrix.numpy()
        totals = np.stack([np.abs(row[sources.n_constants :]).sum() for row in weights])
        found.append(EdgeRows(layer, rows[start:stop], into, weights, totals))
    return found


def _most_influential_edges(
    attributor: Attributor, logits: Targets, targets: Sequence[Target], max_features: int, progress: bool
) -> tuple[Links, Bool[np.ndarray, " row"]]:
    """Edges of the `max_features` most influential features, chosen in rounds, and which source rows are kept.

    Rows that would take more than `LARGEST_ROWS` are narrowed once: to the features that by then have most influence,
    many times as many as are asked for, out of which the rest is chosen. The edges stay exact.
    """
    local, sources = attributor.local, attributor.sources
    n_features = sum(map(len, local.features))
    first_feature = sources.n_rows - n_features
    logit_rows = sources.n_rows + np.arange(len(targets))
    blocks = _edge_rows(attributor, logits, logit_rows)
    importance = np.array([1.0 if target.probability is None else target.probability for target in targets])
    chosen = np.zeros(sources.n_rows, dtype=bool)
    per_round = max(max_features // 8, 32)  # few rounds, each of which sees what the last ones found
    per_round = min(per_round, max(8, LARGEST_ROWS // 8 // sources.n_rows))
    candidates = None
    with tqdm(total=max_features, desc="attributing", unit="feature", delay=2, disable=not progress) as bar:
        while (missing := max_features - int(chosen.sum())) > 0:
            influence = _influence(blocks, importance, sources)
            influence[:first_feature] = -1.0
            influence[chosen] = -1.0
            if candidates is None and sum(block.size for block in blocks) > LARGEST_ROWS // 4:
                candidates = _candidates(influence, chosen, first_feature, max_features)
                blocks = _folded(blocks, candidates, sources)
            if candidates is not None:
                influence[~candidates] = -1.0
            best = np.sort(np.argsort(-influence, kind="stable")[: min(per_round, missing)])
            chosen[best] = True
            parts = [
                feature_targets(local, layer, best[(best >= starts[0]) & (best < starts[-1])] - int(starts[0]))
                for layer, starts in enumerate(sources.position_starts)
            ]
            fresh = _edge_rows(attributor, Targets.join(parts), best)
            blocks += fresh if candidates is None else _folded(fresh, candidates, sources)
            bar.update(len(best))
    kept = chosen.copy()
    kept[:first_feature] = True
    return _fold(blocks, kept, sources), kept


def _influence(
    blocks: list[EdgeRows], importance: Float[np.ndarray, " logit"], sources: Sources
) -> Float[np.ndarray, " row"]:
    """Influence on the logits of every source through the rows computed so far (constants take no part)."""
    influence = np.zeros(sources.n_rows + len(importance))
    influence[sources.n_rows :] = importance / importance.sum()
    for block in sorted(blocks, key=lambda block: -block.layer):
        magnitude = np.abs(block.weights[:, sources.n_constants :])
        share = influence[block.rows] / np.maximum(block.totals, np.finfo(magnitude.dtype).tiny)
        influence[block.columns[sources.n_constants :]] += share @ magnitude
    return influence[: sources.n_rows]


def _candidates(
    influence: Float[np.ndarray, " row"], chosen: Bool[np.ndarray, " row"], first_feature: int, max_features: int
) -> Bool[np.ndarray, " row"]:
    """The rows that may still be chosen, with those that were and all that are no features."""
    n = max(2 * max_features, LARGEST_ROWS // 2 // max_features)
    candidates = chosen.copy()
    candidates[:first_feature] = True
    candidates[np.argsort(-influence, kind="stable")[:n]] = True
    return candidates


def _folded(blocks: list[EdgeRows], kept: Bool[np.ndarray, " row"], sources: Sources) -> list[EdgeRows]:
    """The same rows with edges from kept sources; a dropped feature's join those of its layer and position's error."""
    destination = np.arange(sources.n_rows)
    for layer, starts in enumerate(sources.position_starts):
        at = np.repeat(np.arange(sources.n_positions), np.diff(starts))
        rows = np.arange(starts[0], starts[-1])
        dropped = ~kept[rows]
        destination[rows[dropped]] = sources.error(layer) + at[dropped] - sources.first_error
    found = []
    for block in blocks:
        columns, inverse = np.unique(destination[block.columns], return_inverse=True)
        weights = np.empty((len(block.rows), len(columns)), dtype=block.weights.dtype)
        for i, row in enumerate(block.weights):
            weights[i] = np.bincount(inverse, weights=row, minlength=len(columns))
        found.append(replace(block, columns=columns.astype(np.int32), weights=weights))
    return found


def _fold(blocks: list[EdgeRows], kept: Bool[np.ndarray, " row"], sources: Sources) -> Links:
    """Compressed rows over the kept nodes; see `_folded`."""
    new_row = np.cumsum(kept) - 1
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    n_kept = int(kept.sum())
    for block in _folded(blocks, kept, sources):
        columns = new_row[block.columns].astype(np.int32)
        for row, weights in zip(block.rows, block.weights, strict=True):
            at = int(new_row[row]) if row < sources.n_rows else n_kept + int(row) - sources.n_rows
            parts[at] = columns, weights
    n_rows = max(parts) + 1
    counts = np.array([len(parts[row][0]) if row in parts else 0 for row in range(n_rows)])
    order = sorted(parts)
    return Links(
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([parts[row][0] for row in order]),
        np.concatenate([parts[row][1] for row in order]),
    )


# ---- the node table ----


def _node_table(
    model: Model,
    attributor: Attributor,
    targets: Sequence[Target],
    kept: Bool[np.ndarray, " row"] | None,
    labels: Mapping[str, str],
) -> pd.DataFrame:
    """`Graph.nodes` without influence, in the order of `Sources`, then the targets in theirs."""
    local, sources = attributor.local, attributor.sources
    tokens, positions, layers = local.tokens.tolist(), range(sources.n_positions), range(sources.n_layers)
    errors = [(layer, pos) for layer in layers for pos in positions[sources.first_error :] if sources.errors]
    rest = OTHER_NEURONS if local.transcoder.exact else None
    parts = [
        _nodes_of("constant", attributor.leaves.constants),
        _nodes_of(
            "token",
            [f"E_{token}_{pos}" for pos, token in enumerate(tokens)],
            pos=positions,
            token_id=tokens,
            token=model.token_strings(tokens),
        ),
        _nodes_of(
            "error",
            [f"{layer}_-1_{pos}" for layer, pos in errors],
            layer=[layer for layer, _ in errors],
            pos=[pos for _, pos in errors],
            label=[rest] * len(errors),
        ),
        *(_feature_rows(local, layer, labels) for layer in layers),
        _nodes_of(
            "logit",
            [
                f"{model.n_layers + 1}_{f'd{i}' if target.token_id is None else target.token_id}_{target.pos}"
                for i, target in enumerate(targets)
            ],
            pos=[target.pos for target in targets],
            token_id=[target.token_id for target in targets],
            token=[target.label for target in targets],
            pre_activation=[target.pre_activation for target in targets],
            probability=[target.probability for target in targets],
        ),
    ]
    table = pd.DataFrame(
        {column: _column(dtype, [part[column] for part in parts]) for column, dtype in TRACED_COLUMNS.items()}
    )
    if kept is None:
        return table
    return table.loc[np.concatenate([kept, np.ones(len(targets), dtype=bool)])].reset_index(drop=True)


TRACED_COLUMNS = {column: dtype for column, dtype in NODE_COLUMNS.items() if column not in ("influence", "supernode")}
"""The columns that tracing fills."""


def _nodes_of(kind: str, ids: Sequence[str], **values: Sequence) -> dict[str, Sequence]:
    """Columns of nodes of one kind; what is not given is missing."""
    missing = [None] * len(ids)
    return {column: values.get(column, missing) for column in TRACED_COLUMNS} | {"id": ids, "kind": [kind] * len(ids)}


def _feature_rows(local: LocalReplacement, layer: int, labels: Mapping[str, str]) -> dict[str, Sequence]:
    active = local.features[layer]
    pos, feature = active.pos.tolist(), active.feature.tolist()
    return _nodes_of(
        "feature",
        [f"{layer}_{index}_{at}" for index, at in zip(feature, pos, strict=True)],
        layer=[layer] * len(pos),
        pos=pos,
        feature=feature,
        activation=active.activation.tolist(),
        pre_activation=active.pre_activation.tolist(),
        label=[labels.get(f"L{layer}/{index}") for index in feature] if labels else [None] * len(pos),
    )


def _column(dtype: str, parts: Sequence[Sequence]) -> pd.api.extensions.ExtensionArray | np.ndarray:
    """One column of that pandas type from pieces in which None is missing."""
    values = [value for part in parts for value in part]
    if dtype == "string":
        return pd.array(values, dtype=dtype)
    absent = np.array([value is None for value in values], dtype=bool)
    numbers = [0 if value is None else value for value in values]
    if dtype == "float64":
        return np.where(absent, np.nan, np.array(numbers, dtype=np.float64))
    return pd.arrays.IntegerArray(np.array(numbers, dtype=dtype.lower()), absent)
