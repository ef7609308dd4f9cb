"""The page's strongest paths, as HTML, and its tables of nodes and edges, as data for the script."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuitlab.graph import Graph
from circuitlab.page.text import clean, html, percent, signed
from circuitlab.paths import word_of
from circuitlab.routes import routes

EDGES_TO_ROUTE = 100_000_000
"""How many edges to go over for the routes of one page."""


def paths_section(graph: Graph, shown: Graph, n_paths: int) -> str:
    head = "<h2>Strongest paths</h2>"
    try:
        paths = graph.paths(n_paths)
    except ValueError as error:
        return f'{head}<p class="note">None to show: {html(str(error), 400)}.</p>'
    if not len(paths):
        return f'{head}<p class="note">No path leads from a token to the answer.</p>'
    row_of = {node_id: row for row, node_id in enumerate(shown.nodes["id"])}
    amounts = paths["contribution"].to_numpy(dtype=float)
    shares = paths["share"].to_numpy(dtype=float)
    largest = float(np.abs(amounts).max()) or 1.0
    items = "\n".join(
        _path_item(graph, row_of, ids, amount, share, largest)
        for ids, amount, share in zip(paths["nodes"], amounts.tolist(), shares.tolist(), strict=True)
    )
    note = (
        "What each chain of nodes, from a token to the answer, adds to the answer's pre-activation"
        f"{'' if np.isnan(shares).all() else ', and its share of that'}. All paths together are the whole."
    )
    return f'{head}<p class="note">{note}</p><ol class="paths">{items}</ol>'


def routes_section(graph: Graph, shown: Graph, n_routes: int) -> str:
    """The strongest routes, where features have labels and pre-activations; on a huge graph over fewer labels."""
    feature = graph.kind_mask("feature")
    labelled = graph.nodes["label"].notna().to_numpy(dtype=bool) & feature
    unknown = graph.nodes["pre_activation"].isna().to_numpy(dtype=bool) & feature
    if not len(graph.targets) or not labelled.any() or unknown.any():
        return ""
    n_labels = max(1, min(40, EDGES_TO_ROUTE // max(len(graph.links), 1)))
    table = routes(graph, n_routes, n_labels=n_labels)
    if not len(table):
        return ""
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(shown.nodes["label"].tolist()):
        if isinstance(label, str):
            rows_of.setdefault(label, []).append(row)
    amounts = table["contribution"].to_numpy(dtype=float)
    largest = float(np.abs(amounts).max()) or 1.0
    items = []
    for route, amount in zip(table.to_dict(orient="records"), amounts.tolist(), strict=True):
        rows = " ".join(map(str, rows_of.get(route["label"], [])))
        count = f"{route['features']} feature{'' if route['features'] == 1 else 's'}"
        chain = (
            f'<span class="chip token">{html(route["word"])}</span><i>→</i>'
            f'<span class="chip feature">{html(route["label"])} <small>{count}</small></span><i>→</i>'
            f'<span class="chip logit">{html(route["target"])}</span>'
        )
        items.append(_line(f'data-group="{rows}"', amount, route["share"], largest, chain))
    return (
        '<h2>Strongest routes</h2><p class="note">Every path from a word to the answer through features of one label, '
        f'added up. Routes through different labels overlap.</p><ol class="paths">{"".join(items)}</ol>'
    )


def _path_item(
    graph: Graph, row_of: dict[str, int], ids: Iterable[str], amount: float, share: float, largest: float
) -> str:
    ids = list(ids)
    rows = " ".join(str(row_of.get(node_id, -1)) for node_id in ids)
    chain = "<i>→</i>".join(_chip(graph, graph.row(node_id)) for node_id in ids)
    return _line(f'data-path="{rows}"', amount, share, largest, chain)


def _line(data: str, amount: float, share: float, largest: float, chain: str) -> str:
    return (
        f'<li {data} tabindex="0"><span class="weight">{signed(amount)}</span>'
        f'<span class="share">{_bar(amount / largest)}{percent(share)}</span><span class="chain">{chain}</span></li>'
    )


def _chip(graph: Graph, row: int) -> str:
    kind, pos = graph.nodes[["kind", "pos"]].astype(object).iloc[row]
    at = "" if pd.isna(pos) else int(pos)
    name = word_of(graph.tokens, at) if kind == "token" and at != "" else graph.names[row]
    small = f" <small>{html(graph.tokens[at])}</small>" if kind == "feature" and at != "" else ""
    return f'<span class="chip {escape(kind)}">{html(name)}{small}</span>'


def _bar(share: float) -> str:
    sign = "negative" if share < 0 else "positive"
    return (
        f'<svg class="bar {sign}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{min(abs(share), 1.0) * 100:.1f}" height="6"/></svg>'
    )


def table_section(name: str, title: str, note: str) -> str:
    return (
        f'<section aria-label="{title}"><h2>{title}</h2><p class="note">{escape(note)}</p>'
        f'<div id="{name}-table"><noscript>The tables need JavaScript.</noscript></div></section>'
    )


def edge_note(shown: Graph, n_listed: int) -> str:
    note = "Weight is the signed contribution to the target's pre-activation; share is of all |weight| into the target."
    if n_listed == len(shown.links):
        return note
    return f"{note} Listed are {n_listed:,} of {len(shown.links):,} edges: the strongest, and those drawn."


def listed_edges(graph: Graph, limit: int, drawn: Int[np.ndarray, " drawn"]) -> Int[np.ndarray, " edge"]:
    """The strongest edges and all that are drawn, by falling |weight|, as indices into `graph.links`."""
    size = np.abs(graph.links.weight)
    strongest = np.argsort(-size, kind="stable")[:limit]
    listed = np.union1d(strongest[size[strongest] > 0], drawn)
    return listed[np.argsort(-size[listed], kind="stable")]


def script_data(whole: Graph, shown: Graph, listed: Int[np.ndarray, " edge"], widget: dict[str, Any]) -> str:
    """What the script reads (widgets/src/shared/data.ts), as JSON that can stand inside a script element; `widget` as
    `circuitlab.widgets.columns.page_data` gives it."""
    return _json({**_columns(whole, shown, listed), "widget": widget})


def _columns(whole: Graph, shown: Graph, listed: Int[np.ndarray, " edge"]) -> dict[str, Any]:
    nodes = shown.nodes
    target = shown.links.targets()[listed]
    into = pd.Series(whole.links.row_sums(absolute=True), index=whole.nodes["id"].astype(object))
    size = into.reindex(nodes["id"].astype(object)).to_numpy(dtype=float)[target]
    weight = shown.links.weight[listed].astype(np.float64)
    return {
        "tokens": [clean(token) for token in shown.tokens],
        "nodes": {
            "id": [clean(node_id) for node_id in nodes["id"]],
            "kind": list(nodes["kind"]),
            "name": [clean(name) for name in shown.names],
            "supernode": [None if pd.isna(text) else clean(text) for text in nodes["supernode"]],
            **{name: _whole_numbers(nodes[name].tolist()) for name in ("layer", "pos", "feature")},
            **{
                name: _numbers(nodes[name].to_numpy(dtype=float))
                for name in ("activation", "pre_activation", "probability", "influence")
            },
        },
        "edges": {
            "source": shown.links.source[listed].tolist(),
            "target": target.tolist(),
            "weight": _numbers(weight),
            "share": _numbers(np.divide(np.abs(weight), size, out=np.full(len(size), np.nan), where=size > 0)),
        },
    }


def _whole_numbers(values: list[Any]) -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in values]


def _numbers(values: Float[np.ndarray, " any"]) -> list[float | None]:
    """To six digits; what is missing or not finite is null."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _json(data: Any) -> str:
    """No "<" in it ends the element or opens a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
