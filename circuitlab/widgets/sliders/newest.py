"""Run the newest request only: a worker thread that forgets what was asked before.

A browser's messages are handled one by one, and a run of the model may take longer than the next message needs to
arrive. `submit` therefore only puts the request into a slot, where a newer one replaces it, and returns; a thread
takes what lies in the slot. A run in flight is told by its `cancelled()` that a newer request has been made, so that it
can end early; if it does not, its outcome is dropped. Each request has a revision, a number that grows, and its outcome
goes out under it.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

_started: weakref.WeakSet[Newest] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Let runs end before the interpreter does: a thread caught inside torch by its end would abort the process."""
    for newest in list(_started):
        newest.close()
    for newest in list(_started):
        newest.join()


class Newest:
    """Runs `work(request, cancelled)` in a thread and gives `(revision, outcome)` to `deliver`, unless a newer came.

    `work` gives any value; what it raises is delivered as the exception; once `cancelled()` is true nobody waits for
    it any more. `settle`: seconds without a newer request
    before a run starts, for what is too slow to follow a drag. `deliver` is called in the thread, and never for a
    revision below one that it has had.
    """

    def __init__(
        self,
        work: Callable[[Any, Callable[[], bool]], Any],
        deliver: Callable[[int, Any], None],
        name: str = "circuitlab-newest",
        settle: float | int = 0.0,
    ) -> None:
        self._work, self._deliver, self._name, self._settle = work, deliver, name, settle
        self._changed = threading.Condition()
        self._slot: tuple[int, Any, contextvars.Context] | None = None
        self._newest = 0
        self._running = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self.started = 0
        self.dropped = 0

    def submit(self, revision: int, request: Any) -> None:
        """Ask for a run; one that was asked for before and has not started never will."""
        with self._changed:
            if self._closed or revision < self._newest:
                return
            self.dropped += self._slot is not None
            self._slot, self._newest = (revision, request, contextvars.copy_context()), revision
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
                _started.add(self)
            self._changed.notify_all()

    def cancel(self, revision: int) -> None:
        """Nothing below this revision is delivered any more, and what waits is forgotten."""
        with self._changed:
            self._newest = max(self._newest, revision)
            if self._slot is not None and self._slot[0] < revision:
                self._slot = None
            self._changed.notify_all()

    def wait(self, seconds: float | int = 30.0) -> bool:
        """Whether everything that was asked for is done, after waiting at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._slot is None and not self._running, seconds)

    def close(self) -> None:
        """End the thread after its present run; nothing is delivered any more."""
        with self._changed:
            self._closed, self._slot = True, None
            self._changed.notify_all()

    def join(self, seconds: float | int = 30.0) -> None:
        """Wait for the thread of a closed one to end."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _loop(self) -> None:
        while (taken := self._take()) is not None:
            revision, request, context = taken
            context.run(self._one, revision, request)
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def _one(self, revision: int, request: Any) -> None:
        try:
            outcome = self._work(request, lambda: self._is_stale(revision))
        except Exception as error:  # shown where the request was made
            outcome = error
        with self._changed:
            stale = self._is_stale(revision)
            self.dropped += stale
        if not stale:
            self._deliver(revision, outcome)

    def _is_stale(self, revision: int) -> bool:
        return self._closed or revision < self._newest

    def _take(self) -> tuple[int, Any, contextvars.Context] | None:
        """The newest request, once nothing newer came for `settle` seconds; None when closed."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._closed or self._slot is not None)
                if self._slot is not None and self._is_settled(self._slot):
                    taken, self._slot, self._running = self._slot, None, True
                    self.started += 1
                    return taken
            return None

    def _is_settled(self, slot: tuple[int, Any, contextvars.Context]) -> bool:
        deadline = time.monotonic() + self._settle
        while (left := deadline - time.monotonic()) > 0:
            if self._changed.wait_for(lambda: self._closed or self._slot is not slot, left):
                return False
        return True
