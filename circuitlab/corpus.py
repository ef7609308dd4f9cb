"""Texts from anywhere, one record at a time: files, folders, Hugging Face data sets, Python iterables.

    records("stories.jsonl")            .txt (documents parted by blank lines), .jsonl or .parquet ("text")
    records("folder")                   all such files in it, in the order of their names
    records("roneneldan/TinyStories")   a data set of the hub, streamed; also "owner/name:config" and "…@split"
    records(["a text", [1, 15, 3]])     texts or token ids

A record that holds no text is not left out here: it comes as a `Record` that says what is wrong with it, so that who
reads can count it or refuse it. Memory is bounded by the longest record, and a record by `LONGEST` bytes.
"""

from __future__ import annotations

import json
import operator
import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

LONGEST = 4_000_000
"""Bytes of text that one record may have; what follows is cut off and the record marked."""

SUFFIXES = (".txt", ".jsonl", ".json", ".parquet")

EMPTY = "empty"
UNDECODABLE = "not UTF-8"
NOT_JSON = "not JSON"
NO_TEXT = "no text field"
TOO_LONG = "too long a line"
LARGEST_TOKEN = 2**63 - 1


@dataclass(frozen=True)
class Record:
    """One text or one list of token ids; or `problem`, a reason from above, and `detail`, a sentence with the place.

    `cut` says that it went on after `LONGEST` bytes; `size` is its share of the corpus's size (bytes or records).
    """

    content: str | Sequence[int] = ""
    problem: str = ""
    detail: str = ""
    cut: bool = False
    size: int = 1


def records(source: Any) -> Iterator[Record]:
    """The records of a corpus in a fixed order. Raises FileNotFoundError and ValueError for what is no corpus."""
    if not isinstance(source, str | os.PathLike):
        return _given(source)
    if isinstance(source, str) and (named := _hub_id(source)):
        return _hub_records(*named)
    return _all_files(_files(Path(source).expanduser()))


def describe(source: Any) -> str:
    """A corpus in a few words that do not depend on where it lies."""
    if not isinstance(source, str | os.PathLike):
        return f"{type(source).__name__} of texts"
    if isinstance(source, str) and _hub_id(source):
        return source
    path = Path(source).expanduser()
    return f"{path.name} ({len(_files(path))} files)" if path.is_dir() else path.name


def total_size(source: Any) -> int | None:
    """The sum of the records' sizes where it is known beforehand."""
    if not isinstance(source, str | os.PathLike):
        return operator.length_hint(source) or None
    if isinstance(source, str) and _hub_id(source):
        return None
    return sum(path.stat().st_size for path in _files(Path(source).expanduser()))


# ---- files ----


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"there is no corpus {str(path)!r}: give a {', '.join(SUFFIXES)} file, a folder of them, or a data set's "
            "hub id owner/name"
        )
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise FileNotFoundError(f"the folder {str(path)!r} has no {', '.join(SUFFIXES)} files")
    return found


def _all_files(paths: list[Path]) -> Iterator[Record]:
    for path in paths:
        yield from file_records(path)


def file_records(path: Path) -> Iterator[Record]:
    """The records of one file; an unknown ending is read as text."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_records(path)
        return
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:
            file.seek(0)
        yield from _json_lines(path, file) if suffix in (".jsonl", ".json") else _paragraphs(path, file)


def _paragraphs(path: Path, file: BinaryIO) -> Iterator[Record]:
    """Documents parted by blank lines."""
    held, kept, start, place, ended = [], 0, 0, file.tell(), False
    while not ended:
        line = file.readline(LONGEST)
        ended = not line
        if line.strip():
            if not held:
                start = place
            if kept < LONGEST:
                held.append(line[: LONGEST - kept])
            kept += len(line)
        elif held:
            yield _decoded(path, b"".join(held), start, kept)
            held, kept = [], 0
        place += len(line)


def _decoded(path: Path, raw: bytes, start: int, size: int) -> Record:
    cut = size > len(raw)
    try:
        return Record(raw.decode("utf-8").strip(), cut=cut, size=size)
    except UnicodeDecodeError as error:
        if cut and error.start >= len(raw) - 3:  # cut inside a character
            return Record(raw[: error.start].decode("utf-8").strip(), cut=True, size=size)
        byte = f"byte {start + error.start} is {raw[error.start]:#x}"
        return Record(problem=UNDECODABLE, detail=f"{path} is no UTF-8 text: {byte}", size=size)


def _json_lines(path: Path, file: BinaryIO) -> Iterator[Record]:
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        size, whole = len(line), line.endswith(b"\n") or len(line) < LONGEST
        while not whole and (rest := file.readline(LONGEST)):
            size += len(rest)
            whole = rest.endswith(b"\n")
        where = f"{path}, line {number}"
        if size > len(line):
            yield Record(problem=TOO_LONG, detail=f"{where} is longer than {LONGEST:,} bytes", size=size)
        else:
            yield _json_record(where, line, size)


def _json_record(where: str, line: bytes, size: int) -> Record:
    if not line.strip():
        return Record(problem=EMPTY, detail=f"{where} is empty", size=size)
    try:
        data = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Record(problem=UNDECODABLE, detail=f"{where} is no UTF-8 text: {error}", size=size)
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        return Record(problem=NOT_JSON, detail=f"{where} is not JSON: {error}", size=size)
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        shown = line.decode("utf-8").strip()[:60]
        return Record(problem=NO_TEXT, detail=f'{where} holds {shown!r}; expected an object with a "text"', size=size)
    return Record(data["text"], size=size)


def _parquet_records(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    if "text" not in file.schema_arrow.names:
        raise ValueError(f"{path} has the columns {', '.join(file.schema_arrow.names)}; expected one named text")
    kind = file.schema_arrow.field(file.schema_arrow.names.index("text")).type
    if not _is_text(kind):
        raise ValueError(f"{path}: the column text holds {kind}; expected text")
    share = path.stat().st_size // max(file.metadata.num_rows, 1)
    row = 0
    try:
        for batch in file.iter_batches(columns=["text"], batch_size=256):
            for value in batch.column(0).cast(pa.large_binary()).to_pylist():
                row += 1
                if value is None:
                    yield Record(problem=NO_TEXT, detail=f"{path}, row {row} holds no text", size=share)
                else:
                    found = _decoded(path, value[:LONGEST], 0, len(value))
                    yield Record(found.content, found.problem, found.detail, found.cut, share)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged after row {row:,}: {error}") from error


def _is_text(kind: Any) -> bool:
    """Whether an Arrow type is text or bytes, also by a dictionary; or nothing but missing values."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    plain = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_null)
    return any(is_one(kind) for is_one in plain)


# ---- the hub, and Python ----


def _hub_id(source: str) -> tuple[str, str | None, str] | None:
    """Name, configuration and split of "owner/name:config@split"; None for a path."""
    if Path(source).expanduser().exists() or source.startswith((".", "/", "~")) or source.lower().endswith(SUFFIXES):
        return None
    rest, _, split = source.partition("@")
    name, _, config = rest.partition(":")
    return (name, config or None, split or "train") if name.count("/") == 1 and all(name.split("/")) else None


def _hub_records(name: str, config: str | None, split: str) -> Iterator[Record]:
    from datasets import load_dataset

    for number, row in enumerate(load_dataset(name, config, split=split, streaming=True)):
        text = row.get("text")
        if isinstance(text, str):
            yield _shortened(text)
        elif "text" not in row and not number:
            raise ValueError(f"the data set {name} has the columns {', '.join(row)}; expected one named text")
        else:
            yield Record(problem=NO_TEXT, detail=f"{name}, row {number} holds no text")


def _given(source: Any) -> Iterator[Record]:
    """Texts, bytes, token ids, or rows that have a text; what is none of them is a record with a problem."""
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise ValueError(f"a corpus is a path, a data set's id or an iterable of texts, not {type(source).__name__}")
    return (_given_record(number, item) for number, item in enumerate(source))


def _given_record(number: int, item: Any) -> Record:
    if isinstance(item, Record):
        return item
    if isinstance(item, Mapping):
        item = item.get("text")
    if isinstance(item, str):
        return _shortened(item)
    if isinstance(item, bytes):
        found = _decoded(Path(f"record {number}"), item[:LONGEST], 0, len(item))
        return Record(found.content, found.problem, found.detail, found.cut)
    tokens = list(item) if isinstance(item, Iterable) and getattr(item, "ndim", 1) == 1 else None
    ids = None if tokens is None else _token_ids(tokens)
    if ids is not None:
        return Record(ids)
    what = f"is of type {type(item).__name__}" if tokens is None else "holds something else than token ids"
    return Record(problem=NO_TEXT, detail=f"record {number} {what}")


def _token_ids(values: list[Any]) -> list[int] | None:
    """Whole numbers of any library as Python's; None where one is something else."""
    if not set(map(type, values)) <= {int}:
        values = [value.item() if getattr(value, "ndim", None) == 0 else value for value in values]
        if not all(isinstance(value, Integral) and not isinstance(value, bool) for value in values):
            return None
        values = list(map(int, values))
    fits = not values or -LARGEST_TOKEN <= min(values) <= max(values) <= LARGEST_TOKEN
    return values if fits else None


def _shortened(text: str) -> Record:
    """A text, cut where its UTF-8 would be longer than `LONGEST`; half a character in it is for the reader to count."""
    if len(text) * 4 <= LONGEST or len(raw := text.encode("utf-8", "surrogatepass")) <= LONGEST:
        return Record(text)
    return Record(raw[:LONGEST].decode("utf-8", "ignore"), cut=True)
