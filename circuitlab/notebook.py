"""In a notebook: what showing a graph needs is imported while the kernel has nothing to do.

Jupyter's widgets and Pillow are imported between two cells, on the kernel's own event loop, so that no thread races
with the imports of the next cell. matplotlib, which takes longer than all the rest, is not needed (`figures.cell`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import cache
from importlib import import_module

NEEDED = (
    "circuitlab.widgets.display",
    "PIL.ImageDraw",
    "PIL.ImageFont",
    "PIL.PngImagePlugin",
)
PAUSE = 0.05
"""Seconds after the cell, and between modules, so that messages of the browser come first."""


def prepare_to_show() -> None:
    """Import `NEEDED` once the running cell has ended; does nothing outside a notebook's kernel, or a second time."""
    if "ipykernel" not in sys.modules:
        return
    with contextlib.suppress(RuntimeError):  # no loop runs: this thread is not the kernel's
        _import_from(asyncio.get_running_loop())


@cache
def _import_from(loop: asyncio.AbstractEventLoop, at: int = 0) -> None:
    def step() -> None:
        with contextlib.suppress(ImportError):  # said where the module is used
            import_module(NEEDED[at])
        if at + 1 < len(NEEDED):
            _import_from(loop, at + 1)

    loop.call_later(PAUSE, step)
