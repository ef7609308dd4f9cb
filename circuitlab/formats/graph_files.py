"""Graph files by their ending: which reader and writer, and conversion from one form to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from circuitlab.formats.graph_archive import read_graph_archive, write_graph_archive
from circuitlab.formats.graph_json import read_graph_json
from circuitlab.formats.graph_json_writer import write_graph_json
from circuitlab.formats.graph_pt import read_graph_pt
from circuitlab.formats.graph_tables import read_tables
from circuitlab.graph import Graph

READERS: dict[str, Callable[[Path], Graph]] = {
    ".json": read_graph_json,
    ".zip": read_graph_archive,
    ".pt": read_graph_pt,
}
WRITERS: dict[str, Callable[[Graph, Path], Path]] = {".json": write_graph_json, ".zip": write_graph_archive}

LONGEST_ERROR = 1000
"""Characters: a message may quote what a file holds, and a file may hold anything."""


def open_graph(path: Path) -> Graph:
    """Read a graph file, or a folder of tables that `Graph.to_parquet` or `Graph.to_csv` wrote."""
    try:
        return _open(path)
    except ValueError as error:
        if len(str(error)) <= LONGEST_ERROR:
            raise
        raise ValueError(f"{str(error)[:LONGEST_ERROR]}…") from error


def _open(path: Path) -> Graph:
    if path.is_dir():
        return read_tables(path)
    if path.suffix.lower() not in READERS:
        raise ValueError(
            f"{path}: a graph file ends in {', '.join(READERS)}, not in {path.suffix!r}; a folder of tables has a "
            "graph.json"
        )
    return READERS[path.suffix.lower()](path)


def save_graph(graph: Graph, path: Path) -> Path:
    """Write a graph as its ending says."""
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"{path}: a graph file that is written ends in .json or .zip, not in {path.suffix!r}")
    return WRITERS[path.suffix.lower()](graph, path)


def convert_graph(source: Path, target: Path) -> Path:
    """Read a graph in any form and write it in another: .json, .zip, or a folder of tables, `name.parquet` or
    `name.csv`."""
    graph = open_graph(Path(source))
    write = {".parquet": graph.to_parquet, ".csv": graph.to_csv}.get(Path(target).suffix.lower(), graph.save)
    return write(Path(target))
