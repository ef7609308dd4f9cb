"""Where a node's page is at Neuronpedia, for graphs that say which model and source set their features are from.

A feature's page is https://www.neuronpedia.org/{model}/{layer}-{source set}/{feature}. The model is the file's `scan`;
the source set its `feature_details.neuronpedia_source_set` (for attention features `neuronpedia_lorsa_source_set`), an
entry of `transcoder_list` that names one (`model/layer-set` or `layer-set`), or an address in `info.source_urls`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pandas as pd

from circuitlab.graph import Graph

SITE = "https://www.neuronpedia.org"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SOURCE = re.compile(r"(?:([^/]+)/)?\d+-([^/]+)")
_ADDRESS = re.compile(r"https?://(?:www\.)?neuronpedia\.org/([^/?#]+)/([^/?#]+)/?")


def page_address(graph: Graph) -> str:
    """The address of any feature's page with {layer} and {feature} in it; empty where it is not the same for all."""
    side = graph.metadata.get("json") or {}
    known = source_set((side.get("file") or {}).get("metadata") or {})
    mixed = any(node.get("feature_type") == "lorsa" for node in (side.get("nodes") or {}).values())
    return f"{SITE}/{known[0]}/{{layer}}-{known[1]}/{{feature}}" if known and not mixed else ""


def neuronpedia_urls(graph: Graph) -> pd.Series:
    """The address of each node's page, by node id; missing where there is none or the source set is not known."""
    file = ((graph.metadata.get("json") or {}).get("file") or {}).get("metadata") or {}
    in_file = (graph.metadata.get("json") or {}).get("nodes") or {}
    types = {node_id: node.get("feature_type") for node_id, node in in_file.items()}
    plain, lorsa = source_set(file), _lorsa_set(file)
    nodes = graph.nodes
    urls = []
    for node_id, kind, layer, feature in zip(nodes["id"], nodes["kind"], nodes["layer"], nodes["feature"], strict=True):
        known = lorsa if types.get(node_id) == "lorsa" else plain
        whole = kind == "feature" and not pd.isna(layer) and not pd.isna(feature)
        urls.append(f"{SITE}/{known[0]}/{layer}-{known[1]}/{feature}" if known and whole else None)
    return pd.Series(urls, index=pd.Index(nodes["id"], name="id"), dtype="string", name="neuronpedia")


def source_set(metadata: dict[str, Any]) -> tuple[str, str] | None:
    """Model and source set of a file's metadata, quoted for an address; None where it names none."""
    scan, details, listed = metadata.get("scan"), metadata.get("feature_details"), metadata.get("transcoder_list")
    named = details.get("neuronpedia_source_set") if isinstance(details, dict) else None
    candidates = [(scan, named)]
    for entry in listed if isinstance(listed, list) else []:
        found = _SOURCE.fullmatch(entry) if isinstance(entry, str) else None
        if found and found[1] in (None, scan):
            candidates.append((scan, found[2]))
    info = metadata.get("info")
    addresses = info.get("source_urls") if isinstance(info, dict) else None
    for address in addresses if isinstance(addresses, list) else []:
        found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if found and found[1] not in ("api", "graph"):
            candidates.append((found[1], found[2]))
    return next((pair for pair in map(_checked, candidates) if pair), None)


def _lorsa_set(metadata: dict[str, Any]) -> tuple[str, str] | None:
    details = metadata.get("feature_details")
    named = details.get("neuronpedia_lorsa_source_set") if isinstance(details, dict) else None
    return _checked((metadata.get("scan"), named))


def _checked(pair: tuple[Any, Any]) -> tuple[str, str] | None:
    """The two as parts of an address, if they can be."""
    if not all(isinstance(part, str) and _NAME.fullmatch(part) for part in pair):
        return None
    return quote(pair[0], safe=""), quote(pair[1], safe="")
