"""Every notebook runs from top to bottom, two at a time, each in a process of its own; asserts are its claims."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))
LONGEST = 600


def run(notebook: Path) -> subprocess.CompletedProcess:
    settings = {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error::FutureWarning", "-W", "error::RuntimeWarning", str(notebook)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | settings, timeout=LONGEST, cwd=notebook.parent
    )


@pytest.fixture(scope="module")
def runs(request) -> Iterator[dict[Path, Future]]:
    asked = [item.callspec.params["notebook"] for item in request.session.items if item.path == Path(__file__)]
    with ThreadPoolExecutor(2) as pool:
        yield {notebook: pool.submit(run, notebook) for notebook in asked}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_claims_hold(notebook, runs):
    assert notebook.with_suffix(".ipynb").is_file(), "pair it: jupytext --to ipynb"
    ended = runs[notebook].result()
    assert ended.returncode == 0, ended.stderr[-3000:]
