"""Writes a graph as graph JSON, which circuit-tracer's frontend, Neuronpedia and `read_graph_json` read.

A graph that was read from such a file gives its JSON values back; where a table was changed since, the table
wins. A graph of our own is written in schema version 1: features numbered by Cantor's pairing, errors as
`layer_-1_position`, `influence` as the cumulative fraction held by a node and all larger ones, a logit's name
as
`Output "token" (p=0.123)`. The same graph gives the same bytes. Links are written in pieces, so memory stays
bounded.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from circuitlab.formats.files import write_atomically
from circuitlab.formats.graph_json import described, pair, read_row, read_view
from circuitlab.graph import Graph
from circuitlab.pruning import cumulative_influence

TYPE_OF_KIND = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "token": "embedding",
    "logit": "logit",
    "constant": "bias",
}
LINKS_AT_ONCE = 100_000
# Where a changed column goes in a node that came from a file.
_FIELDS_OF_COLUMN = {
    "activation": ("activation",),
    "pre_activation": ("pre_activation",),
    "label": ("clerp", "label"),
    "token": ("clerp", "token"),
    "probability": ("clerp", "token_prob"),
}


def write_graph_json(graph: Graph, path: Path) -> Path:
    """Write a graph; the file is whole or absent."""
    return write_atomically(Path(path), _pieces(graph))


def _pieces(graph: Graph) -> Iterator[bytes]:
    side = graph.metadata.get("json") or {"file": {}, "nodes": {}, "links": {}}
    nodes = _nodes(graph, side)
    file = {**side["file"], "metadata": _metadata(graph, side, nodes)}
    file["qParams"] = _view(graph, side, nodes)
    head = _text(file, "graph.metadata")[:-1]
    yield f'{head},"nodes":['.encode("utf-8", "surrogatepass")
    yield ",".join(_text(node, "graph.nodes") for node in nodes.values()).encode("utf-8", "surrogatepass")
    yield b'],"links":['
    separator = ""
    for texts in _batched(_links(graph, side, nodes), LINKS_AT_ONCE):
        yield (separator + ",".join(texts)).encode("utf-8", "surrogatepass")
        separator = ","
    yield b"]}\n"


def _batched(items: Iterator[str], n: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(items, n)):
        yield batch


def _text(value: Any, where: str) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, np.ndarray):
            return item.tolist()
        raise ValueError(f"{where} holds a {type(item).__name__}, {item!r:.60}; graph files hold JSON values only")

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
    except ValueError as error:
        raise ValueError(f"{where} cannot be written as JSON: {error}") from error


def _nodes(graph: Graph, side: dict) -> dict[str, dict[str, Any]]:
    """The file's nodes by our ids: those of the side-car in its order, brought up to date, then new ones."""
    table = graph.nodes.astype(object).where(graph.nodes.notna(), None)
    rows = {row["id"]: row for row in table.to_dict("records")}
    reach = graph.nodes["influence"].to_numpy(float)
    shares = cumulative_influence(reach) if np.isfinite(reach).any() else np.full(len(reach), np.nan)
    fresh = {row["id"]: _fresh_node(graph, row, float(share)) for row, share in zip(rows.values(), shares, strict=True)}
    answers = [node for node in fresh.values() if node["feature_type"] == "logit"]
    for node in answers:
        node["is_target_logit"] = node is answers[0]
    order = [node_id for node_id in side["nodes"] if node_id in rows]
    order += [node_id for node_id in rows if node_id not in side["nodes"]]
    return {
        node_id: _updated(side, node_id, rows[node_id], fresh[node_id]) if node_id in side["nodes"] else fresh[node_id]
        for node_id in order
    }


def _updated(side: dict, node_id: str, row: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """A node of the file, with the fields of those columns that no longer say what the file said."""
    node, file = dict(side["nodes"][node_id]), side["file"]
    before = read_row("the side-car", 0, node, file["metadata"], file["metadata"]["prompt_tokens"])
    labels, _ = read_view(file.get("qParams", {}), "the side-car")
    before["label"] = labels.get(node["node_id"]) or before.get("label")
    for column, fields in _FIELDS_OF_COLUMN.items():
        if before.get(column) != row[column]:
            node |= {key: fresh[key] for key in fields if key in fresh}
    return node


def _fresh_node(graph: Graph, row: dict[str, Any], share: float) -> dict[str, Any]:
    kind = row["kind"]
    node: dict[str, Any] = {"node_id": row["id"]}
    node |= _PLACES[kind](graph, row)
    node |= {
        "token_prob": row["probability"] or 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "clerp": row["label"] or "",
        "influence": None if row["influence"] is None or np.isnan(share) else share,
        "activation": row["activation"],
    }
    if kind == "logit" and row["token"] is not None:
        node["clerp"] = f'Output "{row["token"]}" (p={row["probability"] or 0.0:.3f})'
        node["token"] = row["token"]
        node |= {"no_probability": True} if row["probability"] is None else {}
        node |= {"label": row["label"]} if row["label"] else {}
    node |= {"pre_activation": row["pre_activation"]} if row["pre_activation"] is not None else {}
    node |= {"total_influence": row["influence"]} if row["influence"] is not None else {}
    return node


def _place(feature: int | None, layer: str, pos: int, kind: str, js: str) -> dict[str, Any]:
    return {
        "feature": feature,
        "layer": layer,
        "ctx_idx": pos,
        "feature_type": TYPE_OF_KIND[kind],
        "jsNodeId": js,
    }


def _place_feature(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    layer, feature = row["layer"] or 0, row["feature"]
    number = None if feature is None else pair(layer, feature)
    return _place(number, str(layer), row["pos"] or 0, "feature", f"{layer}_{feature}-0")


def _place_error(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    layer, pos = row["layer"] or 0, row["pos"] or 0
    return _place(-1, str(layer), pos, "error", f"{layer}_{pos}-0")


def _place_token(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    pos = row["pos"] or 0
    return _place(pos, "E", pos, "token", f"E_{row['token_id']}-{pos}")


def _place_logit(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    pos, token_id = row["pos"] or 0, row["token_id"]
    name = row["id"].split("_")[1] if token_id is None and "_" in row["id"] else token_id
    return _place(token_id, str(graph.n_layers + 1), pos, "logit", f"L_{name}-{pos}")


def _place_constant(graph: Graph, row: dict[str, Any]) -> dict[str, Any]:
    return _place(None, "B", 0, "constant", f"B_{row['id']}-0")


_PLACES = {
    "feature": _place_feature,
    "error": _place_error,
    "token": _place_token,
    "logit": _place_logit,
    "constant": _place_constant,
}


def _metadata(graph: Graph, side: dict, nodes: dict[str, dict]) -> dict[str, Any]:
    own = {key: value for key, value in graph.metadata.items() if key not in ("json", "qParams")}
    pruned = own.get("pruned") or {}
    if side["file"]:
        metadata = {**side["file"]["metadata"]}
        metadata |= {"prompt_tokens": list(graph.tokens), "prompt": graph.prompt}
        if own == described(side["file"]["metadata"], side["nodes"].values()):
            return metadata
    else:
        metadata = {
            "slug": re.sub(r"[^a-z0-9]+", "-", graph.prompt.lower()).strip("-")[:60].strip("-") or "graph",
            "scan": str(own.get("model", "unknown")),
            "transcoder_list": [],
            "prompt_tokens": list(graph.tokens),
            "prompt": graph.prompt,
            "schema_version": 1,
            "info": {"generator": {"name": "circuitlab"}},
        }
    if pruned:
        metadata["node_threshold"] = pruned.get("nodes")
        metadata["pruning_settings"] = {
            "node_threshold": pruned.get("nodes"),
            "edge_threshold": pruned.get("edges"),
        }
    return {**metadata, "link_dtype": str(graph.links.weight.dtype), "circuitlab": own}


def _view(graph: Graph, side: dict, nodes: dict[str, dict]) -> dict[str, Any]:
    """qParams: those of `View.applied_to` or of the file, while its groups and labels still hold, else with ours."""
    fresh = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    view = dict(side["file"].get("qParams", {})) if side["file"] else fresh
    view |= _arranged(graph, view, nodes)
    labels, groups = read_view(view, "the side-car")
    ids = [nodes[node_id]["node_id"] for node_id in graph.nodes["id"]]
    ours = {node_id: text for node_id, text in zip(ids, graph.nodes["supernode"], strict=True) if not pd.isna(text)}
    if ours != {node_id: text for node_id, text in groups.items() if node_id in set(ids)}:
        members: dict[str, list[str]] = {}
        for node_id, text in ours.items():
            members.setdefault(text, []).append(node_id)
        view["supernodes"] = _as_before(view.get("supernodes"), [[text, *who] for text, who in members.items()])
    now = dict(zip(ids, graph.nodes["label"].fillna(""), strict=True))
    changed = {node_id: now[node_id] for node_id in labels if node_id in now and now[node_id] != labels[node_id]}
    if changed:
        view["clerps"] = _as_before(view.get("clerps"), [[k, v] for k, v in {**labels, **changed}.items()])
    return view


def _arranged(graph: Graph, before: dict[str, Any], nodes: dict[str, dict]) -> dict[str, Any]:
    """metadata["qParams"], in the file's ids and in the form its lists had there."""
    view = graph.metadata.get("qParams")
    if not isinstance(view, dict):
        return {}
    view = dict(view)
    pinned = [nodes[node_id]["node_id"] for node_id in view.get("pinnedIds", []) if node_id in nodes]
    groups = [
        [entry[0], *(nodes[i]["node_id"] for i in entry[1:] if i in nodes)] for entry in view.get("supernodes", [])
    ]
    view["pinnedIds"] = ",".join(pinned) if isinstance(before.get("pinnedIds"), str) else pinned
    view["supernodes"] = _as_before(before.get("supernodes"), [entry for entry in groups if len(entry) > 1])
    clicked = view.get("clickedId")
    view["clickedId"] = nodes[clicked]["node_id"] if clicked in nodes else clicked or ""
    return view


def _as_before(old: Any, new: list) -> Any:
    """A saved page holds lists as JSON text; keep to the form that was there."""
    return json.dumps(new, ensure_ascii=False) if isinstance(old, str) else new


def _links(graph: Graph, side: dict, nodes: dict[str, dict]) -> Iterator[str]:
    """The links as JSON texts, by target and source in the order of the nodes, or in the file's own order."""
    rows = {node_id: row for row, node_id in enumerate(graph.nodes["id"])}
    index = np.empty(len(rows), dtype=np.int64)
    index[[rows[node_id] for node_id in nodes]] = np.arange(len(nodes))
    source, target = index[graph.links.source], index[graph.links.targets()]
    order = np.lexsort((source, target))
    file_order = side.get("link_order")
    if file_order is not None and len(file_order) == len(order) and len(nodes) == len(side["nodes"]):
        order = order[np.argsort(file_order)]
    ids = [node["node_id"] for node in nodes.values()]
    quoted = [_text(node_id, "graph.nodes") for node_id in ids]
    for span in np.array_split(order, max(len(order) // LINKS_AT_ONCE, 1)):
        for s, t, w in zip(
            source[span].tolist(), target[span].tolist(), _numbers(graph.links.weight[span]), strict=True
        ):
            text = f'{{"source":{quoted[s]},"target":{quoted[t]},"weight":{w}}}'
            extra = side["links"].get(f"{ids[s]} {ids[t]}") if side["links"] else None
            yield f"{text[:-1]},{_text(extra, 'a link')[1:]}" if extra else text


def _numbers(weight: np.ndarray) -> list[str]:
    """The shortest text of each number that reads back as the same float32 or float64."""
    if weight.dtype == np.float64:
        return [repr(value) for value in weight.tolist()]
    return [_json_number(text) for text in weight.astype(str).tolist()]


def _json_number(text: str) -> str:
    return text + "0" if text.endswith(".") else text
