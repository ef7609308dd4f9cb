"""Fixtures for tests in a real browser: one Chromium and one JupyterLab for all of them.

`chromium`: a Playwright browser. `lab`: a running JupyterLab (tests/lab.py). `open_notebook(cells)`: a page in which a
new notebook of these cells has been run; what the browser complains about fails the test.
"""

import os
import secrets

import pytest
from browser import find_chromium
from hypothesis import HealthCheck, settings

# A busy machine is no failure, and CI draws the same examples every time.
settings.register_profile(
    "circuitlab", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("circuitlab")

FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, of the dev extra, is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: install one and run again")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*options, *FLAGS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    from lab import start_lab

    server = start_lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def open_notebook(chromium, lab):
    """Writes a notebook of these cells, opens it in JupyterLab and runs it; `errors` of scripts fail the test."""
    from lab import PATIENCE, run_all, write_notebook

    context = chromium.new_context(viewport={"width": 1500, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    complaints = []
    # anywidget loads bundles from blobs; what JupyterLab's own scripts throw, as on a kernel's end, is not ours
    context.on("weberror", lambda error: complaints.append(f"{error.error}\n{error.error.stack}"))

    def open_page(cells: list[str], name: str | None = None, run: bool = True):
        name = name or f"{secrets.token_hex(4)}.ipynb"
        if cells:
            write_notebook(lab.folder / name, cells)
        page = context.new_page()
        page.goto(lab.address(name))
        if run:
            run_all(page)
        return page

    yield open_page
    for page in context.pages:
        if page.url.startswith("http"):
            page.evaluate("window.jupyterapp?.serviceManager?.sessions?.shutdownAll()")
    context.close()
    assert [complaint for complaint in complaints if "blob:" in complaint] == []
