"""Shares of features that texts have in common.

Mutations that break the oracles: union for intersection; the first token counted; places from the front; pairs across
groups; a bootstrap over layers.
"""

import numpy as np
import pytest

import circuitlab as cl
from circuitlab.overlap import shares_by_group

GROUPS = [
    ['the opposite of "hot" is "', 'le contraire de "chaud" est "', '"热"的反义词是"'],
    ['a synonym of "small" is "', 'calc : 36 + 59 ='],
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return cl.load(device="cpu")


def active(model, text, layer, places=None):
    base = model.baselines.of(model.model, model.transcoder, text)
    found = base.activations[layer].nonzero().tolist()
    return {f for pos, f in found if pos and (places is None or pos - base.n_positions in places)}


@pytest.mark.parametrize("places", [None, (-1,), (-2, -1)])
def test_a_share_is_intersection_over_union_within_a_group(model, places):
    found = shares_by_group(model, GROUPS, places=places)
    assert found.shape == (2, 5)
    for layer in (0, 3):
        en, fr, zh = (active(model, text, layer, places) for text in GROUPS[0])
        each = [len(a & b) / len(a | b) for a, b in ((en, fr), (en, zh), (fr, zh))]
        assert found[0, layer] == pytest.approx(np.mean(each), abs=0.02)  # rounding may tip a feature on the brink


def test_intervals_hold_the_mean_and_come_from_a_seed(model):
    table = cl.shared_features(model, GROUPS, seed=3)
    assert table["layer"].tolist() == [0, 1, 2, 3, 4]
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    np.testing.assert_allclose(table["share"], shares_by_group(model, GROUPS).mean(0))
    assert (table["low"] < table["high"]).all()
    assert table.equals(cl.shared_features(model, GROUPS, seed=3))


def test_a_text_shares_all_with_itself_and_layers_are_the_models(model):
    same = cl.shared_features(model, [[GROUPS[1][1]] * 2])
    assert same["share"].tolist() == same["low"].tolist() == same["high"].tolist() == [1.0] * 5


@pytest.mark.parametrize("groups", [[], [["one text"]]])
def test_a_group_needs_two_texts(model, groups):
    with pytest.raises(ValueError, match="each of two texts"):
        cl.shared_features(model, groups)
