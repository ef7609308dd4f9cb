"""The public surface: what is exported, what importing costs, what the README promises."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import circuitlab as cl

ROOT = Path(__file__).resolve().parents[1]


def test_all_is_sorted_and_true():
    assert cl.__all__ == sorted(cl.__all__)
    for name in cl.__all__:
        value = getattr(cl, name)
        assert (getattr(value, "__module__", None) or value.__name__).startswith("circuitlab.")
    assert set(cl.__all__) <= set(dir(cl))


def test_unknown_names_are_attribute_errors():
    assert not hasattr(cl, "nonsense")


def test_importing_and_opening_a_graph_needs_no_torch(tmp_path):
    code = """
import sys, circuitlab
assert "pandas" not in sys.modules and "torch" not in sys.modules
circuitlab.Graph, circuitlab.Graph.open, circuitlab.Graph.savefig
import circuitlab.figures, circuitlab.page, circuitlab.layout
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_only_the_adapter_imports_transformer_lens():
    for file in (ROOT / "circuitlab").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "transformer_lens" for name in names):
                assert file.name == "model.py", f"{file} imports transformer_lens"


def test_version_and_changelog_agree():
    assert f"## {cl.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f'version = "{cl.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_readmes_tree_names_what_is_there():
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = readme.split("```\ncircuitlab/\n")[1].split("```")[0]
    named = re.findall(r"^  ([a-z_]+(?:\.py|/))(?: +([a-z_]+\.py))?", tree, re.MULTILINE)
    files = {name.rstrip("/") for pair in named for name in pair if name}
    there = {path.name for path in (ROOT / "circuitlab").iterdir() if not path.name.startswith(("_", "."))}
    assert files == there - {"py.typed", "static", "svg.py"} | (files & {"svg.py"})


def test_the_readmes_python_compiles_and_names_real_things():
    readme = (ROOT / "README.md").read_text("utf-8")
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cl":
                assert node.attr in cl.__all__
