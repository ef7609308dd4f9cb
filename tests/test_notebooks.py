"""Every notebook runs from top to bottom; its assertions are its claims."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_claims_hold(notebook):
    assert notebook.with_suffix(".ipynb").is_file(), "pair it: jupytext --to ipynb"
    try:
        runpy.run_path(str(notebook))
    finally:
        plt.close("all")  # a notebook's own process would be gone now
