"""Mutations of files, by structure and by byte, and what opening one must never do.

`FUZZ` is how many mutations each format gets: a fixed share by default, CIRCUITLAB_FUZZ=5000 for the full count. Every
mutation is made from its own seed, so that a failure names what to repeat.
"""

import copy
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FUZZ = int(os.environ.get("CIRCUITLAB_FUZZ", "120"))
SLOWEST = 1.0
"""Seconds of processor time that opening one file may take."""
GROWTH = 500 * 2**20
"""Bytes by which opening all of them may raise the peak of resident memory."""
VALUES = [
    None, True, 0, -1, 1, 2**31, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", "x",
    "../../etc/passwd", "\u0000", "\ud800", "1_4_1", "9" * 5000, "E", [], {}, [[]], [None], {"": {}}, [[[[]]]],
]  # fmt: skip
TOKENS = [
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 4500,
    b"[" * 3000,
    b'{"a":' * 2000,
    b"null",
    b'"',
    b"\\ud800",
]
HARMFUL = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "os.fork")
_watched: dict[str, Any] = {"on": False, "seen": []}


def _watch(event: str, arguments: tuple) -> None:
    if not _watched["on"]:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event.startswith(HARMFUL) or event in ("os.mkdir", "os.remove", "os.rename") or writes:
        _watched["seen"].append((event, str(arguments)[:200]))


sys.addaudithook(_watch)


def mutated_value(value: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value with one to three places changed: dropped, replaced, repeated, swapped, nested."""
    value = {"": copy.deepcopy(value)}
    for _ in range(int(rng.integers(1, 4))):
        owner, key = _place(value, rng)
        act = int(rng.integers(6))
        if act == 0:
            del owner[key]
        elif act == 1 and isinstance(owner, list):
            owner.insert(int(rng.integers(len(owner) + 1)), copy.deepcopy(owner[key]))
        elif act == 2 and isinstance(owner, list) and len(owner) > 1:
            other = int(rng.integers(len(owner)))
            owner[key], owner[other] = owner[other], owner[key]
        elif act == 3:
            for _ in range(int(rng.integers(1, 60))):
                owner[key] = [owner[key]]
        elif act == 4 and isinstance(owner, dict):
            owner[f"{key}x"] = owner.pop(key)
        else:
            owner[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        if "" not in value:
            return VALUES[int(rng.integers(len(VALUES)))]
    return value[""]


def _place(value: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """A random container within a value and one of its keys or indices."""
    owner, key = value, ""
    while isinstance(owner[key], (dict, list)) and owner[key] and rng.random() < 0.85:
        owner = owner[key]
        key = list(owner)[int(rng.integers(len(owner)))] if isinstance(owner, dict) else int(rng.integers(len(owner)))
    return owner, key


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, cut off, dropped, repeated, or a hostile token put in."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        act, at = int(rng.integers(6)), int(rng.integers(max(len(made), 1)))
        if act == 0:
            made = made[:at]
        elif act == 1:
            made[at:at] = TOKENS[int(rng.integers(len(TOKENS)))]
        elif act == 2:
            del made[at : at + int(rng.integers(1, 40))]
        elif act == 3:
            made[at:at] = made[at : at + int(rng.integers(1, 40))]
        else:
            for place in rng.integers(0, max(len(made), 1), int(rng.integers(1, 6))):
                if len(made):
                    made[place] = int(rng.integers(256))
    return bytes(made)


def mutated_json(value: Any, rng: np.random.Generator) -> bytes:
    """A JSON text: two in three by structure, the others by byte."""
    if rng.random() < 0.67:
        value = mutated_value(value, rng)
        try:
            return json.dumps(value).encode()
        except RecursionError:
            return b"["
    return mutated_bytes(json.dumps(value).encode(), rng)


def survives(
    make: Callable[[np.random.Generator], Path], open_it: Callable[[Path], Any], n: int = FUZZ
) -> tuple[int, int]:
    """Open `n` mutated files; each opens or ends in an error that names it. Gives how many opened and were refused."""
    opened = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(n):
        path = make(np.random.default_rng(seed))
        start = time.process_time()
        _watched["on"], _watched["seen"] = True, []
        complaint = ""
        try:
            open_it(path)
            opened += 1
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            if str(path) not in str(error) or len(str(error)) > 3000:
                complaint = f"an error of {len(str(error))} characters that should name the file: {error}"
        except Exception as error:
            complaint = f"{type(error).__name__}: {error}"
        finally:
            _watched["on"] = False
        assert not complaint, f"mutation {seed} of {path.name} ended in {complaint:.2000}"
        took = time.process_time() - start
        assert took < SLOWEST, f"mutation {seed} took {took:.1f} s"
        assert not _watched["seen"], f"mutation {seed} did {_watched['seen']}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < GROWTH, f"memory grew by {grown:,} bytes"
    return opened, refused
