"""Concepts by contrast on the bundled model.

Mutations that break the oracles: `>=` for `clearer` turned around; places counted from the front; means over the
prompts in which a node is active instead of all; `random_matched` without `excluded`; values of one prompt for all.
"""

import numpy as np
import pytest

import circuitlab as cl
from circuitlab.interventions.contrast import means

FORM = "fact : the capital of the state containing {} is"
TEXAS, CALIFORNIA = ("Dallas", "Houston"), ("Oakland", "Stanford")


@pytest.fixture(scope="module")
def model():
    return cl.load(device="cpu")


def asked(cities):
    return [FORM.format(city) for city in cities]


def test_means_are_over_all_prompts_and_places_from_the_end(model):
    prompts = [FORM.format("Dallas"), "question : " + FORM.format("Dallas")]
    found = means(model, prompts)
    runs = [model.baselines.of(model.model, model.transcoder, prompt) for prompt in prompts]
    for (layer, feature, place), value in list(found.activation.items())[::37]:
        n = [run.n_positions for run in runs]
        each = [
            float(run.activations[layer][k + place, feature]) if k + place >= 0 else 0.0
            for run, k in zip(runs, n, strict=True)
        ]
        assert value == pytest.approx(np.mean(each), rel=1e-6)
        assert found.share[layer, feature, place] == np.mean(np.array(each) > 0)


def test_a_contrast_holds_what_one_side_has_clearly_more_of(model):
    ours, theirs = means(model, asked(TEXAS)), means(model, asked(CALIFORNIA))
    concept = cl.contrast(model, ours, theirs, clearer=2.0)
    assert concept.nodes == cl.contrast(model, asked(TEXAS), asked(CALIFORNIA)).nodes
    assert 0 < len(concept) < len(ours.activation)
    for node, value in ours.activation.items():
        belongs = ours.share[node] >= 0.5 and value >= 2 * theirs.activation.get(node, 0.0)
        assert (node in concept.nodes) == belongs
    last = cl.contrast(model, ours, theirs, places=[-1])
    assert set(last.nodes) == {node for node in concept.nodes if node[2] == -1}
    assert set(concept.within(layers=[1, 2]).nodes) == {node for node in concept.nodes if node[0] in (1, 2)}
    assert repr(last).startswith(f"Concept({len(last)} nodes in layers [")
    assert repr(last).endswith("at [-1] from the end)")


def test_a_concept_swapped_in_many_prompts_answers_as_one_by_one(model):
    texas, california = (cl.contrast(model, asked(a), asked(b)) for a, b in ((TEXAS, CALIFORNIA), (CALIFORNIA, TEXAS)))
    values = cl.swapped(texas, california, 2.0)
    prompts = [FORM.format("Dallas"), "question : " + FORM.format("Houston")]
    runs = cl.intervene_each(model, prompts, values)
    assert cl.answers(runs) == ["Sacramento", "Sacramento"]
    for prompt, run in zip(prompts, runs, strict=True):
        n = len(model.model.to_tokens(prompt))
        one = {f"{k}_{f}_{n + place}": cl.Value(value) for (k, f, place), value in values.items()}
        alone = model.intervene(prompt, one, freeze_attention=False, freeze_norms=False)
        np.testing.assert_allclose(run.probabilities()[1], alone.probabilities()[1], atol=1e-5)


def test_each_prompt_can_have_its_own_values(model):
    texas = cl.contrast(model, asked(TEXAS), asked(CALIFORNIA))
    off, on = cl.intervene_each(model, asked(["Dallas", "Dallas"]), [texas.times(0), texas.times(1)])
    assert cl.answers([on]) == ["Austin"] != cl.answers([off])


def test_random_nodes_are_none_of_the_excluded(model):
    texas = cl.contrast(model, asked(TEXAS), asked(CALIFORNIA))
    runs = cl.intervene_each(model, asked(["Dallas"]), texas.times(0))
    free = cl.random_matched(runs, seed=3)[0].edits.features
    chosen = {(edit.layer, edit.feature, edit.pos - runs[0].experiment.baseline.n_positions) for edit in free}
    assert not chosen & set(texas.nodes)
    some = set(sorted(chosen)[::4])
    again = cl.random_matched(runs, some, seed=3)[0].edits.features
    assert not some & {(e.layer, e.feature, e.pos - runs[0].experiment.baseline.n_positions) for e in again}


def test_runs_go_on(model):
    texas = cl.contrast(model, asked(TEXAS), asked(CALIFORNIA))
    runs = cl.intervene_each(model, asked(TEXAS), texas.times(0), n_tokens=2)
    assert [run.n_tokens for run in runs] == [2, 2]
    assert all(run.n_tokens == 2 for run in cl.random_matched(runs))


def test_a_side_without_prompts_is_refused(model):
    with pytest.raises(ValueError, match="one side has none"):
        cl.contrast(model, [], asked(TEXAS))


def test_the_strongest_nodes_of_a_concept_are_those_that_write_most(model):
    concept = cl.contrast(model, asked(TEXAS), asked(CALIFORNIA))
    few = concept.strongest(model, 5)
    written = {
        (layer, feature, place): value * float(model.transcoder.W_dec[layer][feature].norm())
        for (layer, feature, place), value in concept.nodes.items()
    }
    assert list(few.nodes) == sorted(written, key=lambda node: -written[node])[:5]
    assert all(few.nodes[node] == concept.nodes[node] for node in few.nodes)
    assert len(concept.strongest(model, 10_000)) == len(concept)
    with pytest.raises(ValueError, match="n=0"):
        concept.strongest(model, 0)


def test_an_empty_concept_and_missing_values_are_refused(model):
    with pytest.raises(ValueError, match=r"no node to set in .*was the concept empty"):
        cl.intervene_each(model, asked(["Dallas"]), {})
    with pytest.raises(ValueError, match="2 prompts and 1 mappings"):
        cl.intervene_each(model, asked(["Dallas", "Austin"]), [{(0, 0, -1): 0.0}])
