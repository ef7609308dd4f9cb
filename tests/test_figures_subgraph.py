"""Subgraph and intervention figures: boxes apart and inside, sums on the arrows, labels of any kind."""

import numpy as np
import pandas as pd
import pytest
from graphs import closing_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitlab.figures import draw, plot_intervention
from circuitlab.figures.chart import sized
from circuitlab.figures.flowchart import BOTTOM, TOP, Arrows, Box, Line, _isotonic, place
from circuitlab.figures.pgf import escaped, pgf_text
from circuitlab.figures.scene import Path, Scene, Words, fit, percent, wrap
from circuitlab.figures.subgraph import strongest, subgraph_scene
from circuitlab.figures.whole import whole_scene
from circuitlab.graph import Graph
from circuitlab.grouping import group
from circuitlab.layout import THEMES, text_width
from circuitlab.view import View

EM = 6.5
SEEDS = st.integers(0, 10**6)
NASTY = {
    "markup": "<script>alert(1)</script> & \"'",
    "tex": r"\input{x} $a_1^2$ 50% #1 {~}",
    "right to left": "\u202eשלום עולם",
    "emoji": "🧠 brain",
    "lines": "one\ntwo\r\n\tthree",
    "megabyte": "word " * 200_000,
    "one word": "x" * 1_000_000,
    "control": "\x00\x1b[31m\u2028",
}


def graph() -> Graph:
    return closing_graph(seed=1)


def scene_of(view: View, width: float | int = 250.0, **options) -> Scene:
    return subgraph_scene(graph(), view, width, EM, THEMES["light"], **options)


def texts(scene: Scene) -> list[str]:
    return [item.text for item in scene.items if isinstance(item, Words)]


def overlapping(boxes: list[Box], at: np.ndarray) -> list[tuple[str, str]]:
    half = np.array([[box.wide, box.high] for box in boxes]) / 2
    found = []
    for i in range(len(boxes)):
        for j in range(i):
            if (np.abs(at[i] - at[j]) < half[i] + half[j] - 1e-6).all():
                found.append((boxes[i].name, boxes[j].name))
    return found


def chart(seed: int) -> tuple[list[Box], Arrows]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 15))
    layers = [float(rng.choice([BOTTOM, TOP, *rng.integers(0, 5, 4)])) for _ in range(n)]
    boxes = [
        Box(str(i), (), float(rng.uniform(20, 60)), float(rng.uniform(10, 25)), layer, float(rng.integers(0, 9)))
        for i, layer in enumerate(layers)
    ]
    pairs = [(s, t) for s in range(n) for t in range(n) if layers[s] < layers[t] and rng.random() < 0.4]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return boxes, Arrows(ends[:, 0], ends[:, 1], rng.normal(size=len(pairs)))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([250.0, 520.0]))
def test_boxes_never_overlap_and_stay_inside(seed, width):
    boxes, arrows = chart(seed)
    at, high = place(boxes, arrows, width, EM)
    half = np.array([[box.wide, box.high] for box in boxes]) / 2
    assert overlapping(boxes, at) == []
    assert (at - half >= -1e-6).all()
    assert (at + half <= np.array([width, high]) + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_arrows_point_upwards_from_layer_to_layer(seed):
    boxes, arrows = chart(seed)
    at, _ = place(boxes, arrows, 520.0, EM)
    assert (at[arrows.source, 1] > at[arrows.target, 1]).all()


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_boxes_the_user_placed_stay_inside_and_apart(seed):
    boxes, arrows = chart(seed)
    rng = np.random.default_rng(seed)
    boxes = boxes[:6]
    keep = (arrows.source < 6) & (arrows.target < 6)
    arrows = Arrows(arrows.source[keep], arrows.target[keep], arrows.weight[keep])
    fixed = {box.name: (float(rng.random()), float(rng.random())) for box in boxes}
    at, high = place(boxes, arrows, 520.0, EM, fixed)
    half = np.array([[box.wide, box.high] for box in boxes]) / 2
    assert overlapping(boxes, at) == []
    assert (at - half >= 0).all()
    assert (at + half <= np.array([520.0, high])).all()


def test_a_box_the_user_placed_is_where_it_was_put():
    boxes = [Box(name, (), 30.0, 12.0, 1.0, 0.0) for name in "ab"]
    arrows = Arrows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    at, high = place(boxes, arrows, 500.0, EM, {"a": (0.25, 0.75), "b": (0.8, 0.1)})
    np.testing.assert_allclose(at, [[125, 0.75 * high], [400, 0.1 * high]])


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_isotonic_rises_and_no_rising_sequence_is_nearer(values):
    values = np.array(values)
    best = _isotonic(values)
    assert (np.diff(best) >= -1e-9).all()
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.sort(best + rng.normal(size=len(values)))
        assert ((best - values) ** 2).sum() <= ((other - values) ** 2).sum() + 1e-6


def test_what_is_drawn_are_the_sums_of_edges():
    view = View(pinned=["4_0_2"], supernodes={"S": ["1_0_2", "2_1_2"]})
    grouped = group(graph(), view, only=view.pinned)
    arrows = strongest(grouped, ["S", "4_0_2"], 10)
    assert arrows.weight.tolist() == grouped.edges["weight"].tolist()
    assert (arrows.source.tolist(), arrows.target.tolist()) == ([0], [1])


def test_the_weakest_edges_are_left_out_but_no_box_is_alone():
    grouped = group(closing_graph(seed=2, n_layers=4, density=1.0), {})
    names = grouped.nodes["name"].tolist()
    few = strongest(grouped, names, 5)
    assert len(few.weight) < len(grouped.edges)
    assert set(grouped.edges["target"]) == {names[t] for t in few.target}
    strong = grouped.edges["weight"].abs().nlargest(5)
    assert set(strong) <= set(np.abs(few.weight))


def test_a_subgraph_names_its_boxes():
    view = View(
        pinned=["E_10_0", "4_0_2"], supernodes={"say a capital": ["2_0_2", "2_1_2"]}, labels={"2_0_2": "unused"}
    )
    found = texts(scene_of(view))
    chance = percent(float(graph().node("4_0_2")["probability"]))
    assert {"say a capital", "L2 × 2", "t0", "answer0", chance, "positive", "negative"} <= set(found)
    assert "unused" not in found


def test_tokens_and_the_answer_are_added_where_none_is_pinned():
    view = View(supernodes={"S": ["1_0_2", "2_1_2"]})
    inputs = {token for node in ("1_0_2", "2_1_2") for token in graph().inputs(node)["name"] if token.startswith("t")}
    added = inputs & set(texts(scene_of(view)))
    assert added == {"t0", "t2"}  # what t1 feeds them is too little
    assert "answer0" in texts(scene_of(view))
    assert not {*inputs, "answer0"} & set(texts(scene_of(view, ends=False)))
    assert "t1" not in texts(scene_of(View(pinned=["E_10_0", "1_0_2"])))


def test_a_stack_shows_that_there_are_several():
    def outlines(members):
        scene = scene_of(View(supernodes={"S": members}), ends=False, caption=False)
        return sum(isinstance(item, Path) and item.steps == "MLCLCLCLCZ" for item in scene.items)

    assert [outlines(members) for members in (["1_0_2"], ["1_0_2", "2_1_2"], ["1_0_2", "2_1_2", "2_0_2"])] == [1, 2, 3]


def test_labels_fit_their_boxes_in_the_real_font():
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    font.set_size(100, 72)
    for text in ("say a capital", "Texas city", "WMWM%@", "illicit", "L24/163840", "Ünïcödé – ×"):
        font.set_text(text)
        drawn = font.get_width_height()[0] / 64 / 100
        assert sized([Line(text)], 1.0)[0] > drawn + 0.3


@pytest.mark.parametrize("name", list(NASTY))
@pytest.mark.parametrize("kind", ["svg", "pdf", "png", "pgf"])
def test_any_label_is_drawn_as_text_and_clipped(name, kind, tmp_path):
    label = NASTY[name]
    view = View(pinned=["1_0_2"], supernodes={label: ["2_0_2"]}, labels={"1_0_2": label})
    content = graph().savefig(tmp_path / f"a.{kind}", view=view, title=label, dpi=40).read_bytes()
    assert len(content) < 200_000
    assert b"<script" not in content
    assert kind != "pgf" or b"\\input{x}" not in content
    whole = graph().annotate({"1_0_2": label}).savefig(tmp_path / f"b.{kind}", title=label, dpi=40).read_bytes()
    assert len(whole) < 400_000
    assert b"<script" not in whole


def test_lines_are_clipped_to_the_room_there_is():
    assert fit("short", 10) == "short"
    assert fit("x" * 100, 5).endswith("…")
    assert text_width(fit("x" * 100, 5)) <= 5
    assert wrap("say a capital city of a state", 8.6) == ["say a capital", "city of a state"]
    assert wrap("one two three four five six seven eight", 5)[1].endswith("…")
    assert [percent(p) for p in (0, 1e-6, 0.004, 0.331, 0.9994, 0.99999, 1)] == [
        "0%", "<0.1%", "0.4%", "33%", "99.9%", ">99.9%", "100%",
    ]  # fmt: skip


# PGF, read back without LaTeX


POINT = r"\\pgfqpoint\{(-?[\d.]+)bp\}\{(-?[\d.]+)bp\}"
COLOUR = r"\\definecolor\{circuitlab\}\{rgb\}\{[\d.]+,[\d.]+,[\d.]+\}"
GRAMMAR = [
    r"%%.*",
    r"\\(begingroup|endgroup|pgfpathclose)",
    r"\\(begin|end)\{pgf(scope|picture)\}",
    r"(\\ifdefined\\(directlua|XeTeXversion))?\\def\\circuitlabglyph#1.*",
    rf"\\pgfpathrectangle\{{\\pgfpointorigin\}}\{{{POINT}\}}",
    r"\\pgfusepath\{(fill|stroke|fill,stroke|use as bounding box, clip)\}",
    rf"{COLOUR}\\pgfset(fill|stroke)color\{{circuitlab\}}",
    r"\\pgfsetlinewidth\{[\d.]+bp\}",
    r"\\pgfsetdash\{\{[\d.]+bp\}\{[\d.]+bp\}\}\{0bp\}",
    r"\\pgfsetfillopacity\{[\d.]+\}\\pgfsetstrokeopacity\{[\d.]+\}",
    rf"\\pgfpath(moveto|lineto)\{{{POINT}\}}",
    rf"\\pgfpathcurveto\{{{POINT}\}}\{{{POINT}\}}\{{{POINT}\}}",
    rf"{COLOUR}\\pgftext\[((left|right),)?base,x=-?[\d.]+bp,y=-?[\d.]+bp(,rotate=90)?\]"
    r"\{\\color\{circuitlab\}\\fontsize\{[\d.]+bp\}\{[\d.]+bp\}\\sffamily\\(bf|md)series\\selectfont .*\}",
]


@pytest.mark.parametrize("whole", [True, False])
def test_pgf_holds_the_scene(whole):
    import re

    view = View(pinned=["E_10_0"], supernodes={"50% of {x}_1": ["2_0_2", "2_1_2"]})
    scene = whole_scene(graph(), 250.0, EM, THEMES["light"], title="T") if whole else scene_of(view, title="T")
    text = pgf_text(scene, "a\n\\end")
    lines = text.splitlines()
    wrong = [line for line in lines if not any(re.fullmatch(rule, line) for rule in GRAMMAR)]
    assert wrong == []
    assert text.count(r"\begin{pgfscope}") == text.count(r"\end{pgfscope}") == len(scene.items)
    for line in lines[1:]:
        bare = re.sub(r"\\[{}]", "", line)
        assert bare.count("{") == bare.count("}")
    points = [tuple(map(float, pair)) for line in lines if "pgfpath" in line for pair in re.findall(POINT, line)]
    drawn = np.vstack([item.points for item in scene.items if isinstance(item, Path)])
    np.testing.assert_allclose(points[2:], np.stack([drawn[:, 0], scene.bottom - drawn[:, 1]], axis=1), atol=6e-4)
    for item in scene.items:
        if isinstance(item, Words):
            assert any(line.endswith(f"\\selectfont {escaped(item.text)}}}") for line in lines)


def test_tex_sets_special_characters_as_they_are():
    assert escaped(r"\a{b}$&#%_^~") == (
        r"\textbackslash{}a\{b\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}"
    )  # fmt: skip
    assert (
        escaped("a\n\npar <b> -- 北京")
        == r"a par \textless{}b\textgreater{} {-}{-} \circuitlabglyph{北}\circuitlabglyph{京}"
    )
    assert escaped("Åé ß") == "Åé ß"


def test_pgf_of_own_axes_needs_latex(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="leave ax out"):
        graph().savefig(tmp_path / "a.pgf", ax=draw(graph()))


# Interventions


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    before_after = pd.DataFrame({"token": [" Austin", " Sacramento"], "before": [0.99, 0.0], "after": [0.11, 0.52]})
    remaining = pd.DataFrame(
        {"name": ["Texas", "say a capital", "Austin"], "factor": [-1.0, None, None], "remaining": [-1.0, 0.64, None]}
    )
    edges = pd.DataFrame(
        [("Texas", "Austin", 2.0), ("say a capital", "Austin", -1.0), ("x", "Austin", 9.0)],
        columns=["source", "target", "weight"],
    )
    return before_after, remaining, edges


def test_an_intervention_says_what_is_left_and_what_was_done(tmp_path):
    ax = plot_intervention(*tables(), title="Texas × −1")
    found = {text.get_text() for text in ax.texts}
    assert {"Texas", "−100%", "× −1", "64%", "from 0", "Austin", "Sacramento", "99%", "11%", "52%", "0%"} <= found
    assert {"before", "after", "Texas × −1"} <= found
    at = {text.get_text(): text.get_position()[1] for text in ax.texts if text.get_text() in ("Texas", "say a capital")}
    assert len(at) == 2
    ax.get_figure().savefig(tmp_path / "run.png", dpi=40)


def test_an_intervention_is_drawn_into_the_users_axes_and_without_parts():
    from matplotlib.figure import Figure

    ax = Figure(figsize=(5, 3)).subplots()
    before_after, remaining, edges = tables()
    assert plot_intervention(before_after, remaining, edges, ax=ax, theme="dark") is ax
    assert plot_intervention(before_after.head(0), remaining, edges).texts
    assert plot_intervention(before_after, remaining.head(0), edges).texts
    assert not list(plot_intervention(before_after.head(0), remaining.head(0), edges.head(0)).texts)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b, r, e: (b.drop(columns="after"), r, e), "before_after lacks the column 'after'"),
        (lambda b, r, e: (b, r.drop(columns="factor"), e), "remaining lacks the column 'factor'"),
        (lambda b, r, e: (b, r, e.drop(columns="weight")), "edges lacks the column 'weight'"),
        (lambda b, r, e: (b, pd.concat([r, r]), e), "remaining names 'Texas' twice"),
    ],
)
def test_incomplete_tables_are_refused(spoil, said):
    with pytest.raises(ValueError, match=said):
        plot_intervention(*spoil(*tables()))
