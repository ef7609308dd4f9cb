"""A folder of graph files and its index, `graph-metadata.json` = {"graphs": [metadata, …]}, as frontends read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from circuitlab.formats.files import write_atomically
from circuitlab.formats.graph_json import load_json, read_head

INDEX = "graph-metadata.json"


def list_graphs(folder: str | Path) -> pd.DataFrame:
    """The graphs of a folder: `slug`, `scan`, `prompt`, `path`; from its index where it has one, else from the files.

    A slug's file is `slug.json`; `path` is missing where that file is not there. Slugs that lead out of the folder are
    refused.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    index = folder / INDEX
    entries = _read_index(index) if index.is_file() else [entry for _, entry in _in_files(folder)]
    rows = []
    for i, entry in enumerate(entries):
        row = {key: value for key in ("slug", "scan", "prompt") if isinstance(value := entry.get(key), str)}
        if len(row) < 3:
            raise ValueError(f"{index}: graphs[{i}] must have slug, scan and prompt as text")
        if row["slug"] in ("", ".", "..") or len(row["slug"]) > 200 or any(mark in row["slug"] for mark in "/\\\0"):
            raise ValueError(f"{index}: graphs[{i}].slug is {row['slug']!r:.60}; expected the plain name of a file")
        path = folder / f"{row['slug']}.json"
        rows.append({**row, "path": str(path) if path.is_file() else None})
    return pd.DataFrame(rows, columns=["slug", "scan", "prompt", "path"], dtype=object)


def write_graph_index(folder: str | Path) -> Path:
    """Write the index of a folder's graph files, each under the name of its file; the metadata as they stand there."""
    folder = Path(folder)
    graphs = [{**entry, "slug": path.stem} for path, entry in _in_files(folder)]
    text = json.dumps({"graphs": graphs}, ensure_ascii=False, indent=1)
    return write_atomically(folder / INDEX, [text.encode("utf-8", "surrogatepass")])


def _in_files(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The metadata of every graph file in a folder; other JSON files are passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name == INDEX:
            continue
        data = load_json(path)
        if isinstance(data, dict) and {"metadata", "nodes", "links"} <= data.keys():
            found.append((path, read_head(data, str(path))[0]))
    return found


def _read_index(path: Path) -> list[dict[str, Any]]:
    data = load_json(path)
    graphs = data.get("graphs") if isinstance(data, dict) else None
    if not isinstance(graphs, list) or not all(isinstance(entry, dict) for entry in graphs):
        raise ValueError(f'{path}: expected {{"graphs": [metadata, …]}}')
    return graphs
