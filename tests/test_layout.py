"""Layouts: everything in its place, nothing on top of something else, the same every time."""

import dataclasses

import numpy as np
import pytest
from graphs import closing_graph

from circuitlab.graph import Graph
from circuitlab.layout import THEMES, Layout, clip_text, lay_out, show_token, text_width, theme_named


def graph() -> Graph:
    return closing_graph(seed=1, n_layers=4, n_pos=5, n_features=3).annotate(
        {"1_0_4": "Texas", "2_1_4": "say a capital"}
    )


def extents(plan: Layout) -> np.ndarray:
    """left, top, right, bottom of every visible node with its label."""
    em = plan.font_size
    rows = [row for row, text in enumerate(plan.label) if text]
    wide = np.array([text_width(plan.label[row]) * em for row in rows])
    x, y = plan.label_x[rows], plan.label_y[rows]
    labels = np.stack([x, y - 0.5 * em, x + wide, y + 0.5 * em], axis=1)
    box = np.stack(
        [
            plan.x - plan.wide / 2,
            plan.y - plan.high / 2,
            plan.x + plan.wide / 2,
            plan.y + plan.high / 2,
        ],
        axis=1,
    )
    return np.concatenate([box[plan.visible], labels])


@pytest.mark.parametrize(("width", "font_size"), [(252.0, 5.5), (519.0, 6.5), (960.0, 11.0)])
@pytest.mark.parametrize("crowded", [False, True])
def test_nodes_and_labels_do_not_overlap_and_stay_inside(width, font_size, crowded):
    one = graph()
    if crowded:
        features = one.nodes["id"][one.kind_mask("feature")]
        one = one.annotate({node_id: f"say {node_id} or more" for node_id in features})
    plan = lay_out(one, width, font_size, max_labels=60)
    box = extents(plan)
    left, top, right, bottom = box.T[:, :, None]
    overlap = (left < right.T - 1e-6) & (right - 1e-6 > left.T) & (top < bottom.T - 1e-6) & (bottom - 1e-6 > top.T)
    np.fill_diagonal(overlap, False)
    assert not overlap.any()
    assert box[:, :2].min() >= 0
    assert box[:, 2].max() <= plan.width + 1e-6
    assert box[:, 3].max() <= plan.height


def test_x_follows_positions_and_y_follows_layers():
    one = graph()
    plan = lay_out(one)
    nodes = one.nodes
    for pos, column in enumerate(plan.columns):
        inner = ((nodes["pos"] == pos) & nodes["kind"].isin(("feature", "error", "token"))).to_numpy(bool)
        assert ((plan.x[inner] > column.left) & (plan.x[inner] < column.right)).all()
    heights = [plan.y[((nodes["kind"] == "feature") & (nodes["layer"] == a)).to_numpy(bool)].mean() for a in range(4)]
    tokens, logits = plan.y[one.kind_mask("token")], plan.y[one.kind_mask("logit")]
    assert tokens.min() > heights[0] > heights[1] > heights[2] > heights[3] > logits.max()


def test_edges_run_from_source_to_target():
    plan = lay_out(graph())
    assert plan.curve.shape == (len(plan.edge), 4, 2)
    np.testing.assert_array_equal(plan.curve[:, 0, 0], plan.x[plan.source])
    np.testing.assert_array_equal(plan.curve[:, 3, 0], plan.x[plan.target])
    assert (plan.curve[:, 0, 1] > plan.curve[:, 3, 1]).all()
    assert (np.diff(np.abs(plan.weight)) >= 0).all()
    assert (plan.strength[-1], plan.line_width.argmax()) == (1.0, plan.strength.argmax())


def test_fewer_edges_are_those_of_most_influence():
    from circuitlab.pruning import edge_influence

    one = graph()
    few = lay_out(one, max_edges=20)
    flow = edge_influence(one)
    assert len(few.edge) == 20
    assert flow[few.edge].min() >= np.sort(flow)[-20]


def test_constants_appear_on_request():
    one = graph()
    hidden, shown = lay_out(one), lay_out(one, constants=True)
    constant = one.row("constant")
    assert not hidden.visible[constant]
    assert shown.visible[constant]
    assert constant not in hidden.source
    assert constant in shown.source


def test_own_labels_come_first():
    plan = lay_out(graph(), max_labels=2)
    assert {text for text in plan.label if text} == {"Texas", "say a capital"}


def test_the_same_graph_gives_the_same_layout():
    first, second = lay_out(graph()), lay_out(graph())
    for part in dataclasses.fields(Layout):
        np.testing.assert_array_equal(getattr(first, part.name), getattr(second, part.name))


def test_long_prompts_turn_their_tokens():
    plan = lay_out(closing_graph(n_layers=1, n_pos=40, n_features=1, density=0.2), 252.0, 5.5)
    assert plan.token_rotation == 90
    assert all(column.right > column.left for column in plan.columns)


def test_an_empty_graph_has_a_layout():
    one = closing_graph()
    keep = one.kind_mask("token")
    plan = lay_out(Graph(one.prompt, one.tokens, one.nodes[keep], one.links.select(keep)))
    assert plan.ticks == ()
    assert plan.height > 0


def test_tokens_are_shown_safely():
    assert show_token("\n\t") == "⏎⇥"
    assert show_token("  ") == "␣␣"
    assert show_token("a\x00\u202eb") == "a·· b".replace(" ", "")
    assert clip_text("abcdef", 4) == "abc…"
    assert text_width("小小") > text_width("ii") > 0


def test_signs_differ_by_colour_and_themes_are_named():
    assert THEMES["light"].edge_color(-1.0) != THEMES["light"].edge_color(1.0)
    with pytest.raises(ValueError, match="theme='blue' is unknown; known are light, dark"):
        theme_named("blue")


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="width=0"):
        lay_out(graph(), width=0)


@pytest.mark.parametrize("height", [900, 300, 220, 150])
def test_where_height_is_short_labels_give_way_and_what_stays_does_not_overlap(height):
    graph = closing_graph(n_layers=5, n_pos=4, n_features=9)
    plan = lay_out(graph, 700, 10, height=height)
    natural = lay_out(graph, 700, 10)
    assert plan.height == height
    assert (plan.crowding > 1) == (height < 250)
    assert natural.crowding == 1
    boxes = [
        (plan.label_x[r], plan.label_y[r] - 4.5, plan.label_x[r] + 10 * text_width(text), plan.label_y[r] + 4.5)
        for r, text in enumerate(plan.label)
        if text
    ]
    for i, (left, top, right, foot) in enumerate(boxes):
        for other in boxes[:i]:
            assert left >= other[2] or right <= other[0] or top >= other[3] - 1e-6 or foot <= other[1] + 1e-6
