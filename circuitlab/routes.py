"""Routes: how much of an answer runs from which word through which kind of feature.

Single paths are many and small where a model spreads a concept over several features. A route adds up all of them:
from the tokens of one word, through at least one of the features that share a label, into the target. With the share
matrix T_{s→t} = A_{s→t} / p_t (p_t the pre-activation of t; see `circuitlab.paths`), what node s adds to the target y,
directly and along all paths, is

    c_s = A_{s→y} + Σ_t T_{s→t} c_t

and the part that runs through a set M of nodes is c_s minus the same sum with M left out. It is exact, and routes
through different labels overlap: a path may pass several.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from circuitlab.graph import Graph
from circuitlab.paths import passing, target_row, word_of


def contributions(
    graph: Graph, target: str, without: Bool[np.ndarray, " node"] | None = None
) -> Float64[np.ndarray, " node"]:
    """c: what each node adds to the pre-activation of `target` along all paths, or all that avoid `without`."""
    links, end = graph.links, graph.row(target)
    share = passing(graph)
    blocked = np.zeros(len(graph.nodes), dtype=bool) if without is None else without
    total = np.zeros(len(graph.nodes))
    for row in range(end, -1, -1):
        span = slice(links.indptr[row], links.indptr[row + 1])
        if span.start == span.stop or blocked[row] or not (row == end or total[row]):
            continue
        scale = 1.0 if row == end else total[row] * share[row]
        total[links.source[span]] += scale * links.weight[span]
    total[blocked] = 0.0
    return total


def routes(graph: Graph, n: int = 10, target: str | None = None, n_labels: int = 40) -> pd.DataFrame:
    """The n strongest routes word → label → target by |contribution|, over the `n_labels` most influential labels.

    Columns: `word`, `label`, `target`, `contribution` (to the target's pre-activation), `share` (of it), `features`
    (how many share the label) and `text`. Empty where no feature has a label.
    """
    if n < 1:
        raise ValueError(f"n={n}: ask for at least 1 route")
    row = target_row(graph, target)
    end = str(graph.nodes["id"].iat[row])
    whole = float(graph.nodes["pre_activation"].iat[row])
    words = _words(graph)
    everything = contributions(graph, end)
    found = []
    for label, members in _labels(graph, n_labels).items():
        through = everything - contributions(graph, end, members)
        for word, tokens in words.items():
            amount = float(through[tokens].sum())
            found.append((word, label, amount, int(members.sum())))
    found.sort(key=lambda route: -abs(route[2]))
    answer = graph.names[row].strip()
    table = pd.DataFrame(found[:n], columns=["word", "label", "contribution", "features"])
    table.insert(2, "target", answer)
    table["share"] = table["contribution"] / whole
    table["text"] = [
        f"{word} → {label} → {answer}  {amount:+.2f}"
        for word, label, amount in zip(table["word"], table["label"], table["contribution"], strict=True)
    ]
    return table


def _words(graph: Graph) -> dict[str, list[int]]:
    """Token rows by the word they belong to; a word that comes twice carries its position."""
    groups: dict[int, list[int]] = {}
    ends: dict[int, int] = {}
    start = 0
    for row in graph.nodes.index[graph.kind_mask("token")]:
        pos = int(graph.nodes["pos"].iat[row])
        if graph.tokens[pos].startswith(" ") or "·" not in word_of(graph.tokens, pos):
            start = pos
        groups.setdefault(start, []).append(int(row))
        ends[start] = pos
    names = {start: word_of(graph.tokens, ends[start]) for start in groups}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {f"{names[at]}@{at}" if names[at] in twice else names[at]: rows for at, rows in groups.items()}


def _labels(graph: Graph, n_labels: int) -> dict[str, Bool[np.ndarray, " node"]]:
    """The features of each label, for the labels of most influence."""
    label = graph.nodes["label"].fillna("").to_numpy(dtype=object)
    label[~graph.kind_mask("feature")] = ""
    reach = np.nan_to_num(graph.nodes["influence"].to_numpy(dtype=np.float64))
    names = sorted({str(name) for name in label if name}, key=lambda name: -reach[label == name].sum())
    return {name: np.asarray(label == name) for name in names[:n_labels]}
