"""Mutated transcoder folders of every kind: each opens, or ends in one error that names a file of the folder.

Nothing hangs, takes much memory, or writes. A fixed share runs here; CIRCUITLAB_FUZZ=5000 runs so many per kind:

    CIRCUITLAB_FUZZ=5000 python -m pytest tests/test_fuzz_transcoders.py

Mutations: bits flipped, pieces cut out, doubled or overwritten, files cut off, emptied, exchanged or removed, numbers
and texts in headers, YAML and JSON replaced by hostile ones (huge, negative, nested, paths that lead out).
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import struct
import time
from pathlib import Path

import pytest
from transcoder_kinds import example

from circuitlab.formats.transcoders import read_transcoder

N = int(os.environ.get("CIRCUITLAB_FUZZ", "60"))
SECONDS = float(os.environ.get("CIRCUITLAB_FUZZ_SECONDS", "1"))
GROWTH = 256 * 2**20
SMALL = {"n_features": 4, "d_model": 3, "n_layers": 2}
FORMS = ("plt skip", "clt", "gemmascope", "gemmascope listed", "gemmascope 2 plt skip", "gemmascope 2 clt",
         "crosslayer", "crosslayer pt")  # fmt: skip

NUMBERS = ("0", "-1", "1", "99999999999999999999", "1e999", "-9223372036854775808", "4294967296", "NaN", "1.5")
TEXTS = ("../../etc/passwd", "/etc/passwd", "hf://a/b/../../c", "!!python/object/apply:os.system [id]", "\\u0000",
         "x" * 5000,
    "[" * 3000, "{a: " * 500, "&a [*a, *a]", "null", "true", "BF16", "F64", "I64", "F8_E5M2", "BOOL", "|O", ">f8",
         "<f2", "weight", "topk", "lorsa", "../params.npz")  # fmt: skip


def flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 1, 2, 8])):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def flip_header(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice([1, 2, 4])):
        if data:
            data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
    return data


def cut_off(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.choice([0, 1, 7, 8, 9, len(data) - 1, rng.randrange(len(data) + 1)])]


def cut_out(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice([1, 2, 16, 200])]
    return data


def double(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice([1, 8, 300])]
    return data[:start] + piece + data[start:]


def overwrite(data: bytearray, rng: random.Random) -> bytearray:
    size = rng.choice([4, 8])
    if len(data) > size:
        start = rng.randrange(len(data) - size)
        value = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63]) % 2 ** (8 * size)
        data[start : start + size] = struct.pack("<Q" if size == 8 else "<I", value)
    return data


def number(data: bytearray, rng: random.Random) -> bytearray:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:4000])))
    if not found:
        return flip_bits(data, rng)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS).encode() + data[match.end() :]


def text(data: bytearray, rng: random.Random) -> bytearray:
    found = list(re.finditer(rb"[A-Za-z_][\w./{}>-]+", bytes(data[:4000])))
    if not found:
        return flip_bits(data, rng)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(TEXTS).encode() + data[match.end() :]


def same_length(data: bytearray, rng: random.Random) -> bytearray:
    """A safetensors header with another shape, type or place, its length kept true."""
    if len(data) < 10 or not 2 <= (size := struct.unpack("<Q", bytes(data[:8]))[0]) <= len(data) - 8:
        return number(data, rng)
    try:
        header = json.loads(bytes(data[8 : 8 + size]))
        key = rng.choice([key for key, value in header.items() if {"shape", "data_offsets"} <= value.keys()])
    except (ValueError, IndexError, AttributeError):
        return flip_header(data, rng)
    field = rng.choice(["shape", "dtype", "data_offsets", "name"])
    if field == "name":
        header[rng.choice([*TEXTS[:4], "W_enc", "k"])] = header.pop(key)
    elif field == "dtype":
        header[key]["dtype"] = rng.choice(["F64", "F32", "I64", "BF16", "F8_E4M3", "BOOL", "C64", "Q"])
    else:
        values = header[key][field] or [1]
        values[rng.randrange(len(values))] = rng.choice([0, 1, 2, 10**6, 2**31, 2**62, 2**63, -1])
        header[key][field] = values
    text = json.dumps(header).encode()
    return bytearray(struct.pack("<Q", len(text)) + text + bytes(data[8 + size :]))


MUTATIONS = (flip_bits, flip_header, cut_off, cut_out, double, overwrite, number, text, same_length)


def mutate(files: dict[str, bytes], rng: random.Random) -> dict[str, bytes | None]:
    """Some files of a folder, changed (None: removed)."""
    names = sorted(files)
    changed: dict[str, bytes | None] = {}
    texts = [name for name in names if name.endswith((".yaml", ".json"))]
    for _ in range(rng.choice([1, 1, 1, 2])):
        name = rng.choice(texts) if texts and rng.random() < 0.35 else rng.choice(names)
        if rng.random() < 0.04:
            changed[name] = rng.choice([None, files[rng.choice(names)], b""])
            continue
        data = bytearray(files[name])
        for _ in range(rng.choice([1, 1, 2])):
            data = rng.choice(MUTATIONS)(data, rng)
        changed[name] = bytes(data)
    return changed


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def snapshot(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def attempt(folder: Path, lazy: bool) -> tuple[Exception | None, float]:
    """Read a folder: the error that says what is wrong with it, and the seconds that took."""
    start = time.perf_counter()
    try:
        transcoder = read_transcoder(folder, lazy=lazy)
        assert sum(p.numel() for p in transcoder.parameters()) < 10**6
        error = None
    except (ValueError, OSError) as refusal:
        error = refusal
    return error, time.perf_counter() - start


@pytest.mark.parametrize("name", FORMS)
def test_every_mutation_opens_or_is_refused(tmp_path, name):
    root = tmp_path / "root"
    _, folder = example(name, root / "set", **SMALL)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    before, opened, slowest = peak(), 0, 0.0
    for seed in range(N):
        changed = mutate(files, random.Random(f"{name} {seed}"))
        for place, data in changed.items():
            (folder / place).unlink() if data is None else (folder / place).write_bytes(data)
        there, which = snapshot(root), f"seed {seed}, {sorted(changed)}"
        try:
            error, seconds = attempt(folder, lazy=seed % 2 == 0)
            if seconds > SECONDS:  # once more: the machine may have been busy
                seconds = min(seconds, attempt(folder, lazy=seed % 2 == 0)[1])
        except Exception as crash:
            raise AssertionError(f"{which}: {type(crash).__name__}: {crash}") from crash
        opened, slowest = opened + (error is None), max(slowest, seconds)
        assert error is None or str(folder) in str(error), f"{which} names no file: {error}"
        assert error is None or len(str(error)) < 5000, f"{which}: {len(str(error))} characters"
        assert seconds < SECONDS, f"{which} took {seconds:.1f} s"
        assert snapshot(root) == there, f"{which} wrote something"
        for place in changed:
            (folder / place).write_bytes(files[place])
    assert peak() - before < GROWTH
    assert 0 < opened < N
    print(f"{name}: {N} mutations, {opened} open, slowest {slowest:.3f} s, memory +{(peak() - before) / 2**20:.0f} MiB")
