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
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from circuitlab.harvest.tally import Tally
from circuitlab.store.schema import TALLY_FILE

LOCK_FILE = ".harvest.lock"
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
    size: int | None = None
    """Of the whole corpus where that is known beforehand, in `corpus.total_size`'s unit."""

    def save(self, folder: Path) -> None:
        """Write the state; an interruption or a full disk leaves the one before. Raises OSError."""
        text = {
            "marks": dict(self.marks),
            "next_block": self.next_block,
            "digest": self.digest,
            "finished": self.finished,
            "shards": self.shards,
            "size": self.size,
            "skipped": dict(self.tally.skipped),
        }
        raw = np.frombuffer(json.dumps(text, sort_keys=True, ensure_ascii=False).encode(), np.uint8)
        path = folder / TALLY_FILE
        drafts = folder / f".{path.name}.{os.getpid()}.part"  # a folder: save_file leaves files of its own when killed
        drafts.mkdir(exist_ok=True)
        try:
            _write(drafts / path.name, {_TEXT: raw} | self.tally.arrays())
            os.replace(drafts / path.name, path)
        finally:
            shutil.rmtree(drafts, ignore_errors=True)


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
        _require_state(text)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error
    return text, arrays


def _require_state(text: Any) -> None:
    """ValueError, KeyError or TypeError unless everything is there that is asked for later."""
    kinds = {"marks": dict, "next_block": int, "digest": str, "finished": bool, "shards": list, "skipped": dict}
    wrong = [name for name, kind in kinds.items() if type(text[name]) is not kind]
    marks = text["marks"]
    wrong += [name for name in ("model", "transcoder", "settings") if type(marks[name]) is not dict]
    if wrong or not all(type(n) is int for part, of in text["shards"] for n in (part, of)):
        raise ValueError(f"its {', '.join(wrong) or 'shards'} are of another kind than expected")
    named = [marks[what][key] for what in ("model", "transcoder") for key in ("name", "fingerprint")]
    sizes = [marks["transcoder"][key] for key in ("n_layers", "n_features")]
    if not all(isinstance(name, str) for name in [*named, marks["corpus"]]) or not all(type(n) is int for n in sizes):
        raise ValueError("its marks are not those of a harvest")


def merge_arrays(tally: Tally, folder: Path, text: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Add what `read_state` gave to a tally; ValueError where its arrays are not those of such a tally."""
    try:
        with np.errstate(invalid="raise"):
            tally.merge(arrays, text["skipped"])
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise _damaged(folder / TALLY_FILE, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}): harvest with --fresh to start anew")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for this harvest alone; ValueError where another writes into it. A killed process holds nothing."""
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        with suppress(NotImplementedError):  # a file system without locks: two at once are then the user's to avoid
            lock.acquire()
    except Timeout:
        raise ValueError(
            f"another harvest is writing into {folder}: wait until it has ended, or name another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def clear_drafts(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for draft in folder.glob(".*.part"):
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            with suppress(OSError):
                draft.unlink()


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
