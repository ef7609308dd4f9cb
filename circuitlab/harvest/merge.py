"""Stores of the shards of one corpus → the store that one harvest over all of it gives, bit for bit. Needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from circuitlab.harvest.checkpoint import State, clear_drafts, locked, merge_arrays, read_state
from circuitlab.harvest.run import WHOLE, manifest_of, require_same
from circuitlab.harvest.settings import HarvestSettings
from circuitlab.harvest.tables import WEIGHT_COLUMNS, layer_tables
from circuitlab.harvest.tally import Tally
from circuitlab.store.labels import Labels
from circuitlab.store.schema import LABELS_FILE, TALLY_FILE, TOKENS_FILE, Manifest, features_file
from circuitlab.store.writer import write_store


def merge(folders: Sequence[str | Path], out: str | Path) -> Manifest:
    """Merge stores of different shards of one corpus into the store `out`; some shards may be missing. The histories of
    their labels are joined.

    Raises ValueError for stores of other models, transcoders, corpora or settings, for a shard given twice, for one
    that is not finished, and for one harvested without its tally.
    """
    paths, out = [Path(folder) for folder in folders], Path(out)
    if not paths:
        raise ValueError("no stores were given: name those to merge")
    found = [_finished(path) for path in paths]
    first = found[0][0]
    for path, (text, _) in zip(paths[1:], found[1:], strict=True):
        require_same(paths[0], first["marks"], text["marks"])
        if text["digest"] != first["digest"]:
            raise ValueError(f"{path} was harvested from another corpus than {paths[0]}: their texts differ")
    marks = first["marks"]
    n_layers, n_features = marks["transcoder"]["n_layers"], marks["transcoder"]["n_features"]
    tally = Tally(n_layers * n_features, HarvestSettings(**marks["settings"]))
    for path, (text, arrays) in zip(paths, found, strict=True):
        merge_arrays(tally, path, text, arrays)
    shards = _joined([tuple(shard) for text, _ in found for shard in text["shards"]])
    state = State(marks, tally, first["next_block"], first["digest"], True, shards, first.get("size"))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        clear_drafts(out)
        state.save(out)
        tokens = parquet.read_table(paths[0] / TOKENS_FILE)["token"].to_pylist()
        tables = layer_tables(tally, n_layers, lambda layer: _weight_columns(paths[0], layer))
        write_store(out, manifest_of(state), tables, tokens)
    if any((path / LABELS_FILE).is_file() for path in paths):
        Labels(out).merge([path for path in paths if path != out])
    return Manifest.read(out)


def _finished(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    Manifest.read(path)
    if not (path / TALLY_FILE).is_file():
        raise ValueError(f"{path} has no {TALLY_FILE}: it was harvested without one (--no-tally) and cannot be merged")
    text, arrays = read_state(path)
    if not text["finished"]:
        raise ValueError(f"the harvest of {path} is not finished: run it again to go on, then merge")
    return text, arrays


def _joined(shards: list[tuple[int, int]]) -> list[list[int]]:
    """All shards in order; [[0, 1]] where they are the whole."""
    counts = {of for _, of in shards}
    if len(counts) > 1:
        raise ValueError(f"shards of {' and of '.join(map(str, sorted(counts)))} cannot be merged: they overlap")
    if len(set(shards)) < len(shards):
        twice = next(shard for shard in shards if shards.count(shard) > 1)
        raise ValueError(f"the shard {twice[0]}/{twice[1]} was given twice")
    return [list(WHOLE)] if len(shards) == counts.pop() else [list(shard) for shard in sorted(shards)]


def _weight_columns(folder: Path, layer: int) -> dict[str, pa.Array]:
    table = parquet.read_table(folder / features_file(layer), columns=list(WEIGHT_COLUMNS))
    return {name: table[name].combine_chunks() for name in WEIGHT_COLUMNS}
