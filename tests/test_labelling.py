"""Labels from evidence and their scores, on features of which it is known where they are active."""

import numpy as np
import pytest
import torch
from models import random_transcoder, tiny_hf_model
from stores import feature, manifest, tables

import circuitlab as cl
from circuitlab.evidence import Evidence, Example, TokenWeight
from circuitlab.labelling import Baseline, detection, label_evidence, label_store, random_scores
from circuitlab.labelling.contexts import Context, Part, StoreContexts, contexts_of
from circuitlab.labelling.detection import COMPARED, Scored
from circuitlab.labelling.from_evidence import propose
from circuitlab.labelling.predicates import attributes
from circuitlab.random_dictionary import random_dictionary
from circuitlab.replacement import ReplacementModel
from circuitlab.store.writer import write_store

VOCABULARY = [
    "<bos>",
    " the",
    " rabbit",
    " Tex",
    "as",
    " 16",
    " 26",
    " 31",
    " a",
    " ran",
    " sat",
    " by",
    " and",
    " hare",
]
THE, RABBIT, TEX, AS, SIXTEEN, TWENTY_SIX = 1, 2, 3, 4, 5, 6


def is_active(index: int, tokens: list[int], at: int, noise: np.ndarray) -> bool:
    """The truth about each feature: rabbit; the second token after; numbers in 6; rabbit with Texas earlier; noise."""
    return at > 0 and (
        (index == 0 and tokens[at] == RABBIT)
        or (index == 1 and tokens[at - 1] == THE)
        or (index == 2 and tokens[at] in (SIXTEEN, TWENTY_SIX))
        or (index == 3 and tokens[at] == RABBIT and AS in tokens[:at])
        or (index == 4 and bool(noise[at]))
        or (index == 5 and tokens[at] == RABBIT)
    )


class Truth:
    """Random texts and a store of the examples of six features, each at every place where it is active."""

    def __init__(self, folder):
        rng = np.random.default_rng(3)
        self.texts, self.noise = [], []
        for _ in range(160):
            words = rng.choice([1, 2, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13], 9).tolist()
            text = [0] + [token for word in words for token in ((TEX, AS) if word == TEX else (word,))]
            self.texts.append(text)
            self.noise.append(rng.random(len(text)) < 0.15)
        rows, examples = [], []
        for index in range(6):
            own = [(record, at) for record in range(160) for at in range(12) if self.active(index, record, at)]
            nearest = [{"layer": 0, "index": other, "cosine": 0.5} for other in range(6) if other != index]
            counts = [sum(self.active(other, *place) for place in own) for other in range(6)]
            coactive = [
                {"layer": 0, "index": other, "count": count, "product": float(count)}
                for other, count in enumerate(counts)
                if count and other != index
            ]
            rows.append(feature(0, index, len(own), 2.0) | {"nearest": nearest, "coactive": coactive})
            seen = set()
            for record, at in own:
                if record not in seen and len(seen) < 40:
                    seen.add(record)
                    examples.append(self.example(index, record, at, len(seen)))
        corpus = manifest(1, 6, coactivation_positions=1000)
        self.store = cl.Store(write_store(folder, corpus, [tables(0, rows, examples)], VOCABULARY))

    def active(self, index: int, record: int, at: int) -> bool:
        text = self.texts[record]
        return at < len(text) and is_active(index, text, at, self.noise[record])

    def example(self, index: int, record: int, at: int, rank: int) -> dict:
        text = self.texts[record]
        along = [float(self.active(index, record, place)) for place in range(len(text))]
        along[at] = 1.5
        return {
            "layer": 0, "index": index, "quantile": 0, "quantile_name": "Top", "rank": rank, "token_ids": text,
            "activations": along, "peak": at, "copies": 1, "record": record, "position": at,
        }  # fmt: skip


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(tmp_path_factory.mktemp("truth") / "store")


def test_rules_that_hold_are_found_and_noise_gets_no_label(truth):
    report = label_store(truth.store, write=False)
    labels = dict(zip(report.table["name"], report.table["label"], strict=True))
    assert labels == {
        "L0/0": "rabbit",
        "L0/1": "after the",
        "L0/2": "number ending in 6",
        "L0/3": "rabbit, Texas earlier",
        "L0/4": "",
        "L0/5": "rabbit",
    }
    scores = dict(zip(report.table["name"], report.table["score"], strict=True))
    assert [scores[f"L0/{i}"] for i in (0, 1, 2, 3)] == [1.0] * 4
    noise = report.table.set_index("name").loc["L0/4"]
    assert noise["confidence"] < 0.4
    assert "expected at least 0.8" in noise["why_none"]


def test_places_are_active_or_not_as_they_say_and_no_example_is_in_two_parts(truth):
    source = StoreContexts(truth.store)
    for index in range(6):
        contexts = source[f"L0/{index}"]
        parts = (contexts.shown, contexts.check, contexts.held_out)
        for part in parts:
            assert len(part.active) > 5
            assert len(part.inactive) > len(part.active)
            assert all(truth.active(index, *context.record) for context in part.active)
            silent = [not truth.active(index, *context.record) for context in part.inactive]
            assert np.mean(silent) == 1 if index != 4 else np.mean(silent) > 0.9
            texts = [tuple(VOCABULARY[token] for token in truth.texts[c.record[0]]) for c in part.active]
            assert texts == [context.tokens for context in part.active]
        records = [{c.record for c in part.active} for part in parts]
        assert sum(map(len, records)) == len(set.union(*records))


def test_features_active_together_lend_each_other_no_look_alikes(truth):
    """0 and 5 are about rabbits: at 5's peaks 0 is active, and most of those texts are not among 0's examples."""
    contexts = StoreContexts(truth.store)["L0/0"]
    parts = (contexts.shown, contexts.check, contexts.held_out)
    lent = [c for part in parts for c in part.inactive if c.token == " rabbit"]
    assert lent == []


def test_a_score_is_the_balanced_accuracy(truth):
    contexts = StoreContexts(truth.store)["L0/3"].held_out
    told = detection(contexts, lambda context: context.token == " rabbit")
    false = sum(context.token == " rabbit" for context in contexts.inactive) / len(contexts.inactive)
    assert 0 < false < 1
    assert told == pytest.approx((1 + 1 - false) / 2)
    assert detection(contexts, lambda _: True) == detection(contexts, lambda _: False) == 0.5
    assert detection(Part(contexts.active[:3], contexts.inactive), lambda _: True) is None


def test_percentiles_are_among_random_features_of_the_layer_and_a_like_density():
    rng = np.random.default_rng(0)
    features = [Scored(layer, float(d), float(s)) for layer in (0, 1) for d, s in rng.random((700, 2))]
    baseline = Baseline(features)
    near = sorted((f for f in features if f.layer == 1), key=lambda f: abs(np.log(f.density / 0.3)))[:COMPARED]
    scores = [f.score for f in near]
    assert baseline.bar(1, 0.3) == pytest.approx(np.percentile(scores, 95))
    assert baseline.percentile(1, 0.3, 0.6) == pytest.approx(100 * np.mean(np.array(scores) < 0.6))
    assert baseline.percentile(1, 0.3, scores[0]) == pytest.approx(100 * (np.mean(np.array(scores) < scores[0])) + 0.25)
    with pytest.raises(ValueError, match="layers \\[0, 1\\], not for 2"):
        baseline.bar(2, 0.3)
    with pytest.raises(ValueError, match="nothing to compare"):
        Baseline([])


def test_labels_go_into_the_history_and_leave_it_again(truth):
    store = truth.store
    store.label_all({"L0/0": "bundled name", "L0/4": "other"}, "bundled")
    store.label("L0/1", "mine")
    report = label_store(store, baseline=Baseline([Scored(0, 0.1, 0.6)]))
    assert store.labels["L0/0"] == "rabbit"
    assert store.labels["L0/1"] == "mine"
    kept = store.history.table("L0/0").iloc[-1]
    assert (kept["source"], kept["score"]) == ("evidence", 1.0)
    assert kept["confidence"] == report.features[0].confidence > 0.9
    assert report.beaten == 1.0
    assert report.summary()["labelled"] == 5
    label_store(store, clear=1.0)
    assert store.labels["L0/0"] == "bundled name"
    assert "L0/2" not in store.labels


def test_a_label_that_chance_does_as_well_is_withheld(truth):
    """Compared with themselves, no feature is better than the best twentieth."""
    report = label_store(truth.store, baseline=random_scores(truth.store), write=False)
    assert not report.labelled
    assert report.features[0].why_none == "the best rule, rabbit, scores 1.00 where chance gives 1.00"


def test_the_check_is_made_on_other_contexts_than_the_score(truth, monkeypatch):
    asked = []

    def noted(part, holds):
        asked.append(part)
        return detection(part, holds)

    monkeypatch.setattr("circuitlab.labelling.run.detection", noted)
    label_store(truth.store, ["L0/0"], baseline=Baseline([Scored(0, 0.1, 0.6)]), write=False)
    checked, scored = asked
    assert not {context.record for context in checked.active} & {context.record for context in scored.active}


def example(tokens: str, peak: int, quiet: float = 0.0) -> Example:
    parts = tuple(f" {word}" for word in tokens.split())
    return Example(parts, tuple(2.0 if at == peak else quiet for at in range(len(parts))), peak)


def test_what_is_said_next_counts_where_the_feature_promotes_it():
    texts = [f"{a} {b} is Austin {c}" for a in "abcd" for b, c in (("x", "q"), ("y", "r"))]
    rest = [f"{a} was is {b} z" for a in "efgh" for b in ("Boston", "Denver")]
    silent = [Context(example(text, 2).tokens, 2) for text in rest for _ in (0, 1)]
    examples = tuple(example(text, 2) for text in texts)
    promoting = Evidence(1, 2, examples=examples, promoted=(TokenWeight(" Austin", 1.0),))
    assert propose(contexts_of(promoting, silent)).label == "say Austin"
    other = Evidence(1, 2, examples=examples, promoted=(TokenWeight(" Boston", 1.0),))
    assert "say" not in propose(contexts_of(other, silent)).label


def test_evidence_alone_is_labelled_or_says_why_not():
    shared = Evidence(0, 1, examples=tuple(example(f"{a} {b} rabbit c", 2) for a in "abcdef" for b in "xyz"))
    found = label_evidence(shared)
    assert (found.name, found.label) == ("L0/1", "rabbit")
    assert 0.8 < found.confidence < 1
    few = label_evidence(Evidence(0, 1, examples=shared.examples[:5]))
    assert few.label == ""
    assert "expected at least 4" in few.why_none
    everywhere = Evidence(0, 1, examples=tuple(example(f"{a} {b} rabbit c", 2, 1.0) for a in "abcd" for b in "xyz"))
    assert "not active" in label_evidence(everywhere).why_none
    assert label_evidence(Evidence(0, 1)).why_none


@pytest.mark.parametrize(
    ("tokens", "attribute", "expected"),
    [
        ((" Dal", "las"), "word", {"Dallas"}),
        ((" Dal", "las"), "token", {"las"}),
        ((" a", "\n"), "form", {"line break"}),
        ((" 36",), "form", {"number", "number ending in 6", "number 30 to 39"}),
        ((" .",), "form", {"punctuation"}),
        ((" 小",), "form", {"Cjk letters"}),
        ((" the", " Cat"), "seen", {"the", "Cat"}),
    ],
)
def test_attributes_of_a_place(tokens, attribute, expected):
    assert attributes(Context(tokens, len(tokens) - 1))[attribute] == expected


def test_a_random_dictionary_is_as_sparse_and_as_long_as_the_real_one():
    loaded = ReplacementModel(cl.load_model(tiny_hf_model("llama")), random_transcoder("clt"), {})
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 97, length).tolist() for length in (9, 9, 12, 20, 7)]
    densities = [rng.choice([0.0, 0.1, 0.25], 24) for _ in range(3)]
    made = random_dictionary(loaded, densities, texts, seed=4)
    counted = 0
    active = np.zeros((3, 24))
    for text in texts:
        sites = [f"blocks.{layer}.hook_resid_mid" for layer in range(3)]
        seen = made.model.capture(torch.tensor([text]), sites)[1]
        for layer, site in enumerate(sites):
            active[layer] += (made.transcoder.encode(layer, seen[site][0])[1:] > 0).sum(0).numpy()
        counted += len(text) - 1
    expected = np.rint(np.array(densities) * counted)
    positive = np.array([threshold.numpy() > 0 for threshold in made.transcoder.threshold])
    assert positive.mean() > 0.8
    np.testing.assert_array_equal(active[positive], expected[positive])
    for layer in range(3):
        real, random = loaded.transcoder.W_dec[layer], made.transcoder.W_dec[layer]
        torch.testing.assert_close(random.norm(dim=-1), real.norm(dim=-1))
        assert abs(torch.cosine_similarity(random, real, dim=-1)).mean() < 0.3
    with pytest.raises(ValueError, match="3 layers of 24"):
        random_dictionary(loaded, densities[:2], texts)
