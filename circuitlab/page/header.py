"""The page's header and the words around its figure: what was asked, what came out, how far to trust it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from circuitlab.graph import Graph
from circuitlab.page.text import html, percent, score


def masthead() -> str:
    half_moon = "M8 1a7 7 0 1 0 0 14zM8 0a8 8 0 1 1 0 16A8 8 0 0 1 8 0z"
    icon = f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{half_moon}"/></svg>'
    return (
        '<header class="masthead"><span><strong>circuitlab</strong> · attribution graph</span>'
        f'<button type="button" id="theme" hidden>{icon}</button></header>'
    )


def headline(graph: Graph) -> str:
    prompt = f'<span class="prompt">{html(without_bos(graph), 2000)}</span>'
    named = {node_id: graph.names[graph.row(node_id)] for node_id in graph.targets["id"]}
    answers = [
        (html(named[node_id]), percent(chance))
        for node_id, chance in zip(graph.targets["id"], graph.targets["probability"], strict=True)
    ]
    if not answers:
        return f"<h1>{prompt}</h1>"
    (best, chance), *others = answers
    first = f'<h1>{prompt} <span class="answer">{best}</span> <span class="chance">{chance}</span></h1>'
    then = "".join(f"<span><b>{name}</b> {chance}</span>" for name, chance in others[:5])
    return first + (f'<div class="answers"><span>then</span>{then}</div>' if then else "")


def without_bos(graph: Graph) -> str:
    """The prompt as people write it: some files spell out the token that every prompt begins with."""
    first = graph.tokens[0] if graph.tokens else ""
    spelt_out = first.startswith("<") and first.endswith(">") and graph.prompt.startswith(first)
    return graph.prompt[len(first) :] if spelt_out and len(graph.prompt) > len(first) else graph.prompt


def summary(graph: Graph, shown: Graph, check: Mapping[Hashable, Any]) -> str:
    """Where the graph comes from, how large it is and how far it explains the answer. `check` as in
    `Graph.check().attrs`."""
    scores = graph.scores()
    features = graph.metadata.get("active_features")
    features = features if isinstance(features, int) else int(graph.kind_mask("feature").sum())
    open_ = bool(check["note"]) or np.isnan(check["worst"])
    cells = [
        _cell("Model", graph.metadata.get("model", "not named"), wide=True),
        _cell("Transcoder", graph.metadata.get("transcoder", "not named"), wide=True),
        _cell(
            "Active features",
            f"{features:,}",
            f"{int(shown.kind_mask('feature').sum()):,} shown",
            "Features that are on somewhere in the prompt",
        ),
        _cell(
            "Check",
            "open" if open_ else f"{check['worst']:.1e}",
            "see the note below" if open_ else "largest relative miss",
            "How far the in-edges of any target are from adding up to its pre-activation",
        ),
        _cell(
            "Replacement",
            score(scores.replacement),
            "through features",
            "Of the influence that ends in tokens and errors, the part that ends in tokens",
        ),
        _cell(
            "Completeness",
            score(scores.completeness),
            "not from errors",
            "The share of non-error input over all nodes, weighted by influence",
        ),
    ]
    return f'<dl class="summary">{"".join(cells)}</dl>'


def _cell(term: str, value: object, small: str = "", hint: str = "", wide: bool = False) -> str:
    kind = ' class="wide"' if wide else f' title="{hint}"'
    below = f"<small>{small}</small>" if small else ""
    return f"<div{kind}><dt>{term}</dt><dd>{html(str(value), 80)}{below}</dd></div>"


def what_is_shown(graph: Graph, shown: Graph, n_drawn: int, note: str) -> str:
    """In words: what was pruned, what of it is drawn, and why the check says nothing, if so."""
    sentences = []
    (n_nodes, n_edges), left = graph.counts, shown.counts
    if shown is not graph:
        how, scores = shown.metadata["pruned"], shown.scores()
        sentences.append(
            f"Pruned to the nodes that hold {100 * how['nodes']:g}% of the influence on the answers and the "
            f"edges that hold {100 * how['edges']:g}% of what runs between those: {left[0]:,} of "
            f"{n_nodes:,} nodes, {left[1]:,} of {n_edges:,} edges. Of this part "
            f"alone replacement is {score(scores.replacement)} and completeness {score(scores.completeness)}."
        )
    elif "pruned" in graph.metadata:
        sentences.append(f"This graph was pruned before: {n_nodes:,} nodes and {n_edges:,} edges.")
    else:
        sentences.append(f"The whole graph: {n_nodes:,} nodes and {n_edges:,} edges.")
    if n_drawn < len(shown.links):
        sentences.append(
            f"The figure draws the {n_drawn:,} most influential edges; pointing at a node shows its others."
        )
    if note:
        sentences.append(f"The check is open: {note}.")
    return " ".join(sentences)


def below_figure() -> str:
    def key(markup: str, text: str) -> str:
        return f'<span><svg viewBox="0 0 26 12" aria-hidden="true">{markup}</svg>{text}</span>'

    legend = "".join(
        [
            key('<path class="positive" d="M0 6H26"/>', "raises its target"),
            key('<path class="negative" stroke-dasharray="5 3" d="M0 6H26"/>', "lowers it"),
            key('<circle class="mark" cx="13" cy="6" r="5"/>', "feature, larger with influence"),
            key(
                '<g class="error"><path class="mark" d="M13 1l5 5-5 5-5-5z"/></g>',
                "error: what the transcoder missed; without one, the neurons that are no nodes",
            ),
        ]
    )
    hint = "Point at a node or edge to follow it; click a node to pin it and see what it gets and gives."
    return f'<div id="details"><p class="hint">{hint}</p></div><div class="legend" aria-hidden="true">{legend}</div>'
