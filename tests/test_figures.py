"""Figures: every format, real text, the same bytes, and honest captions."""

import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from graphs import closing_graph

from circuitlab.figures import draw, legible
from circuitlab.graph import Graph


def graph() -> Graph:
    return closing_graph(seed=1).annotate({"1_0_2": "say $x_1$ <b>"})


@pytest.mark.parametrize(("kind", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_same_graph_gives_the_same_bytes(kind, magic, tmp_path):
    first = graph().savefig(tmp_path / f"a.{kind}", width="single-column", dpi=60).read_bytes()
    second = graph().savefig(tmp_path / f"b.{kind}", width="single-column", dpi=60).read_bytes()
    assert first == second
    assert first.startswith(magic)


def test_svg_holds_text_as_text(tmp_path):
    svg = graph().savefig(tmp_path / "a.svg", title="Title & more").read_text("utf-8")
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")]
    assert {"say $x_1$ <b>", "Title & more", "L2", "t0"} <= {text.strip() for text in texts}
    assert "Attribution graph of" in svg
    assert "random" in svg


def test_pdf_embeds_truetype(tmp_path):
    pdf = graph().savefig(tmp_path / "a.pdf").read_bytes()
    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_width_is_what_was_asked_for():
    assert draw(graph(), "single-column").figure.get_figwidth() * 25.4 == pytest.approx(89)
    assert draw(graph(), 120).figure.get_figwidth() * 25.4 == pytest.approx(120)


def test_users_compose_panels(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    left, right = figure.subplots(1, 2)
    assert draw(graph(), ax=left) is left
    right.plot([1, 2])
    graph().savefig(tmp_path / "panels.png", ax=left, dpi=50)
    assert len(left.texts) > 5


def test_a_large_graph_is_pruned_and_the_caption_says_so():
    large = closing_graph(seed=2, n_layers=5, n_pos=5, n_features=4, density=0.5)
    small, note = legible(large, 60)
    assert len(small.nodes) <= 61
    assert note.startswith(f"{len(small.nodes) - 1} of {len(large.nodes) - 1} nodes")
    assert legible(large, 10_000)[0] is large


def test_negative_edges_are_dashed_and_coloured(tmp_path):
    from circuitlab.layout import THEMES

    svg = graph().savefig(tmp_path / "a.svg").read_text("utf-8")
    dashed = [line for line in svg.splitlines() if "stroke-dasharray" in line]
    assert dashed
    assert all(THEMES["light"].negative in line for line in dashed)
    assert THEMES["light"].positive in svg


def test_dark_differs_from_light(tmp_path):
    dark = graph().savefig(tmp_path / "a.svg", theme="dark").read_text("utf-8")
    assert "#14171c" in dark


def test_pgf_is_written_where_latex_is(tmp_path):
    if not (shutil.which("xelatex") or shutil.which("pdflatex")):
        with pytest.raises(ValueError, match="LaTeX"):
            graph().savefig(tmp_path / "a.pgf")
        assert list(tmp_path.iterdir()) == []
        return
    assert "pgfpicture" in graph().savefig(tmp_path / "a.pgf").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.gif", {}, "figures end in"),
        ("a.svg", {"width": "column"}, "'single-column'"),
        ("a.svg", {"width": 5}, "20 to 2000 millimetres"),
        ("a.svg", {"theme": "blue"}, "known are light, dark"),
        ("no/a.svg", {}, "does not exist"),
    ],
)
def test_bad_requests_are_refused(name, options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        graph().savefig(tmp_path / name, **options)
