"""Limits on what an endpoint may take of this process: time for a whole answer, and bytes of it.

A client's own timeout is one for each read, which an answer that drips never exceeds, and it reads whatever comes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

LARGEST_BODY = 4 * 2**20
"""Bytes of an answer as sent."""
UNPACKED = 64
"""A compressed answer may have this share of `LARGEST_BODY`: it may unpack to a thousand times its size."""
T = TypeVar("T")


def within(seconds: float | int, ask: Callable[[], T]) -> T:
    """What `ask` gives or raises; TimeoutError where it takes longer: then it goes on in a thread nobody waits for."""
    said: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            said.put((ask(), None))
        except BaseException as error:  # raised below, in the thread that asked
            said.put((None, error))

    threading.Thread(target=run, name="endpoint", daemon=True).start()
    try:
        found, error = said.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found


def bound(response: Any) -> None:
    """A response hook of an HTTP client: reading more of a body than may come is a ValueError."""
    packed = response.headers.get("content-encoding", "identity") != "identity"
    response.stream = _bounded(response.stream, LARGEST_BODY // (UNPACKED if packed else 1))


def _bounded(stream: Any, most: int) -> Any:
    base: Any = next(kind for kind in type(stream).__mro__ if kind.__name__ == "SyncByteStream")  # httpx's or httpx2's

    class Bounded(base):
        def __iter__(self) -> Iterator[bytes]:
            n_bytes = 0
            for chunk in stream:
                n_bytes += len(chunk)
                if n_bytes > most:
                    raise ValueError(f"an answer of more than {most:,} bytes")
                yield chunk

        def close(self) -> None:
            stream.close()

    return Bounded()
