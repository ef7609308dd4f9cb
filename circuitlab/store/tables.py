"""A store's Parquet files through DuckDB: checked once, then queried row by row.

A file that is absent, cut off, of other columns, or that claims more rows than the manifest has features is refused
by name before anything of it is unpacked. The connection is in memory, loads no extensions, and is made when it is
first needed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import duckdb

MEMORY = "4GB"
LARGEST_TABLE = 64 * 2**30
"""Unpacked bytes that a file may claim."""


class Tables:
    """Runs SQL over the files of one folder; in it `{name}` stands for the table in the file of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "memory_limit": MEMORY,
                "temp_directory": "",
            }
        )
        connection.execute("SET parquet_metadata_cache = true")
        return connection

    def check(self, name: str, schema: pa.Schema, most_rows: int) -> Path:
        """The path of a file whose columns and size are as expected; looked at again when the file has changed."""
        path = self.folder / name
        try:
            found = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: this file of the store is missing; harvest again or copy it") from None
        if self._checked.get(name) == (found.st_mtime_ns, found.st_size):
            return path
        check_parquet(path, schema, most_rows)
        self._checked[name] = found.st_mtime_ns, found.st_size
        return path

    def query(self, path: Path, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query on one checked file, `{file}` in the SQL. ValueError names a file that is damaged."""
        return self.run(path, sql.format(file="read_parquet(?)"), [literal(path), *parameters])

    def run(self, path: Path, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of any query; `path` is what an error names."""
        import duckdb

        with self._lock:
            try:
                return self.connection.execute(sql, parameters).fetchall()
            except duckdb.Error as error:
                first = str(error).strip().splitlines()[0]
                raise ValueError(f"{path}: cannot be read, the file may be damaged: {first[:300]}") from error

    def put(self, name: str, table: pa.Table) -> None:
        """A table in memory, under a name for later queries."""
        with self._lock:
            self.connection.register("arriving", table)
            self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM arriving")
            self.connection.unregister("arriving")


def check_parquet(path: Path, schema: pa.Schema, most_rows: int) -> None:
    """ValueError unless a file's footer has these columns and no more rows and bytes than there can be."""
    try:
        metadata = pq.read_metadata(path)
        found = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a whole Parquet file: {error}") from error
    if found.names != schema.names:
        raise ValueError(f"{path} has the columns {_some(found.names)}; expected {', '.join(schema.names)}")
    for expected in schema:
        if not _alike(found.field(expected.name).type, expected.type):
            raise ValueError(
                f"{path}: column {expected.name} holds {found.field(expected.name).type}; expected {expected.type}"
            )
    if metadata.num_rows > most_rows:
        raise ValueError(f"{path} claims {metadata.num_rows:,} rows; expected at most {most_rows:,}")
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > LARGEST_TABLE:
        raise ValueError(f"{path} would unpack to {size:,} bytes; expected at most {LARGEST_TABLE:,}")


def _some(names: Sequence[str]) -> str:
    return (", ".join(names[:20]) or "none")[:400]


def _alike(found: pa.DataType, expected: pa.DataType) -> bool:
    """The same type, whatever the members of its lists are called."""
    if pa.types.is_list(expected):
        return pa.types.is_list(found) and _alike(found.value_type, expected.value_type)
    if pa.types.is_struct(expected):
        parts = [(expected.field(i).name, expected.field(i).type) for i in range(expected.num_fields)]
        there = {found.field(i).name: found.field(i).type for i in range(found.num_fields)} if _struct(found) else {}
        return len(there) == len(parts) and all(name in there and _alike(there[name], kind) for name, kind in parts)
    return found == expected


def _struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind)


def literal(path: Path) -> str:
    """A path as DuckDB reads it: characters that would be a pattern stand for themselves."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
