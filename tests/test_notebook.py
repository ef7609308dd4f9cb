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
    during = "matplotlib" in sys.modules
    await asyncio.sleep(0.02)
    for _ in range(200):
        if "PIL.Image" in sys.modules and "matplotlib.figure" in sys.modules:
            break
        await asyncio.sleep(0.05 if {kernel} else 0.002)
    print(during, "matplotlib.figure" in sys.modules, "torch" in sys.modules)

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
