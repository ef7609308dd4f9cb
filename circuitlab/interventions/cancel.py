"""Giving a run up between two layers: whoever asked for it may want something else before it is done."""

from __future__ import annotations

from collections.abc import Callable

Asked = Callable[[], bool]
"""Whether the run is no longer wanted; asked before every layer, so it should be quick."""


class Cancelled(Exception):
    """Raised out of a run whose `cancelled()` came true; nothing is kept of it."""


def heed(cancelled: Asked | None) -> None:
    """Raise `Cancelled` where the run is no longer wanted."""
    if cancelled is not None and cancelled():
        raise Cancelled("the run was given up: what it was for has been asked anew")
