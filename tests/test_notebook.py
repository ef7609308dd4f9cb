"""Between two cells the kernel imports what showing a graph needs; nowhere else."""

import subprocess
import sys
from pathlib import Path

CELLS = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from graphs import closing_graph
if {kernel}:
    sys.modules["ipykernel"] = sys

async def kernel():
    closing_graph()
    closing_graph()
    during = "PIL.ImageFont" in sys.modules
    await asyncio.sleep(0.02)
    for _ in range(200):
        if "PIL.PngImagePlugin" in sys.modules:
            break
        await asyncio.sleep(0.05 if {kernel} else 0.002)
    print(during, "PIL.PngImagePlugin" in sys.modules, "torch" in sys.modules)

closing_graph()
asyncio.run(kernel())
"""


def cells(kernel):
    code = CELLS.format(tests=str(Path(__file__).parent), kernel=kernel)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_in_a_kernel_the_modules_come_after_the_cell():
    assert cells(kernel=True) == ["False", "True", "False"]


def test_elsewhere_nothing_is_imported():
    assert cells(kernel=False) == ["False", "False", "False"]


SHOW = """
import sys
sys.path.insert(0, {tests!r})
from graphs import closing_graph
data, _ = closing_graph()._repr_mimebundle_()
print(sorted(data), "matplotlib.figure" in sys.modules)
"""


def test_a_graph_is_shown_without_waiting_for_matplotlib():
    code = SHOW.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    shown, imported = done.stdout.rsplit(maxsplit=1)
    assert all(kind in shown for kind in ("image/png", "image/svg+xml", "text/plain", "widget-view+json"))
    assert imported == "False"
