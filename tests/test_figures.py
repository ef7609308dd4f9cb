"""Figures: every format, real text, the same bytes, and honest captions."""

import base64
import contextlib
import io
import re
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from graphs import closing_graph
from PIL import Image

from circuitlab.figures import draw, legible, static_mimebundle
from circuitlab.figures.cell import DPI, cell_png, cell_svg
from circuitlab.figures.scene import DASHES, Scene, line, rectangle
from circuitlab.graph import Graph
from circuitlab.layout import THEMES
from circuitlab.view import View

VIEW = View(pinned=["E_10_0", "4_0_2", "1_0_2"], supernodes={"say a capital": ["2_0_2", "2_1_2"], "T": ["0_0_1"]})


def graph() -> Graph:
    return closing_graph(seed=1).annotate({"1_0_2": "say $x_1$ <b>"})


@pytest.mark.parametrize(("kind", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("pgf", b"%%")])
@pytest.mark.parametrize("view", [None, VIEW], ids=["whole", "subgraph"])
def test_the_same_graph_gives_the_same_bytes(kind, magic, view, tmp_path):
    first = graph().savefig(tmp_path / f"a.{kind}", width="single-column", dpi=60, view=view).read_bytes()
    second = graph().savefig(tmp_path / f"b.{kind}", width="single-column", dpi=60, view=view).read_bytes()
    assert first == second
    assert first.startswith(magic)


def test_svg_holds_text_as_text(tmp_path):
    svg = graph().savefig(tmp_path / "a.svg", title="Title & more").read_text("utf-8")
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")]
    assert {"say $x_1$ <b>", "Title & more", "L2", "t0"} <= {text.strip() for text in texts}
    assert "Attribution graph of" in svg
    assert "random" in svg


def pdf_streams(pdf: bytes) -> list[bytes]:
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompress(stream))
    return found


def pdf_texts(pdf: bytes) -> set[str]:
    """The texts that a reader can select: two-byte codes, which each font's table makes characters of."""
    texts = set()
    for block in re.findall(rb"\bBT\n(.*?)\nET\b", b"\n".join(pdf_streams(pdf)), re.DOTALL):
        codes = b"".join(re.findall(rb"\(((?:\x00[^\\]|\x00\\.)*)\)", block, re.DOTALL))
        texts.add(codes.replace(b"\\", b"").decode("utf-16-be"))
    return texts


@pytest.mark.parametrize("view", [None, VIEW], ids=["whole", "subgraph"])
def test_pdf_text_can_be_selected_and_its_fonts_are_embedded(view, tmp_path):
    pdf = graph().savefig(tmp_path / "a.pdf", view=view).read_bytes()
    fonts = set(re.findall(rb"/BaseFont /([A-Z]{6}\+DejaVuSans[-A-Za-z]*)", pdf))
    assert fonts
    assert pdf.count(b"/FontFile2") == len(fonts) == pdf.count(b"/ToUnicode")
    assert sum(b"beginbfrange" in stream for stream in pdf_streams(pdf)) == len(fonts)
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    expected = {"answer0", "t0"} | ({"say $x_1$ <b>", "L2"} if view is None else {"say a capital", "say $x_1$ <b>"})
    assert expected <= pdf_texts(pdf)


def test_svg_carries_the_glyphs_it_needs(tmp_path):
    svg = graph().savefig(tmp_path / "a.svg", view=VIEW).read_text("utf-8")
    found = re.findall(r"font-weight:(\w+);src:url\(data:font/ttf;base64,([^)]+)\)", svg)
    assert [weight for weight, _ in found] == ["normal", "bold"]
    with TTFont(io.BytesIO(base64.b64decode(found[0][1]))) as font:
        has = {chr(code) for code in font.getBestCmap()}
    assert set("sayacapital$x_1$<b>") <= has
    assert len(has) < 60


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


def test_a_notebook_shows_a_picture_where_no_widget_runs():
    bundle = static_mimebundle(graph())
    assert set(bundle) == {"text/plain", "image/png", "image/svg+xml"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        assert picture.mode == "P", "few colours, so that notebooks stay small"
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert picture.info["Description"].startswith("Attribution graph of")
    ElementTree.fromstring(bundle["image/svg+xml"])
    assert static_mimebundle(graph()) == bundle
    assert ">say a capital<" in static_mimebundle(graph(), VIEW)["image/svg+xml"]
    assert static_mimebundle(graph(), View()) == bundle


def test_a_cells_picture_is_of_the_scene():
    scene = Scene(90, 0, 30, 8, THEMES["light"])
    scene.add(rectangle(10, 5, 20, 20, fill="#1f6fb5"))
    scene.add(line([(40.0, 15.0), (80.0, 15.0)], stroke="#d8690f", width=4.0))
    with Image.open(io.BytesIO(cell_png(scene, {}))) as picture:
        at = {x: picture.convert("RGB").getpixel((round(x * DPI / 72), round(15 * DPI / 72))) for x in (5, 20, 35, 60)}
    assert at == {5: (255, 255, 255), 20: (31, 111, 181), 35: (255, 255, 255), 60: (216, 105, 15)}
    marks = [mark for mark in ElementTree.fromstring(cell_svg(scene, "", "")) if mark.tag.endswith("path")]
    assert [mark.get("d") for mark in marks] == ["M10 5L30 5L30 25L10 25Z", "M40 15L80 15"]


def test_a_cells_dashes_are_as_long_as_they_should_be():
    scene = Scene(200, 0, 20, 8, THEMES["light"])
    scene.add(line([(0.0, 10.0), (200.0, 10.0)], stroke="#d8690f", width=4.0, dashed=True))
    with Image.open(io.BytesIO(cell_png(scene, {}))) as picture:
        row = np.asarray(picture.convert("RGB"))[round(10 * DPI / 72), :, 2]
    on, off = DASHES
    assert np.isclose((row < 128).mean(), on / (on + off), atol=0.05)
    assert np.isclose(np.count_nonzero(np.diff((row < 128).astype(int)) == 1), 200 / (4 * (on + off)), atol=1)


@pytest.mark.parametrize(("label", "own"), [("Å → ✓ <b>", True), ("東京 🗼", False)])
def test_a_cells_picture_takes_matplotlib_where_dejavu_lacks_the_script(label, own):
    labelled = graph().annotate(labels={"1_0_2": label})
    bundle = static_mimebundle(labelled)
    ElementTree.fromstring(bundle["image/svg+xml"])
    assert bundle["image/svg+xml"].startswith("<svg") is own


def test_plot_draws_into_the_users_axes():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2))
    left, right = figure.subplots(1, 2)
    assert graph().plot(ax=left) is left
    assert graph().plot(ax=right, view=VIEW, theme="dark") is right
    assert "say a capital" in {text.get_text() for text in right.texts}
    assert max(text.get_fontsize() for text in left.texts) < 5  # the axes are low: everything shrinks alike
    assert graph().plot(view=VIEW).get_figure() is not figure
    with pytest.raises(ValueError, match="did you mean 'theme'"):
        graph().plot(them="dark")


def test_one_page_is_written(tmp_path):
    assert graph().to_html(tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.gif", {}, "figures end in"),
        ("a.svg", {"width": "column"}, "'single-column'"),
        ("a.svg", {"width": 5}, "20 to 2000 millimetres"),
        ("a.svg", {"theme": "blue"}, "known are light, dark"),
        ("no/a.svg", {}, "does not exist"),
        ("a.svg", {"width": "single-colum"}, "did you mean 'single-column'"),
        ("a.svg", {"titel": "x"}, "'titel' is no option of figures of a graph; did you mean 'title'"),
        ("a.svg", {"max_node": 3}, "did you mean 'max_nodes'"),
        ("a.svg", {"viev": VIEW}, "did you mean 'view'"),
        ("a.svg", {"max_nodes": 3, "view": VIEW}, "'max_nodes' is no option of figures of a view"),
        ("a.svg", {"font_size": 0}, "font_size=0: expected a number from 1 to 100"),
        ("a.svg", {"max_edges": -1}, "max_edges=-1"),
        ("a.png", {"dpi": 0}, "dpi=0"),
        ("a.svg", {"view": View()}, "no pinned nodes and no supernodes"),
        ("a.svg", {"view": View(pinned=["1_0_7"])}, "pinned: no node '1_0_7' .*nearest: "),
        ("a.svg", {"view": View(supernodes={"S": []})}, "'S'. is empty"),
        ("a.svg", {"view": View(pinned=["1_0_2"], node_threshold=7)}, "node_threshold=7"),
    ],
)
def test_bad_requests_are_refused(name, options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        graph().savefig(tmp_path / name, **options)
