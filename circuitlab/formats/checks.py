"""Values read from files of others: each check gives the value back or a ValueError that says where and what.

`where` is the place as a reader would look for it: "features/12.json: examples_quantiles[0].examples[3].tokens".
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

WIDEST = 2**31 - 1
LONGEST_TEXT = 100_000
LONGEST_LABEL = 1_000


def refuse(where: str, found: Any, expected: str) -> NoReturn:
    shown = repr(found)
    raise ValueError(f"{where} is {shown if len(shown) <= 60 else shown[:59] + '…'}; expected {expected}")


def whole(value: Any, where: str, low: int = 0, high: int = WIDEST) -> int:
    """A whole number; 3.0 is one, True is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(where, value, f"a whole number from {low} to {high:,}")
    return value


def number(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(where, value, "a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        refuse(where, value, "a finite number")
    return found


def numbers(value: Any, where: str) -> tuple[float, ...]:
    return tuple(number(item, f"{where}[{at}]") for at, item in enumerate(sequence(value, where)))


def text(value: Any, where: str, longest: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str):
        refuse(where, value, "text")
    if len(value) > longest:
        raise ValueError(f"{where} has {len(value):,} characters; expected at most {longest:,}")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(text(item, f"{where}[{at}]") for at, item in enumerate(sequence(value, where)))


def sequence(value: Any, where: str) -> list[Any]:
    """A list; null stands for an empty one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        refuse(where, value, "a list")
    return list(value)


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        refuse(where, value, "an object")
    return value


# ---- files ----


def parse_json(content: bytes, where: str) -> Any:
    """The JSON in some bytes; lone surrogates are kept, so that tokens survive."""
    try:
        return json.loads(content.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON that can be read: {error}") from error


def json_bytes(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def read_bytes(path: Path, largest: int) -> bytes:
    """A file's content; one that is absent or larger than `largest` bytes is refused unread."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"{path} has {size:,} bytes; expected at most {largest:,}")
    return path.read_bytes()


def inflate(content: bytes | memoryview, where: str, largest: int) -> bytes:
    """What gzip, zlib or raw deflate packed, never more than `largest` bytes of it."""
    head = bytes(content[:2])
    wrapped = head == b"\x1f\x8b" or (len(head) == 2 and head[0] & 15 == 8 and (head[0] * 256 + head[1]) % 31 == 0)
    unpacker = zlib.decompressobj(47 if wrapped else -15)
    try:
        found = unpacker.decompress(content, largest + 1)
    except zlib.error as error:
        raise ValueError(f"{where} is not whole deflate or gzip data: {error}") from error
    if len(found) > largest:
        raise ValueError(f"{where} unpacks to more than {largest:,} bytes")
    if not unpacker.eof:
        raise ValueError(f"{where} ends before its deflate or gzip data does")
    return found
