"""Reads graph JSON, the files of circuit-tracer, Neuronpedia and Anthropic's frontend, without loss.

`metadata`, `qParams`, `nodes` and `links` become a `Graph`. What the tables do not hold (other properties,
the order of nodes and links, ids in an older form) is kept in `graph.metadata["json"]`, so that
`write_graph_json` gives the same JSON values back; where a table was changed since, the table wins. Our own
additions are further properties: nodes of type `bias` (constants), `pre_activation`, `total_influence`, `label`,
`token`, `no_probability` (a logit of which none is known), `metadata.circuitlab` and `metadata.link_dtype`.

Differences between file and table: a file's `influence` is the cumulative fraction held by a node and all
larger ones (small means important), the table's is influence itself; a file from elsewhere was pruned and
does not hold it, so it is computed from the links there are. Layouts of ids: FORMATS in the project's notes;
"Circuit Tracing" (2025), https://transformer-circuits.pub/2025/attribution-graphs/methods.html.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from circuitlab.graph import KINDS, NODE_COLUMNS, Graph
from circuitlab.links import Links

KIND_OF_TYPE = {
    "cross layer transcoder": "feature",
    "lorsa": "feature",
    "unknown": "feature",
    "unexplored node": "feature",
    "mlp reconstruction error": "error",
    "lorsa error": "error",
    "embedding": "token",
    "logit": "logit",
    "bias": "constant",
}
_NODE_FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    "node_id": ((str,), True),
    "feature": ((int, type(None)), True),
    "layer": ((str, int), True),
    "ctx_idx": ((int,), True),
    "feature_type": ((str,), True),
    "jsNodeId": ((str,), True),
    "clerp": ((str, type(None)), True),
    "influence": ((int, float, type(None)), False),
    "activation": ((int, float, type(None)), False),
    "token_prob": ((int, float, type(None)), False),
    "pre_activation": ((int, float, type(None)), False),
    "total_influence": ((int, float, type(None)), False),
}
STEPS = ("parse", "nodes", "links", "order", "tables")
"""What opening a large file goes through, each about as long as the next."""
LARGEST_INDEX = 2**31 - 1
MOST_COMPARED = 2000
"""How many ids a mistyped one is compared with: that takes a few microseconds each."""
_WHOLE = re.compile("[0-9]{1,18}")
_CLERP = re.compile(r'^Output "(?P<token>.*)" \(p=(?P<chance>[0-9.eE+-]+)\)$', re.DOTALL)


def read_graph_json(path: Path, progress: bool = True) -> Graph:
    """Read a graph; a malformed file is one ValueError that names file, key, what was found and expected.

    `progress` shows a bar of `STEPS` where that takes longer than a second.
    """
    path = Path(path)
    with tqdm(total=len(STEPS), desc=f"opening {path.name}", unit="step", delay=1, disable=not progress) as bar:
        data = load_json(path)
        bar.update()
        return graph_from_json(data, str(path), bar.update)


def graph_from_json(data: Any, name: str = "graph", done: Callable[[], object] = lambda: None) -> Graph:
    """The graph in a parsed file; `name` stands in errors, `done` hears of every step after the first."""
    try:
        return _graph(data, name, done)
    except (ValueError, OverflowError, RecursionError) as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ValueError(f"{name}: {error}") from error


def _graph(data: Any, name: str, done: Callable[[], object]) -> Graph:
    metadata, tokens, view = read_head(data, name)
    nodes = _member(name, data, "nodes", (list,))
    links = _member(name, data, "links", (list,))

    rows = [read_row(name, i, node, metadata, tokens) for i, node in enumerate(nodes)]
    _add_groups(rows, nodes, view, name)
    done()
    target, source, weight = _read_links(name, nodes, links)
    done()
    order = _topological(name, rows, source, target)
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=list(NODE_COLUMNS))
    said = _our_metadata(data, rows, target, source)
    check_metadata({**said, "json": None}, name)  # the side-car is what has just been read
    done()
    if metadata.get("link_dtype") == "float32":
        weight = weight.astype(np.float32)
    edges = Links.from_pairs(place[target], place[source], weight, len(rows))
    graph = Graph(metadata["prompt"], tuple(tokens), table, edges, said)
    done()
    return graph


def read_head(data: Any, name: str) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """A file's metadata, tokens and qParams."""
    _expect(name, "the file", data, (dict,), "an object with metadata, qParams, nodes and links")
    metadata = _member(name, data, "metadata", (dict,))
    for key in ("slug", "scan", "prompt"):
        _member(name, metadata, key, (str,), "metadata.")
    tokens = _member(name, metadata, "prompt_tokens", (list,), "metadata.")
    for i, token in enumerate(tokens):
        _expect(name, f"metadata.prompt_tokens[{i}]", token, (str,), "text")
    view = data.get("qParams", {})
    return metadata, tokens, _expect(name, "qParams", view, (dict,), "an object")


def check_metadata(metadata: dict[str, Any], name: str) -> None:
    """ValueError where a file's `Graph.metadata` holds what nothing of ours writes: `pruned` and the side-car."""
    _expect(name, "metadata.pruned", metadata.get("pruned"), (dict, type(None)), "an object or null")
    side = _expect(name, "metadata.json", metadata.get("json"), (dict, type(None)), "an object or null")
    if side is None:
        return
    file, nodes, links = (_member(name, side, key, (dict,), "metadata.json.") for key in ("file", "nodes", "links"))
    order = side.get("link_order")
    whole = order is None or (isinstance(order, list) and all(type(place) is int for place in order))
    if not whole or (order and sorted(order) != list(range(len(order)))):
        _fail(name, "metadata.json.link_order", order, "every whole number below its length once")
    for key, extra in links.items():
        _expect(name, f"metadata.json.links[{key!r}]", extra, (dict,), "an object")
    if file or nodes:
        head, tokens, view = read_head(file, name)
        read_view(view, name)
        for i, node in enumerate(nodes.values()):
            read_row(name, i, node, head, tokens)


def _fail(name: str, key: str, found: Any, expected: str) -> NoReturn:
    shown = repr(found)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    raise ValueError(f"{name}: {key} is {shown}; expected {expected}")


def _expect(name: str, key: str, value: Any, types: tuple[type, ...], expected: str) -> Any:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        _fail(name, key, value, expected)
    return value


def _member(name: str, owner: dict, key: str, types: tuple[type, ...], where: str = "") -> Any:
    if key in owner and type(owner[key]) in types:
        return owner[key]
    kind = " or ".join(_TYPE_NAMES[t] for t in types)
    if key not in owner:
        found = ", ".join(owner) or "nothing"
        raise ValueError(f"{name}: {where}{key} is missing; expected {kind} (found {found:.300})")
    return _expect(name, where + key, owner[key], types, kind)


_TYPE_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def load_json(path: Path) -> Any:
    def no_constant(word: str) -> NoReturn:
        raise ValueError(f"{path}: the number {word} is in the file; expected finite numbers only")

    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a graph file: byte {error.start} is not UTF-8 text; expected JSON") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not JSON, or cut off: {error.msg} at line {error.lineno}, column {error.colno} of "
            f"{path.stat().st_size:,} bytes; expected a graph file with metadata, qParams, nodes and links"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply; expected a graph file") from error
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def read_row(name: str, i: int, node: Any, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    """One node of the file as a row of the table."""
    where = f"nodes[{i}]"
    _expect(name, where, node, (dict,), "an object")
    for key, (types, required) in _NODE_FIELDS.items():
        if required:
            _member(name, node, key, types, f"{where}.")
        elif key in node:
            _expect(name, f"{where}.{key}", node[key], types, "a number or null")
            if isinstance(node[key], float) and not math.isfinite(node[key]):
                _fail(name, f"{where}.{key}", node[key], "a finite number")
    kind = KIND_OF_TYPE.get(node["feature_type"])
    if kind is None:
        _fail(name, f"{where}.feature_type", node["feature_type"], f"one of {', '.join(KIND_OF_TYPE)}")
    if kind != "constant" and not 0 <= node["ctx_idx"] < len(tokens):
        _fail(name, f"{where}.ctx_idx", node["ctx_idx"], f"a position from 0 to {len(tokens) - 1}")
    row: dict[str, Any] = {"id": node["node_id"], "kind": kind}
    if kind != "constant":
        row["pos"] = node["ctx_idx"]
    row |= {key: node[key] for key in ("activation", "pre_activation") if node.get(key) is not None}
    if node.get("total_influence") is not None:
        row["influence"] = node["total_influence"]
    row |= _READERS[kind](name, where, node, metadata, tokens)
    return row


def _layer(name: str, where: str, node: dict) -> int:
    try:
        return int(node["layer"])
    except ValueError:
        _fail(name, f"{where}.layer", node["layer"], "a whole number, as text or number")


def _read_feature(name: str, where: str, node: dict, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    parts = node["node_id"].split("_")
    layer = _layer(name, where, node) if str(node["layer"]).lstrip("-").isdigit() else None
    row: dict[str, Any] = {"layer": layer} if layer is not None else {}
    if layer is None and node["feature_type"] == "cross layer transcoder":
        _layer(name, where, node)
    if len(parts) == 3 and _WHOLE.fullmatch(parts[1]):
        row["feature"] = int(parts[1]) if int(parts[1]) <= LARGEST_INDEX else None
    elif node["feature"] is not None and layer is not None:
        row["feature"] = unpair(node["feature"], layer, metadata.get("schema_version") == 1)
    if node["clerp"]:
        row["label"] = node["clerp"]
    return row


def _read_error(name: str, where: str, node: dict, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    layer = _layer(name, where, node)
    row: dict[str, Any] = {"layer": layer}
    if node["feature_type"] == "mlp reconstruction error":
        row["id"] = f"{layer}_-1_{node['ctx_idx']}"
    return row | ({"label": node["clerp"]} if node["clerp"] else {})


def _read_token(name: str, where: str, node: dict, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    parts = node["node_id"].split("_")
    row: dict[str, Any] = {"token": tokens[node["ctx_idx"]]}
    if len(parts) == 3 and _WHOLE.fullmatch(parts[1].removeprefix("-")):
        row["token_id"] = int(parts[1])
    return row | ({"label": node["clerp"]} if node["clerp"] else {})


def _read_logit(name: str, where: str, node: dict, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    parts = node["node_id"].split("_")
    if len(parts) == 3 and _WHOLE.fullmatch(parts[1]):
        row["token_id"] = int(parts[1])
    said = _CLERP.match(node["clerp"] or "")
    if said:
        row["token"] = said["token"]
        try:
            row["probability"] = float(said["chance"])
        except ValueError:
            _fail(name, f"{where}.clerp", node["clerp"], 'Output "token" (p=0.123)')
    elif node["clerp"]:
        row["label"] = node["clerp"]
    if node.get("token_prob"):
        row["probability"] = float(node["token_prob"])
    if node.get("no_probability") is True:
        row.pop("probability", None)
    chance = row.get("probability", 0.0)
    if not 0.0 <= chance <= 1.0:
        _fail(name, f"{where} has a probability that", chance, "from 0 to 1")
    row |= {key: node[key] for key in ("label", "token") if isinstance(node.get(key), str)}
    if "token" in node and "label" not in node:
        row.pop("label", None)
    return row


def _read_constant(name: str, where: str, node: dict, metadata: dict, tokens: list[str]) -> dict[str, Any]:
    return {"label": node["clerp"]} if node["clerp"] else {}


_READERS = {
    "feature": _read_feature,
    "error": _read_error,
    "token": _read_token,
    "logit": _read_logit,
    "constant": _read_constant,
}


def _add_groups(rows: list[dict[str, Any]], nodes: list[dict], view: dict, name: str) -> None:
    """Labels and supernodes that qParams adds, by the ids of the file."""
    labels, groups = read_view(view, name)
    for row, node in zip(rows, nodes, strict=True):
        if node["node_id"] in groups:
            row["supernode"] = groups[node["node_id"]]
        if labels.get(node["node_id"]):
            row["label"] = labels[node["node_id"]]


def read_view(view: dict, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and supernodes by node id: qParams holds lists, or in a saved page their JSON text."""
    found = []
    for key, expected in (("clerps", "[[id, label], …]"), ("supernodes", "[[label, node_id, …], …]")):
        value = view.get(key) or []
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (json.JSONDecodeError, RecursionError):
                _fail(name, f"qParams.{key}", value, f"{expected}, or that as JSON text")
        whole = isinstance(value, list) and all(
            isinstance(entry, list) and entry and all(isinstance(text, str) for text in entry) for entry in value
        )
        if not whole:
            _fail(name, f"qParams.{key}", value, expected)
        found.append(value)
    labels = {entry[0]: entry[1] for entry in found[0] if len(entry) > 1}
    return labels, {node_id: entry[0] for entry in found[1] for node_id in entry[1:]}


def _read_links(name: str, nodes: list[dict], links: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets and sources as indices into the file's nodes, and weights; all three refused unless whole."""
    index = {node["node_id"]: i for i, node in enumerate(nodes)}
    if len(index) < len(nodes):
        _refuse_twice(name, nodes)
    try:
        target = np.array([index[link["target"]] for link in links], dtype=np.int64)
        source = np.array([index[link["source"]] for link in links], dtype=np.int64)
        weights = [link["weight"] for link in links]
    except (KeyError, TypeError, AttributeError):
        _refuse_link(name, links, index)
    if not set(map(type, weights)) <= {int, float}:
        _refuse_link(name, links, index)
    try:
        weight = np.array(weights, dtype=np.float64)
    except OverflowError:
        _refuse_link(name, links, index)
    if not np.isfinite(weight).all():
        _refuse_link(name, links, index)
    return target, source, weight


def _refuse_twice(name: str, nodes: list[dict]) -> NoReturn:
    seen: dict[str, int] = {}
    for i, node in enumerate(nodes):
        first = seen.setdefault(node["node_id"], i)
        if first == i:
            continue
        types = {nodes[first]["feature_type"], node["feature_type"]}
        why = "every node needs an id of its own"
        if "mlp reconstruction error" in types and len(types) == 2:
            why = (
                "an error id in the older form, 0_layer_pos, equals a layer-0 feature's, so links cannot tell them "
                "apart; expected layer_-1_pos for errors (export the graph again with a newer version)"
            )
        raise ValueError(f"{name}: nodes[{first}] and nodes[{i}] both have node_id {node['node_id']!r}: {why}")
    raise AssertionError("called without a duplicate")


def _refuse_link(name: str, links: list[Any], index: dict[str, int]) -> NoReturn:
    for i, link in enumerate(links):
        _expect(name, f"links[{i}]", link, (dict,), "an object with source, target and weight")
        for end in ("source", "target"):
            if _member(name, link, end, (str,), f"links[{i}].") not in index:
                near = difflib.get_close_matches(link[end][:100], list(index)[:MOST_COMPARED], n=1)
                hint = f" (nearest: {near[0]})" if near else ""
                _fail(name, f"links[{i}].{end}", link[end], f"the node_id of one of the file's nodes{hint}")
        weight = _member(name, link, "weight", (int, float), f"links[{i}].")
        if not abs(weight) < 1e300:
            _fail(name, f"links[{i}].weight", weight, "a finite number")
    raise AssertionError("called without a bad link")


def _topological(name: str, rows: list[dict[str, Any]], source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Indices of the rows in the order of a Graph; where kinds and layers do not sort the edges, by depth."""
    rank = {kind: i for i, kind in enumerate(KINDS)}

    def key(i: int, depth: int = 0) -> tuple:
        row = rows[i]
        own = (row.get("layer") or 0, row.get("pos", 0), row.get("feature") or 0)
        return (rank[row["kind"]], depth, *own, -row.get("probability", 0.0), i)

    order = np.array(sorted(range(len(rows)), key=key), dtype=np.int64)
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows))
    if (place[source] < place[target]).all():
        return order
    depth = _depths(name, rows, source, target)
    return np.array(sorted(range(len(rows)), key=lambda i: key(i, int(depth[i]))), dtype=np.int64)


def _depths(name: str, rows: list[dict[str, Any]], source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How many edges the longest path into each node has (Kahn's algorithm); a cycle is refused."""
    order = np.argsort(source, kind="stable")
    targets = target[order].tolist()
    bounds = np.searchsorted(source[order], np.arange(len(rows) + 1)).tolist()
    waiting = np.bincount(target, minlength=len(rows)).tolist()
    depth = [0] * len(rows)
    ready = [i for i, n in enumerate(waiting) if n == 0]
    for i in ready:  # grows while it is gone through
        for t in targets[bounds[i] : bounds[i + 1]]:
            depth[t] = max(depth[t], depth[i] + 1)
            waiting[t] -= 1
            if waiting[t] == 0:
                ready.append(t)
    if len(ready) < len(rows):
        stuck = next(i for i, n in enumerate(waiting) if n > 0)
        raise ValueError(f"{name}: links form a cycle through {rows[stuck]['id']!r}; a graph has none")
    return np.array(depth, dtype=np.int64)


def _our_metadata(data: dict, rows: list[dict[str, Any]], target: np.ndarray, source: np.ndarray) -> dict[str, Any]:
    """The graph's metadata: what circuitlab wrote, or what a foreign file says; and the side-car."""
    side = {
        "file": {key: value for key, value in data.items() if key not in ("nodes", "links")},
        "nodes": {row["id"]: node for row, node in zip(rows, data["nodes"], strict=True)},
        "links": {
            f"{link['source']} {link['target']}": extra
            for link in data["links"]
            if len(link) > 3 and (extra := {k: v for k, v in link.items() if k not in _LINK_FIELDS})
        },
    }
    order = np.lexsort((source, target))
    if (np.diff(order) < 0).any():
        side["link_order"] = order.tolist()
    return {**described(data["metadata"], data["nodes"]), "json": side}


def described(metadata: dict, nodes: Iterable[dict]) -> dict[str, Any]:
    """What a file's metadata says, in the words of `Graph.metadata`."""
    if isinstance(metadata.get("circuitlab"), dict):
        return dict(metadata["circuitlab"])
    info = metadata.get("info")
    said: dict[str, Any] = {"model": metadata["scan"]}
    if isinstance(info, dict) and isinstance(info.get("transcoder_set"), str):
        said["transcoder"] = info["transcoder_set"]
    last = [str(node["layer"]) for node in nodes if node["feature_type"] == "logit"]
    if last and last[0].isdigit() and int(last[0]) > 0:
        said["n_layers"] = int(last[0]) - 1
    cut = metadata.get("pruning_settings")
    cut = cut if isinstance(cut, dict) else {"node_threshold": metadata.get("node_threshold")}
    if cut.get("node_threshold") is not None:
        said["pruned"] = {"nodes": cut["node_threshold"], "edges": cut.get("edge_threshold"), "fold": False}
    return said


_LINK_FIELDS = ("source", "target", "weight")


def pair(layer: int, feature: int) -> int:
    """Cantor's number of a layer and a feature, as files of schema version 1 hold it."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def unpair(number: int, layer: int, cantor: bool) -> int | None:
    """The feature behind a file's `feature`: Cantor's number, or layer·100,000 + feature; None if neither."""
    if cantor and number >= 0:
        total = (math.isqrt(8 * number + 1) - 1) // 2
        feature = number - total * (total + 1) // 2
        return feature if total - feature == layer else None
    feature = number - layer * 100_000
    return feature if 0 <= feature < 100_000 else None
