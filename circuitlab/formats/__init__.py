"""Files that users of this field have: transcoders, graphs, and their archives."""

from __future__ import annotations

from pathlib import Path


def convert_graph(source: str | Path, target: str | Path) -> Path:
    """A graph file in another form; see `circuitlab.formats.graph_files.convert_graph`."""
    from circuitlab.formats.graph_files import convert_graph

    return convert_graph(Path(source), Path(target))
