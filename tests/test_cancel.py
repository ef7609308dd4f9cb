"""A run that is no longer wanted ends between two layers, and leaves nothing behind.

Mutations that break these: never asking, asking once per run, keeping the question on the finished run.
"""

import pytest
import torch

import circuitlab as cl
from tests.models import N_LAYERS, PROMPT, random_transcoder, tiny_hf_model

FEATURE = {"L0/3": cl.Value(4.0)}
EVERYWHERE = {"positions": slice(None)}
WAYS = {"frozen": {}, "paired": {"freeze_attention": False}, "steering": {"mode": "steering"}}


class Asked:
    """True from the nth question on; counts the questions."""

    def __init__(self, after):
        self.after, self.times = after, 0

    def __call__(self):
        self.times += 1
        return self.times > self.after


@pytest.fixture(scope="module")
def model():
    return cl.load(tiny_hf_model("llama"), random_transcoder("clt"))


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_given_up_before_the_next_layer(model, way):
    options = {**EVERYWHERE, **WAYS[way]}
    plain = model.intervene(PROMPT, FEATURE, **options)
    never = Asked(10**9)
    kept = model.intervene(PROMPT, FEATURE, cancelled=never, **options)
    assert never.times == N_LAYERS
    assert torch.equal(kept.logits, plain.logits)
    for after in (0, N_LAYERS - 1):
        asked = Asked(after)
        with pytest.raises(cl.Cancelled):
            model.intervene(PROMPT, FEATURE, cancelled=asked, **options)
        assert asked.times == after + 1
    assert torch.equal(model.intervene(PROMPT, FEATURE, **options).logits, plain.logits), "hooks were left behind"


def test_a_continuation_is_given_up_between_its_tokens(model):
    asked = Asked(3 * N_LAYERS)
    with pytest.raises(cl.Cancelled):
        model.intervene(PROMPT, FEATURE, n_tokens=8, cancelled=asked, **EVERYWHERE)
    assert asked.times == 3 * N_LAYERS + 1


def test_a_finished_run_does_not_ask_any_more(model):
    asked = Asked(N_LAYERS)
    run = model.intervene(PROMPT, FEATURE, cancelled=asked, **EVERYWHERE)
    assert asked()
    run.verdict(n_controls=2)
