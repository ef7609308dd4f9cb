"""Graph archives: a `.zip` of two Parquet tables and a JSON text, for graphs of any size.

`nodes.parquet` holds `Graph.nodes`; `links.parquet` the edges by target row (`target`, `source`, `weight` in
the graph's own precision); `metadata.json` the prompt, the tokens, the metadata and the format's version.
Reading gives every dtype and bit back. The same graph gives the same bytes (fixed times, no machine or
version stamps by us). Nothing in an archive is executed, members are read from memory under their expected
names only, and sizes are checked against what they claim before anything is unpacked.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from circuitlab.formats.files import write_atomically
from circuitlab.formats.graph_json import check_metadata
from circuitlab.graph import NODE_COLUMNS, Graph
from circuitlab.links import Links

FORMAT = {"format": "circuitlab graph", "version": 1}
MEMBERS = ("metadata.json", "nodes.parquet", "links.parquet")
LARGEST_MEMBER = 8 * 2**30
_BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, UnicodeError
)  # fmt: skip
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def write_graph_archive(graph: Graph, path: Path) -> Path:
    """Write a graph; the file is whole or absent."""
    head = {**FORMAT, "prompt": graph.prompt, "tokens": list(graph.tokens), "metadata": graph.metadata}
    try:
        text = json.dumps(head, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: graph.metadata cannot be written as JSON: {error}") from error
    links = pa.table(
        {
            "target": pa.array(graph.links.targets()),
            "source": pa.array(graph.links.source),
            "weight": pa.array(graph.links.weight),
        }
    )
    nodes = pa.Table.from_pandas(graph.nodes, preserve_index=False).replace_schema_metadata(None)
    contents = (text.encode("utf-8", "surrogatepass"), _parquet(nodes), _parquet(links))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in zip(MEMBERS, contents, strict=True):
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return write_atomically(Path(path), [buffer.getbuffer()])


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def read_graph_archive(path: Path) -> Graph:
    """Read a graph; anything but a whole archive of ours is refused with the file and member at fault."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; expected a graph archive")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            contents = {name: archive.read(name) for name in MEMBERS}
    except _BROKEN_ZIP as error:
        raise ValueError(f"{path}: not a whole zip file ({error}); expected a graph archive") from error
    head = _head(path, contents["metadata.json"])
    content = contents["nodes.parquet"]
    nodes = _table(path, "nodes.parquet", content, list(NODE_COLUMNS), most=20 * len(content))
    most = len(nodes) * (len(nodes) - 1) // 2
    links = _table(path, "links.parquet", contents["links.parquet"], ["target", "source", "weight"], most)
    try:
        check_metadata(head["metadata"], str(path))
        return Graph(head["prompt"], tuple(head["tokens"]), _nodes(nodes), _links(links, len(nodes)), head["metadata"])
    except (ValueError, TypeError, pa.ArrowException) as error:
        said = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {said}") from error


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    names = sorted(member.filename for member in archive.infolist())
    if names != sorted(MEMBERS):
        shown = ", ".join(names[:6]) or "nothing"
        raise ValueError(f"{path}: a graph archive holds {', '.join(MEMBERS)}; found {shown}")
    for member in archive.infolist():
        if member.file_size > LARGEST_MEMBER or member.file_size > 1000 * max(member.compress_size, 1000):
            raise ValueError(
                f"{path}: {member.filename} claims {member.file_size:,} bytes from {member.compress_size:,}; "
                f"expected at most {LARGEST_MEMBER:,} and a thousandfold"
            )


def _head(path: Path, content: bytes) -> dict[str, Any]:
    try:
        head = json.loads(content.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: metadata.json is not JSON: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT["format"]:
        raise ValueError(f'{path}: metadata.json must say "format": {FORMAT["format"]!r}; found {str(head)[:60]}')
    if head.get("version") != FORMAT["version"]:
        raise ValueError(
            f"{path}: version {head.get('version')!r} of the format; this circuitlab reads "
            f"{FORMAT['version']}: "
            "update circuitlab, or save the graph again as .json"
        )
    for key, types in (("prompt", str), ("tokens", list), ("metadata", dict)):
        if not isinstance(head.get(key), types):
            raise ValueError(f"{path}: metadata.json's {key} is {head.get(key)!r:.60}; expected {types.__name__}")
    if not all(isinstance(token, str) for token in head["tokens"]):
        raise ValueError(f"{path}: metadata.json's tokens must all be text")
    return head


def _table(path: Path, name: str, content: bytes, columns: list[str], most: int) -> pa.Table:
    """A member's table; more than `most` rows are refused unread, since a few bytes can claim any number of them."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        found = file.schema_arrow.names
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: {name} is not a whole Parquet table: {error}") from error
    if found != columns:
        raise ValueError(f"{path}: {name} has the columns {', '.join(found)}; expected {', '.join(columns)}")
    if size > LARGEST_MEMBER:
        raise ValueError(f"{path}: {name} would unpack to {size:,} bytes; expected at most {LARGEST_MEMBER:,}")
    rows = file.metadata.num_rows
    if rows > most:
        raise ValueError(f"{path}: {name} claims {rows:,} rows; expected at most {most:,} in this archive")
    try:
        return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: {name} is damaged: {error}") from error


def _nodes(table: pa.Table) -> pd.DataFrame:
    return pd.DataFrame({name: table.column(name).to_pandas(integer_object_nulls=True) for name in NODE_COLUMNS})


def _links(table: pa.Table, n_nodes: int) -> Links:
    if any(column.null_count for column in table.columns):
        raise ValueError("links.parquet has missing values; expected a number in every cell")
    try:
        target, source = (table.column(name).cast(pa.int64()).to_numpy() for name in ("target", "source"))
        weight = table.column("weight").to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"links.parquet must hold whole row numbers: {error}") from error
    if weight.dtype not in (np.float32, np.float64):
        raise ValueError(f"links.parquet holds weights as {weight.dtype}; expected float32 or float64")
    if not len(target) or (np.diff(target) >= 0).all():
        if len(target) and (target[0] < 0 or target[-1] >= n_nodes):
            raise ValueError(f"links.parquet has targets {target[0]} to {target[-1]}; there are {n_nodes} nodes")
        return Links(np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n_nodes))]), source, weight)
    return Links.from_pairs(target, source, weight, n_nodes)
