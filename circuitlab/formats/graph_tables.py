"""A graph as a folder of plain tables for other programs: nodes, edges, and a JSON text with the rest.

`nodes.parquet` or `nodes.csv` has the columns of `Graph.nodes`, `edges.…` source, target (ids) and weight, `graph.json`
prompt, tokens and metadata. In CSV a missing value is an empty cell, an empty text a pair of quotes; numbers have as
many digits as give the same float back; a text that a spreadsheet would compute (it begins with =, +, - or @) has an
apostrophe before it. Reading gives the same tables; nothing outside the three files is touched.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from circuitlab.formats.files import write_atomically
from circuitlab.formats.graph_json import check_metadata
from circuitlab.graph import NODE_COLUMNS, Graph
from circuitlab.links import Links

FORMAT = {"format": "circuitlab graph tables", "version": 1}
LARGEST = 8 * 2**30
"""Bytes that a table may unpack to."""
_TYPES = {"string": pa.string(), "Int32": pa.int32(), "Int64": pa.int64(), "float64": pa.float64()}
NODES = pa.schema([(name, _TYPES[dtype]) for name, dtype in NODE_COLUMNS.items()])


def write_tables(graph: Graph, folder: Path, kind: str) -> Path:
    """Write the three files into a folder, which is made; `kind` is "parquet" or "csv"."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder")
    head = {**FORMAT, "weights": str(graph.links.weight.dtype), "prompt": graph.prompt, "tokens": list(graph.tokens)}
    try:
        text = json.dumps({**head, "metadata": graph.metadata}, indent=1, allow_nan=False)
        nodes = pa.table({name: pa.array(graph.nodes[name], NODES.field(name).type) for name in NODE_COLUMNS})
        ids = nodes.column("id").combine_chunks()
        edges = pa.table(
            {
                "source": ids.take(pa.array(graph.links.source)),
                "target": ids.take(pa.array(graph.links.targets())),
                "weight": pa.array(graph.links.weight),
            }
        )
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{folder}: the graph cannot be written as tables: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    encode = _as_parquet if kind == "parquet" else _as_csv
    for name, table in (("nodes", nodes), ("edges", edges)):
        write_atomically(folder / f"{name}.{kind}", [memoryview(encode(table))])
    write_atomically(folder / "graph.json", [text.encode()])
    return folder


def _as_parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def _as_csv(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(_in_texts(table, f"^({_COMPUTED})", "'\\1"), sink, pa_csv.WriteOptions(quoting_style="all_valid"))
    return sink.getvalue()


_COMPUTED = r"'*[=+\-@\t\r\n]"
"""How a cell begins that spreadsheets take for a formula, and one with apostrophes before that."""


def _in_texts(table: pa.Table, pattern: str, replacement: str) -> pa.Table:
    """The table with the pattern replaced in all columns of texts."""
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            made = pc.call_function(
                "replace_substring_regex", [table.column(at)], pc.ReplaceSubstringOptions(pattern, replacement)
            )
            table = table.set_column(at, field, made)
    return table


def read_tables(folder: Path) -> Graph:
    """Read a folder that `write_tables` wrote; ValueError or FileNotFoundError names the file at fault."""
    head = _head(folder / "graph.json")
    kinds = [kind for kind in ("parquet", "csv") if (folder / f"nodes.{kind}").is_file()]
    if not kinds:
        raise FileNotFoundError(f"{folder}: there is no nodes.parquet and no nodes.csv; expected a graph's tables")
    read = _read_parquet if kinds[0] == "parquet" else _read_csv
    weight = pa.float32() if head["weights"] == "float32" else pa.float64()
    edge_schema = pa.schema([("source", pa.string()), ("target", pa.string()), ("weight", weight)])
    nodes, edges = read(folder / f"nodes.{kinds[0]}", NODES), read(folder / f"edges.{kinds[0]}", edge_schema)
    try:
        check_metadata(head["metadata"], str(folder / "graph.json"))
        table = pd.DataFrame({name: nodes.column(name).to_pandas(integer_object_nulls=True) for name in NODE_COLUMNS})
        links = _links(nodes.column("id"), edges)
        return Graph(head["prompt"], tuple(head["tokens"]), table, links, head["metadata"])
    except (ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise ValueError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error


def _head(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; a folder of a graph's tables has one")
    try:
        head = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT["format"] or head.get("version") != 1:
        raise ValueError(f'{path}: must say "format": {FORMAT["format"]!r} and "version": 1')
    for key, types in (("prompt", str), ("tokens", list), ("metadata", dict)):
        if not isinstance(head.get(key), types):
            raise ValueError(f"{path}: {key} is {head.get(key)!r:.60}; expected {types.__name__}")
    if not all(isinstance(token, str) for token in head["tokens"]):
        raise ValueError(f"{path}: tokens must all be text")
    if head.get("weights") not in ("float32", "float64"):
        raise ValueError(f"{path}: weights is {head.get('weights')!r:.60}; expected 'float32' or 'float64'")
    return head


def _read_parquet(path: Path, schema: pa.Schema) -> pa.Table:
    def read() -> pa.Table:
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()))
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if size > LARGEST or file.metadata.num_rows > 100 * path.stat().st_size:
            raise ValueError(f"claims {file.metadata.num_rows:,} rows in {size:,} bytes unpacked: refused")
        if file.schema_arrow.names != schema.names:
            raise ValueError(
                f"has the columns {', '.join(file.schema_arrow.names)}; expected {', '.join(schema.names)}"
            )
        return file.read().cast(schema)

    return _whole(path, read)


def _read_csv(path: Path, schema: pa.Schema) -> pa.Table:
    def read() -> pa.Table:
        table = pa_csv.read_csv(
            io.BytesIO(path.read_bytes()),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={field.name: field.type for field in schema},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if table.column_names != schema.names:
            raise ValueError(f"has the columns {', '.join(table.column_names)}; expected {', '.join(schema.names)}")
        return _in_texts(table, f"^'({_COMPUTED})", r"\1")

    return _whole(path, read)


def _whole(path: Path, read: Callable[[], pa.Table]) -> pa.Table:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; expected one of a graph's tables")
    try:
        return read()
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: {str(error)[:300]}") from error


def _links(ids: pa.ChunkedArray, edges: pa.Table) -> Links:
    """Row numbers of the edges' ends; ValueError for an end that is no node."""
    index = pd.Index(ids.to_pandas())
    if not index.is_unique:
        raise ValueError(f"node ids must be unique; {index[index.duplicated()][0]!r} occurs more than once")
    ends = {}
    for end in ("source", "target"):
        values = edges.column(end).to_pandas()
        ends[end] = index.get_indexer(values)
        if (ends[end] < 0).any():
            row = int(np.flatnonzero(ends[end] < 0)[0])
            raise ValueError(f"edges row {row}: the {end} {values.iloc[row]!r:.60} is no node")
    if edges.column("weight").null_count:
        raise ValueError("edges have a missing weight; expected a number in every row")
    return Links.from_pairs(ends["target"], ends["source"], edges.column("weight").to_numpy(), len(index))
