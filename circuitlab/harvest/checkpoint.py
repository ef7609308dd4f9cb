"""The state of a harvest in one file that is whole or as it was: `tally.safetensors` in the store's folder.

It holds the tally's arrays, and as JSON the marks (what decides the numbers: settings, fingerprints, corpus, shard) and
the place: which block comes next, the digest of the corpus up to there, whether the corpus is finished. Nothing in it
is executed when it is read.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from circuitlab.harvest.tally import Tally
from circuitlab.store.schema import TALLY_FILE

_TEXT = "state.json"


@dataclass
class State:
    """A harvest so far: its tally without what `place` has not reached."""

    marks: Mapping[str, Any]
    tally: Tally
    next_block: int = 0
    digest: str = ""
    finished: bool = False
    shards: list[list[int]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the state; an interruption or a full disk leaves the one before. Raises OSError."""
        text = {
            "marks": dict(self.marks),
            "next_block": self.next_block,
            "digest": self.digest,
            "finished": self.finished,
            "shards": self.shards,
            "skipped": dict(self.tally.skipped),
        }
        raw = np.frombuffer(json.dumps(text, sort_keys=True, ensure_ascii=False).encode(), np.uint8)
        path = folder / TALLY_FILE
        draft = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _write(draft, {_TEXT: raw} | self.tally.arrays())
            os.replace(draft, path)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Straight from the arrays' own memory to the disk; OSError where it is full."""
    path.touch()
    mode = path.stat().st_mode  # what others may read they may go on reading: save_file would keep it to its owner
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        raise OSError(int(code[1]) if code else errno.EIO, str(error)) from error
    path.chmod(mode)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `State.save` wrote, as plain values and arrays; ValueError where it is damaged."""
    path = folder / TALLY_FILE
    try:
        arrays = load_file(path)
        text = json.loads(arrays.pop(_TEXT).tobytes())
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): harvest with --fresh to start anew") from error
    return text, arrays


def clear_drafts(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for draft in folder.glob(".*.part"):
        with suppress(OSError):
            draft.unlink()


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
