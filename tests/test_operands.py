"""Operand plots: what is read from the model, and the kinds of plots made by hand."""

import numpy as np
import pytest

import circuitlab as cl
from circuitlab.charts import plot_operands


@pytest.fixture(scope="module")
def model():
    return cl.load(device="cpu")


A, B = np.meshgrid(np.arange(100), np.arange(100), indexing="ij")
PLOTS = {
    ("digit", "a"): A % 10 == 6,
    ("digit", "b"): B % 10 == 9,
    ("digit", "a + b"): (A + B) % 10 == 5,
    ("magnitude", "a"): np.maximum(0, 20 - np.abs(A - 40)),
    ("magnitude", "b"): B > 50,
    ("magnitude", "a + b"): np.maximum(0, 30 - np.abs(A + B - 95)),
    ("magnitude", "a and b"): (np.abs(A - 36) < 18) & (np.abs(B - 60) < 18),
    ("lookup", "a and b"): (A % 10 == 6) & (B % 10 == 9),
    ("sum", "a + b"): np.isin(A + B, [17, 95, 97]),
    ("number", "a"): np.isin(A, [6, 36, 81]),
    ("constant", ""): 5 + 0.1 * (A % 10 == 6),
}


@pytest.mark.parametrize(("kind", "of"), PLOTS)
def test_a_plot_is_sorted_by_what_it_was_made_of(kind, of):
    found = cl.operand_kind(PLOTS[kind, of] * 2.5)
    assert (found.kind, found.of) == (kind, of)


@pytest.mark.parametrize(("kind", "of"), [case for case in PLOTS if case[0] != "constant"])
def test_some_noise_does_not_change_the_kind(kind, of):
    clean = PLOTS[kind, of] / PLOTS[kind, of].std()
    noise = np.random.default_rng(0).normal(size=clean.shape)
    assert cl.operand_kind(clean + 0.3 * noise)[:2] == (kind, of)
    assert cl.operand_kind(clean + 2.0 * noise).kind == "unclear"


def test_a_silent_feature_and_pure_chance_are_of_no_kind():
    assert cl.operand_kind(np.zeros((100, 100))).kind == "constant"
    assert cl.operand_kind(np.random.default_rng(0).random((100, 100)) > 0.9).kind == "unclear"


def test_explained_is_the_share_of_variance():
    plot = np.where(A % 10 == 6, 1.0, 0.0) + np.where(B % 2 == 0, 0.1, -0.1)
    assert cl.operand_kind(plot).explained == pytest.approx(0.09 / (0.09 + 0.01))


def test_other_operands_than_to_a_hundred():
    numbers = range(40, 60)
    assert cl.operand_kind((PLOTS["lookup", "a and b"])[40:60, 40:60] * 1.0, numbers).kind == "lookup"
    with pytest.raises(ValueError, match=r"expected \(100, 100\)"):
        cl.operand_kind(np.ones((20, 20)))


def test_plots_hold_what_the_graph_of_a_prompt_says(model):
    form, numbers = "calc : {a} + {b} =", [3, 36, 59]
    nodes = model.trace(form.format(a=36, b=59), progress=False).nodes.query("kind == 'feature'").iloc[::40]
    plots = cl.operand_plots(model, form, nodes["id"].tolist(), numbers)
    assert plots.shape == (len(nodes), 3, 3)
    np.testing.assert_allclose(plots[:, 1, 2], nodes["activation"], rtol=1e-4, atol=1e-5)
    assert not np.allclose(plots[:, 2, 1], nodes["activation"], rtol=0.1)


@pytest.mark.parametrize(
    ("form", "node", "message"),
    [
        ("calc : 3 + {b} =", "2_1_6", r"expected \{a\} and \{b\}"),
        ("calc : {a} + {b} =", "2_1_7", "the position below 7"),
        ("calc : {a} + {b} =", "2_-1_6", "no node of a feature"),
        ("calc : {a} + {b} =", "L2/1", "no node of a feature"),
    ],
)
def test_what_cannot_be_plotted_is_refused(model, form, node, message):
    with pytest.raises(ValueError, match=message):
        cl.operand_plots(model, form, [node], [3, 36])


def test_a_page_of_heat_maps_has_one_panel_per_plot_and_a_row_per_kind():
    cases = list(PLOTS)
    figure = plot_operands(
        np.stack([PLOTS[case] * 1.0 for case in cases]), [of for _, of in cases], [kind for kind, _ in cases], columns=4
    )
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() or "''" for ax in shown] == [of or "''" for _, of in cases]
    assert len(figure.axes) == 4 * len({kind for kind, _ in cases})
    with pytest.raises(ValueError, match="expected as many of each"):
        plot_operands(np.zeros((2, 5, 5)), ["one"], ["digit"])
