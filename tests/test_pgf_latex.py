"""PGF figures in a LaTeX document: every engine of this machine sets them without a complaint."""

import re
import shutil
import subprocess

import pytest
from graphs import closing_graph

from circuitlab.view import View

NASTY = "100% #1 _x_ {y} \\z ~^ $a$ & <b> \"q\" 'r' `s` -- é ß Ж λ 東京 🗼 «ð» ␣ → …"
DOCUMENT = r"""\documentclass{article}
\usepackage{pgf}
\pagestyle{empty}
\begin{document}
\noindent\input{whole.pgf}
\newpage
\noindent\input{sub.pgf}
\end{document}
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tex")
    graph = closing_graph(seed=1).annotate({"1_0_2": NASTY})
    view = View(pinned=["E_10_0", "1_0_2"], supernodes={NASTY: ["2_0_2"]})
    graph.savefig(folder / "whole.pgf", title=NASTY)
    graph.savefig(folder / "sub.pgf", view=view, width="single-column")
    (folder / "paper.tex").write_text(DOCUMENT, "utf-8")
    return folder


@pytest.mark.parametrize("engine", ["pdflatex", "lualatex", "xelatex"])
def test_a_document_with_our_figures_compiles(engine, figures):
    if not shutil.which(engine):
        pytest.skip(f"no {engine} on this machine: install TeX Live to compile the PGF figures with it")
    if not subprocess.run(["kpsewhich", "pgf.sty"], capture_output=True, text=True, check=False).stdout.strip():
        pytest.skip("this machine's LaTeX has no PGF: install texlive-pictures")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", f"-jobname={engine}", "paper.tex"]
    done = subprocess.run(command, cwd=figures, capture_output=True, timeout=240, check=False)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said[-3000:]
    assert "\n!" not in said
    assert re.search(r"Output written on \S+\.pdf \(2 pages", said.replace("\n", ""))
