"""A real JupyterLab for browser tests: one server for all, notebooks written, run and read back.

def test_mine(open_notebook):
    page = open_notebook(["import circuitlab as cl", "cl.MyWidget(…)"])    # runs every cell
    page.locator(".cl").wait_for()                                        # Playwright sees into shadow roots
    assert value(page, "widget.trait") == 3                               # runs a cell and reads its output
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE = 90_000
"""Milliseconds: two busy cores start a kernel and import pandas."""


@dataclass
class Lab:
    """A running server: `url` with its token, and the folder it serves."""

    process: subprocess.Popen
    folder: Path
    port: int
    token: str

    def address(self, name: str) -> str:
        workspace = secrets.token_hex(4)
        return f"http://127.0.0.1:{self.port}/lab/workspaces/{workspace}/tree/{name}?token={self.token}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_lab(home: Path) -> Lab:
    """Start `jupyter lab` on an empty folder in `home`, with settings of its own, and wait until it answers."""
    folder = home / "notebooks"
    folder.mkdir(parents=True)
    settings = home / "settings" / "@jupyter-widgets" / "jupyterlab-manager"
    settings.mkdir(parents=True)
    (wheels,) = json.loads((ROOT / "widgets" / "jupyterlab-settings.json").read_text("utf-8")).values()
    (settings / "plugin.jupyterlab-settings").write_text(json.dumps(wheels))
    news = home / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {
        **os.environ,
        **{name: str(home / place) for name, place in places.items()},
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=",
        "--ServerApp.allow_root=True",
    ]
    with (home / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    lab = Lab(process, folder, port, token)
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=5):
                return lab
        except OSError:
            time.sleep(0.2)
    lab.stop()
    raise RuntimeError(f"jupyter lab did not start:\n{(home / 'lab.log').read_text()[-3000:]}")


def write_notebook(path: Path, cells: list[str]) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


def wait_for_lab(page) -> None:
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=PATIENCE)


def wait_for_kernel(page) -> None:
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'", timeout=PATIENCE
    )


def command(page, name: str) -> None:
    page.evaluate("name => window.jupyterapp.commands.execute(name)", name)


def run_all(page) -> None:
    wait_for_lab(page)
    wait_for_kernel(page)
    command(page, "notebook:run-all-cells")


def save(page) -> None:
    command(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=PATIENCE)


def stop_kernel(page) -> None:
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def value(page, expression: str):
    """The value of a Python expression in the notebook's kernel, through JSON."""
    code = f"import json as _json; print(_json.dumps({expression}))"
    text = page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            let text = "";
            const future = kernel.requestExecute({ code, store_history: false });
            future.onIOPub = message => {
                if (message.header.msg_type === "stream") text += message.content.text;
                if (message.header.msg_type === "error") text += message.content.traceback.join("\\n");
            };
            await future.done;
            return text;
        }""",
        code,
    )
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise AssertionError(f"{expression} failed in the kernel:\n{text}") from None


def eventually(page, expression: str, expected, seconds: float = 30.0):
    """Wait until a Python expression has this value in the kernel."""
    deadline = time.monotonic() + seconds
    while (now := value(page, expression)) != expected:
        assert time.monotonic() < deadline, f"{expression} is {now!r}; expected {expected!r}"
        page.wait_for_timeout(150)
