"""What is installed: the wheel's contents, the versions named, and a front end that builds anywhere."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import front_end
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from circuitlab import atlas

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def build(kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


def test_the_wheel_carries_the_front_end_and_types(wheel):
    names = set(wheel.namelist())
    assert {f"circuitlab/static/{name}" for name in front_end.BUNDLES} | {"circuitlab/py.typed"} <= names
    assert wheel.read("circuitlab/static/page.js") == (ROOT / "circuitlab/static/page.js").read_bytes()


@pytest.mark.parametrize("folder", [atlas.MODEL, atlas.CLT, atlas.EVIDENCE, atlas.QUIRK], ids=lambda path: path.name)
def test_the_wheel_carries_the_bundled_model(wheel, folder):
    files = [file.relative_to(ROOT).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert any(file.endswith((".safetensors", ".parquet")) for file in files)
    assert set(files) <= set(wheel.namelist())


def test_the_wheel_lets_notebooks_keep_what_widgets_show(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("lab/settings/overrides.d/circuitlab.json")]
    assert json.loads(wheel.read(name)) == {"@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True}}


def test_the_wheel_carries_nothing_else(wheel):
    kinds = {".py", ".typed", ".js", ".css", ".json", ".md", ".txt", ".yaml", ".safetensors", ".parquet"}
    outside = [name for name in wheel.namelist() if not name.startswith(("circuitlab/", "circuitlab-0"))]
    odd = [name for name in wheel.namelist() if ".dist-info/" not in name and Path(name).suffix not in kinds]
    assert outside == []
    assert odd == []
    assert sum(file.file_size for file in wheel.infolist()) < 40e6


def test_an_sdist_builds_without_node(tmp_path):
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4
    with tarfile.open(build("sdist", tmp_path / "dist")) as archive:
        archive.extractall(tmp_path, **safely)
        assert not any("node_modules" in name or ".venv" in name for name in archive.getnames())
    (top,) = tmp_path.glob("circuitlab-*")
    assert (top / "widgets" / "src" / "page" / "main.ts").is_file()
    done = subprocess.run(
        [sys.executable, "-I", "widgets/front_end.py", "build"],
        cwd=top,
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A small tree with one source and its bundles, in which to change what is newer."""
    (tmp_path / "widgets" / "src").mkdir(parents=True)
    (tmp_path / "static").mkdir()
    monkeypatch.setattr(front_end, "WIDGETS", tmp_path / "widgets")
    monkeypatch.setattr(front_end, "STATIC", tmp_path / "static")
    for at, file in enumerate(["widgets/src/main.ts", *(f"static/{name}" for name in front_end.BUNDLES)]):
        (tmp_path / file).write_text("")
        os.utime(tmp_path / file, (1000 + at, 1000 + at))
    return tmp_path


def test_bundles_newer_than_their_sources_are_kept(tree):
    assert front_end.is_built()


def test_bundles_older_than_a_source_are_built_again(tree):
    os.utime(tree / "widgets/src/main.ts", (2000, 2000))
    assert not front_end.is_built()


def test_a_missing_bundle_is_built(tree):
    (tree / "static" / front_end.BUNDLES[0]).unlink()
    assert not front_end.is_built()


def test_an_unpacked_sdist_is_built_whatever_its_times(tree):
    os.utime(tree / "widgets/src/main.ts", (2000, 2000))
    (tree / "PKG-INFO").write_text("")
    assert front_end.is_built()


def test_node_comes_with_python_where_the_machine_has_none(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert front_end.machine_npm() is None
    command = front_end.wheel_npm()
    assert command is not None
    answer = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert re.match(r"\d+\.\d+", answer.stdout)


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_constraints_name_a_version_within_every_range():
    asked = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    named = constraints()
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(named[canonicalize_name(requirement.name)]), requirement
    assert {named["torch"], named["transformer-lens"]} == {"2.13.0", "4.3.0"}


def test_conda_installs_the_same_versions():
    text = (ROOT / "environment.yml").read_text("utf-8")
    assert "python=3.11" in text
    assert "- -c constraints.txt" in text
    assert "- -e .[dev]" in text


def test_the_lock_file_serves_every_machine():
    packages = json.loads((ROOT / "widgets" / "package-lock.json").read_text("utf-8"))["packages"]
    asked = {name for package in packages.values() for name in package.get("optionalDependencies", {})}
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name in asked if f"node_modules/{name}" not in packages] == []


def test_the_script_never_parses_html():
    parsers = r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    sources = list((ROOT / "widgets" / "src").rglob("*.ts"))
    assert sources
    assert [source.name for source in sources if re.search(parsers, source.read_text("utf-8"))] == []
