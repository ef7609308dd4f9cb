"""Writes a store, so that a reader sees the old one or the new one.

All files are written beside their names first and moved there when every one is whole. While they are moved there is no
manifest: whoever is killed then leaves no mixture that passes for a store. A disk that is full leaves what was there.
`labels.parquet` is not touched: labels outlive a harvest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from circuitlab.store.schema import (
    EXAMPLE_GROUP,
    EXAMPLES,
    FEATURE_GROUP,
    FEATURES,
    MANIFEST,
    TOKENS,
    TOKENS_FILE,
    Manifest,
    examples_file,
    features_file,
)


@dataclass(frozen=True)
class LayerTables:
    """One layer's features and examples, in the columns of `FEATURES` and `EXAMPLES`."""

    layer: int
    features: pa.Table
    examples: pa.Table


def write_store(folder: str | Path, manifest: Manifest, layers: Iterable[LayerTables], tokens: Sequence[str]) -> Path:
    """Write a store, replacing the one that is there; `tokens` are display strings by token id.

    One layer's tables are in memory at a time. Raises ValueError for tables with other columns and OSError where
    writing fails, with what was there before left as it was.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drafts: list[tuple[Path, Path]] = []
    try:
        for tables in layers:
            _draft(drafts, folder / features_file(tables.layer), tables.features, FEATURES, FEATURE_GROUP)
            _draft(drafts, folder / examples_file(tables.layer), tables.examples, EXAMPLES, EXAMPLE_GROUP)
        vocabulary = pa.table({"token_id": range(len(tokens)), "token": list(tokens)}, schema=TOKENS)
        _draft(drafts, folder / TOKENS_FILE, vocabulary, TOKENS, 65_536)
        _draft_text(drafts, folder / MANIFEST, manifest.to_json())
        (folder / MANIFEST).unlink(missing_ok=True)
        for draft, path in drafts:
            os.replace(draft, path)
    finally:
        for draft, _ in drafts:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    return folder


def _draft(drafts: list[tuple[Path, Path]], path: Path, table: pa.Table, schema: pa.Schema, rows: int) -> None:
    if table.schema.names != schema.names:
        raise ValueError(f"{path.name} has the columns {', '.join(schema.names)}, not {', '.join(table.schema.names)}")
    draft = _beside(drafts, path)
    parquet.write_table(
        table.cast(schema), draft, row_group_size=rows, compression="zstd", compression_level=9, store_schema=False,
        **_encodings(schema),
    )  # fmt: skip
    _sync(draft)


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Floats byte by byte, which packs measured numbers best; the rest, and activations (mostly 0), by dictionary."""
    split, others = [], []
    for entry in schema:
        is_list = pa.types.is_list(entry.type)
        value = entry.type.value_type if is_list else entry.type
        path = f"{entry.name}.list.element" if is_list else entry.name
        parts = {f"{path}.{part.name}": part.type for part in value} if pa.types.is_struct(value) else {path: value}
        for name, kind in parts.items():
            packed = pa.types.is_floating(kind) and entry.name != "activations"
            (split if packed else others).append(name)
    return {"use_byte_stream_split": split, "use_dictionary": others}


def _draft_text(drafts: list[tuple[Path, Path]], path: Path, text: str) -> None:
    draft = _beside(drafts, path)
    draft.write_text(text, encoding="utf-8")
    _sync(draft)


def _beside(drafts: list[tuple[Path, Path]], path: Path) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    drafts.append((draft, path))
    return draft


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
