"""Evidence as data: folding, quantiles, and the feature JSON of other tools."""

import json
import math

import pytest

import circuitlab as cl
from circuitlab.evidence import Example, Histogram, Neighbour, TokenWeight, fold, in_quantiles, parse_name


def example(text: str, *activations: float, **options) -> Example:
    tokens = tuple(text.split())
    return Example(tokens, activations, max(range(len(tokens)), key=activations.__getitem__), **options)


def test_texts_that_agree_up_to_the_peak_are_one_with_a_count():
    folded = fold(
        [
            example("the capital is Austin", 0.0, 3.0, 0.0, 0.0),
            example("the capital of Texas", 0.0, 3.0, 0.0, 0.0, copies=2),
            example("The capital of Texas", 0.0, 3.0, 0.0, 0.0),
            example("the capital of Texas", 0.0, 0.0, 0.0, 2.0),
        ]
    )
    assert [(e.tokens[0], e.peak, e.copies) for e in folded] == [("the", 1, 3), ("The", 1, 1), ("the", 3, 1)]
    assert folded[0].tokens[2] == "is"


def test_quantiles_are_ranges_below_the_largest_peak():
    examples = [example(f"word{i} end", 0.0, float(i)) for i in range(1, 101)]
    found = cl.Evidence(0, 0, examples=in_quantiles(examples, n_top=5, n_lower=3, ranges=4)).quantiles
    peaks = {name: [e.activations[e.peak] for e in part] for name, part in found.items()}
    assert peaks == {
        "Top": [100, 99, 98, 97, 96],
        "75% to 100% of the largest": [95, 85, 76],
        "50% to 75% of the largest": [75, 63, 51],
        "25% to 50% of the largest": [50, 38, 26],
        "0% to 25% of the largest": [25, 13, 1],
    }
    assert in_quantiles([]) == ()


def test_feature_json_survives_a_round_trip():
    evidence = cl.Evidence(
        3,
        55,
        "Texas",
        examples=(example("a b", 1.0, 2.0, logit_weights=(0.1, 0.2)), example("c", 0.5, quantile="low", copies=2)),
        promoted=(TokenWeight(" Austin", 0.4),),
        suppressed=(TokenWeight("\n", -0.4),),
        activation_histogram=Histogram.of([0.5, 1.0, 2.0], bins=2, low=0.0),
        logit_histogram=Histogram((1, 2), (-1.0, 0.0, 1.0)),
        density=0.25,
        largest=2.0,
        reads_from=(Neighbour(1, 2, -0.5, "Dallas"),),
        sources={"promoted": "weights", "examples": "prompt"},
        missing={"writes_to": "A feature of the last layer."},
        note="from 2 texts",
    )
    data = json.loads(json.dumps(evidence.to_json()))
    assert cl.Evidence.from_json(data) == evidence
    assert evidence.activation_histogram == Histogram((1, 2), (0.0, 1.0, 2.0))


def test_feature_json_of_another_tool_is_read():
    row = {"tokens": ["a", "\n", "b"], "tokens_acts_list": [0, 1.5, 0]}
    data = {
        "index": 7,
        "examples_quantiles": [{"quantile_name": "Top", "examples": [row, {**row, "is_repeated_datapoint": True}]}],
        "top_logits": [" x"],
        "bottom_logits": [],
        "histogram": [4, 1],
        "act_max": 1.5,
        "activation_frequency": 0.01,
    }
    found = cl.Evidence.from_json(data, layer=2)
    assert (found.name, found.density, found.largest) == ("L2/7", 0.01, 1.5)
    assert (found.examples[0].peak, found.examples[0].copies) == (1, 2)
    assert (found.promoted[0].token, math.isnan(found.promoted[0].weight)) == (" x", True)
    assert found.activation_histogram == Histogram((4, 1), (0.0, 0.75, 1.5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Example(("a",), (), 0), "1 tokens but 0 activations"),
        (lambda: Example(("a",), (1.0,), 1), "peak is at 1"),
        (lambda: Histogram((1,), (0.0,)), "1 bins has 2 edges"),
        (lambda: cl.Evidence(0, 0, sources={"promted": "weights"}), "no part 'promted'"),
        (lambda: cl.Evidence(0, 0, sources={"promoted": "hearsay"}), "not from 'hearsay'"),
        (lambda: cl.Evidence.from_json({"index": 1}, 0), "'examples_quantiles'"),
        (lambda: cl.Evidence.from_json({"index": 1, "examples_quantiles": []}), "layer="),
        (
            lambda: cl.Evidence.from_json({"index": 1, "examples_quantiles": [{"examples": [{"tokens": []}]}]}, 0),
            "no 'tokens_acts_list'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_names_of_features():
    assert parse_name("L3/55") == parse_name(" 3/55 ") == (3, 55)
    assert parse_name("Texas") is None
