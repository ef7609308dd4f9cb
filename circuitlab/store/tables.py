"""A store's Parquet files: single features by row group, everything that goes over all features through DuckDB.

Files are sorted by feature and cut into small row groups, so that a look-up reads one group, a tenth of the work of a
query on rows this wide. A file that is absent, cut off, of other columns, or that claims more rows than the manifest
has features is refused by name before anything of it is unpacked. The connection is in memory, loads no extensions, and
is made when it is first needed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import duckdb

MEMORY = "4GB"
LARGEST_TABLE = 64 * 2**30
"""Unpacked bytes that a file may claim."""
MOST_VALUES = 2**26
"""Values in one column of one row group."""


class Tables:
    """Opens the files of one folder and runs SQL over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[str, tuple[tuple[int, int], RowGroups]] = {}
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

    def open(self, name: str, schema: pa.Schema, most_rows: int) -> RowGroups:
        """A file whose columns and size are as expected; looked at again when it has changed."""
        path = self.folder / name
        try:
            found = path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: this file of the store is missing; harvest again or copy it") from None
        state = found.st_mtime_ns, found.st_size
        kept = self._checked.get(name)
        if kept is None or kept[0] != state:
            check_parquet(path, schema, most_rows)
            kept = self._checked[name] = state, RowGroups(path)
        return kept[1]

    def check(self, name: str, schema: pa.Schema, most_rows: int) -> Path:
        """The path of a file whose columns and size are as expected."""
        return self.open(name, schema, most_rows).path

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


class RowGroups:
    """One file, its rows sorted by a column `index`: the rows of some indices, by reading the groups they are in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path)

    @cached_property
    def _spans(self) -> np.ndarray:
        """Of each row group the first and last index; where the file does not say, it may hold any."""
        metadata = self._file.metadata
        column = self._file.schema_arrow.names.index("index")
        spans = np.full((metadata.num_row_groups, 2), (-1, 2**62))
        for group in range(len(spans)):
            statistics = metadata.row_group(group).column(column).statistics
            if statistics is not None and statistics.has_min_max:
                spans[group] = statistics.min, statistics.max
        return spans

    def rows(self, start: int, stop: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows with `start` <= index < `stop`, in the file's order. ValueError names a file that is damaged."""
        try:
            groups = np.flatnonzero((self._spans[:, 1] >= start) & (self._spans[:, 0] < stop)).tolist()
            for group in groups:
                self._require_small(group)
            wanted = None if columns is None else ["index", *columns]
            table = self._file.read_row_groups(groups, wanted, use_threads=False)
            index = table.column("index").to_numpy()
            return table.filter(pa.array((index >= start) & (index < stop))).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            if str(error).startswith(str(self.path)):
                raise
            raise ValueError(f"{self.path}: cannot be read, the file may be damaged: {error}") from error

    def _require_small(self, group: int) -> None:
        metadata = self._file.metadata.row_group(group)
        most = max(metadata.column(i).num_values for i in range(metadata.num_columns))
        if most > MOST_VALUES:
            raise ValueError(f"{self.path}: row group {group} claims {most:,} values; expected at most {MOST_VALUES:,}")


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
