"""Feature JSON, packed features and Neuronpedia's export: round trips, and files that mean harm."""

import gzip
import json
import math
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import circuitlab as cl
from circuitlab.evidence import Example, Histogram
from circuitlab.formats import feature_json, packed_features
from circuitlab.formats.checks import inflate
from circuitlab.formats.feature_json import (
    cantor_pair,
    cantor_unpair,
    evidence_from_json,
    read_feature_folder,
    read_feature_json,
    write_feature_folder,
    write_feature_json,
)
from circuitlab.formats.neuronpedia_features import (
    evidence_from_neuronpedia,
    neuronpedia_of_evidence,
    read_neuronpedia,
    write_neuronpedia,
)
from circuitlab.formats.packed_features import PackedFeatures, write_packed_features

ROW = {"tokens": ["a", "\n", "b"], "tokens_acts_list": [0.0, 1.5, 0.25], "train_token_ind": 1}
THEIRS = {
    "index": 7,
    "transcoder_id": "clt-7",
    "examples_quantiles": [
        {"quantile_name": "Top", "examples": [{**ROW, "ha": "x"}]},
        {"quantile_name": "Subsample", "examples": [{**ROW, "train_token_index": 2, "is_repeated_datapoint": True}]},
    ],
    "top_logits": [" x"],
    "bottom_logits": ["<script>alert(1)</script>"],
    "act_min": 0.5,
    "act_max": 1.5,
    "quantile_values": [0.1, 0.2],
    "histogram": [4, 1],
    "activation_frequency": 0.01,
    "deep": {"er": [1, {"x": None}]},
}
EXPORTED = {
    "feature_index": 5,
    "neg_str": ["no"],
    "neg_values": [-1.25],
    "pos_str": ["yes"],
    "pos_values": [2.5],
    "frac_nonzero": 0.125,
    "freq_hist_data_bar_heights": [2, 1],
    "freq_hist_data_bar_values": [0.25, 0.75],
    "logits_hist_data_bar_heights": [1, 2, 3],
    "logits_hist_data_bar_values": [-0.5, 0.5, 1.5],
    "n_prompts_total": 24576,
    "n_tokens_in_prompt": 128,
    "dataset": "some/texts",
    "decoder_weights_dist": [1.0],
    "activations": [
        {"bin_min": 0.5, "bin_max": 1.0, "bin_contains": 0.5, "tokens": ["A", "B"], "values": [0.125, 0.875],
         "qualifying_token_index": 1, "dfa": 3},
        {"bin_min": 0.0, "bin_max": 0.5, "bin_contains": 0.5, "tokens": ["C"], "values": [0.5],
         "qualifying_token_index": 0},
    ],
}  # fmt: skip

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
words = st.text(max_size=6)


@st.composite
def rows(draw):
    """An example as a file has it. (Strategies draw plain data: the checks of our own types use `random`.)"""
    n = draw(st.integers(1, 4))
    return {
        "tokens": draw(st.lists(words, min_size=n, max_size=n)),
        "tokens_acts_list": draw(st.lists(finite, min_size=n, max_size=n)),
        "train_token_ind": draw(st.integers(0, n - 1)),
        "copies": draw(st.integers(1, 3)),
        **draw(st.dictionaries(st.sampled_from(["ha", "dfa", "train_token_index"]), st.integers(0, 9), max_size=1)),
        **draw(st.dictionaries(st.just("is_repeated_datapoint"), st.booleans())),
    }


@st.composite
def files(draw):
    """A feature JSON with any of its keys."""
    counts = st.lists(st.integers(0, 10**12), min_size=1, max_size=4)
    tops = draw(st.lists(st.tuples(words, finite), max_size=3))
    neighbour = st.fixed_dictionaries({"layer": st.integers(0, 9), "index": st.integers(0, 9), "weight": finite})
    found = draw(st.lists(rows(), max_size=4, unique_by=lambda row: tuple(row["tokens"][: row["train_token_ind"] + 1])))
    split = draw(st.integers(0, len(found)))
    parts = {"Top": found[:split], "lower": found[split:]}
    data = {
        "layer": draw(st.integers(0, 40)),
        "index": draw(st.integers(0, 10**6)),
        "examples_quantiles": [{"quantile_name": name, "examples": part} for name, part in parts.items() if part],
        "top_logits": [token for token, _ in tops],
        "top_logit_weights": [weight for _, weight in tops],
    }
    optional = {
        "label": words,
        "histogram": counts,
        "logit_histogram": counts,
        "activation_frequency": st.floats(0, 1),
        "act_min": finite,
        "act_max": finite,
        "writes_to": st.lists(neighbour, max_size=2),
        "quantile_values": st.lists(finite, max_size=2),
        "transcoder_id": words,
        "theirs": st.dictionaries(words, words, max_size=2),
    }
    return data | {key: draw(value) for key, value in optional.items() if draw(st.booleans())}


def held(data, back):
    """What of `data` is in `back`, so that both can be compared: dictionaries by the keys of the first."""
    if isinstance(data, dict):
        return {key: held(value, back[key]) for key, value in data.items()}
    if isinstance(data, list):
        return [held(*pair) for pair in zip(data, back, strict=True)]
    return back


@settings(max_examples=60, deadline=None)
@given(files())
def test_feature_json_gives_back_every_key(data):
    evidence = evidence_from_json(data)
    back = json.loads(json.dumps(evidence.to_json()))
    assert held(data, back) == data
    assert evidence_from_json(back) == evidence


def test_every_key_of_another_tools_file_survives():
    back = json.loads(json.dumps(evidence_from_json(THEIRS, layer=2).to_json()))
    assert held(THEIRS, back) == THEIRS
    assert "transcoder_id" not in evidence_from_json(THEIRS, layer=2).to_json(extra=False)


def test_the_other_spelling_of_the_peak_and_no_peak_at_all():
    row = {"tokens": ["a", "b"], "tokens_acts_list": [3, 1]}
    for given_, peak in (({"train_token_index": 1}, 1), ({}, 0), ({"train_token_ind": 1, "train_token_index": 0}, 1)):
        data = {"index": 1, "examples_quantiles": [{"quantile_name": "Top", "examples": [{**row, **given_}]}]}
        assert evidence_from_json(data, layer=0).examples[0].peak == peak


def test_a_histogram_of_shares_is_kept_but_is_no_histogram_of_counts():
    evidence = evidence_from_json({**THEIRS, "histogram": [0.25, 0.75]}, layer=2)
    assert evidence.activation_histogram is None
    assert evidence.to_json()["histogram"] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": "7"}, "x.json: index is '7'; expected a whole number"),
        ({"index": True}, "x.json: index is True"),
        ({"examples_quantiles": 3}, "x.json: examples_quantiles is 3; expected a list"),
        ({"examples_quantiles": [{"examples": [{**ROW, "tokens": ["a", 3, "b"]}]}]}, r"examples\[0\].tokens\[1\] is 3"),
        ({"examples_quantiles": [{"examples": [{**ROW, "train_token_ind": 9}]}]}, "peak is 9; expected .* from 0 to 2"),
        ({"examples_quantiles": [{"examples": [{**ROW, "tokens": []}]}]}, "has no tokens"),
        ({"examples_quantiles": [{"examples": [{**ROW, "tokens": ["a"]}]}]}, "1 tokens but 3 activations|peak"),
        ({"examples_quantiles": [{"examples": [{**ROW, "tokens_acts_list": [0, 1e999, 0]}]}]}, r"list\[1\] is inf"),
        ({"act_max": 10**400}, "x.json: act_max is 1000.*; expected a finite number"),
        ({"activation_frequency": "often"}, "activation_frequency is 'often'; expected a number"),
        ({"label": "a" * 1_000_000}, "x.json: label has 1,000,000 characters; expected at most 1,000"),
        ({"top_logit_weights": [1.0, 2.0]}, "2 numbers for 1 tokens"),
        ({"histogram": [-1]}, r"histogram\[0\] is -1"),
        ({"histogram_edges": [0.0]}, "expected 3 numbers for 2 bins"),
        ({"sources": {"promted": "weights"}}, "x.json: evidence has no part 'promted'"),
        ({"reads_from": [{"layer": 1, "index": 2}]}, r"reads_from\[0\].weight is None"),
    ],
)
def test_feature_json_that_does_not_fit_is_refused_with_the_place(change, said):
    with pytest.raises(ValueError, match=said) as error:
        evidence_from_json({**THEIRS, **change}, "x.json", layer=0)
    assert str(error.value).startswith("x.json")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 200_000, "not JSON that can be read"),
        (b'{"index": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
        (b'{"index": 1, "examples_quantiles": [', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", r"is \[1\]; expected an object"),
    ],
)
def test_files_that_are_no_feature_json_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "9.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        read_feature_json(path)
    assert str(path) in str(error.value)


def test_a_file_too_large_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_json, "LARGEST_FEATURE", 100)
    (tmp_path / "9.json").write_bytes(b" " * 101)
    with pytest.raises(ValueError, match=r"9\.json has 101 bytes; expected at most 100"):
        read_feature_json(tmp_path / "9.json")


@given(st.integers(0, 10**4), st.integers(0, 10**7))
def test_cantor_numbers_go_back(layer, index):
    assert cantor_unpair(cantor_pair(layer, index)) == (layer, index)


def test_a_file_says_its_layer_or_its_name_does(tmp_path):
    def written(name, **change):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**THEIRS, **change}), "utf-8")
        return path

    z = cantor_pair(3, 7)
    assert read_feature_json(written(f"a/{z}.json")).name == "L3/7"
    assert read_feature_json(written(f"a/{z}.json", index=z)).name == "L3/7"
    assert read_feature_json(written("layer_4/7.json")).name == "L4/7"
    assert read_feature_json(written("a/x.json", layer=5)).name == "L5/7"
    with pytest.raises(ValueError, match=r"a/9\.json: .*layer=…"):
        read_feature_json(written("a/9.json"))


def test_a_folder_of_feature_json(tmp_path):
    known = {"top_logit_weights": [1.0], "bottom_logit_weights": [-1.0]}
    found = [evidence_from_json({**THEIRS, **known, "index": index}, layer=2) for index in (4, 9)]
    write_feature_folder(found, tmp_path / "features")
    assert sorted(read_feature_folder(tmp_path / "features"), key=lambda e: e.index) == found
    with pytest.raises(ValueError, match="holds no feature JSON"):
        list(read_feature_folder(tmp_path / "nothing"))


def test_unpaired_surrogates_survive(tmp_path):
    evidence = cl.Evidence(0, 0, examples=(Example(("\ud800",), (1.0,), 0),))
    assert read_feature_json(write_feature_json(evidence, tmp_path / "0.json")) == evidence


# ---- packed ----


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_packed_features_give_back_what_was_packed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("packed")
    places = sorted(data.draw(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=5)))
    drawn = data.draw(st.lists(files(), min_size=len(places), max_size=len(places)))
    found = [evidence_from_json(file, "file", *place) for file, place in zip(drawn, places, strict=True)]
    write_packed_features(found, folder, n_features=6)
    packed = PackedFeatures(folder)
    assert list(packed) == found
    assert len(packed) == len(found)
    for evidence in found:
        assert packed[evidence.layer, evidence.index] == evidence
    with pytest.raises(KeyError, match="L7/0"):
        packed[7, 0]


def pack(tmp_path, blob=None, index=None, text=b'{"index": 0, "examples_quantiles": []}'):
    blob = struct.pack("<I", len(gzip.compress(text))) + gzip.compress(text) if blob is None else blob
    (tmp_path / "layer_0.bin").write_bytes(blob)
    entry = {"filename": "layer_0.bin", "offsets": [0, len(blob)], **(index or {})}
    (tmp_path / "index.json.gz").write_bytes(gzip.compress(json.dumps({"0": entry}).encode()))
    return tmp_path


@pytest.mark.parametrize("squeeze", [gzip.compress, zlib.compress, lambda text: zlib.compress(text)[2:-4]])
def test_gzip_zlib_and_raw_deflate_are_read(tmp_path, squeeze):
    packed = squeeze(json.dumps(THEIRS).encode())
    found = PackedFeatures(pack(tmp_path, struct.pack("<I", len(packed)) + packed))[0, 0]
    assert (found.name, found.largest) == ("L0/0", 1.5)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"offsets": [0, 10**9]}, r"offsets\[1\] is 1000000000; expected a whole number from 0 to the size"),
        ({"offsets": [-1, 4]}, r"offsets\[0\] is -1"),
        ({"offsets": [4, 2]}, r"offsets\[1\] is 2; expected a whole number from 4"),
        ({"offsets": [0, 1.5]}, r"offsets\[1\] is 1.5"),
        ({"offsets": []}, "offsets is empty"),
        ({"filename": "../../etc/passwd"}, "expected the name of a file in"),
        ({"filename": "/etc/passwd"}, "expected the name of a file in"),
        ({"filename": ".."}, "expected the name of a file in"),
        ({"filename": None}, "filename is None; expected text"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, index, said):
    with pytest.raises(ValueError, match=said) as error:
        PackedFeatures(pack(tmp_path, index=index))
    assert "index.json.gz" in str(error.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    pack(folder)
    secret = tmp_path / "secret"
    (folder / "layer_0.bin").rename(secret)
    (folder / "layer_0.bin").symlink_to(secret)
    with pytest.raises(ValueError, match="a link to a file elsewhere"):
        PackedFeatures(tmp_path)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (struct.pack("<I", 10**9) + b"abc", "claims 1,000,000,000 bytes at 0; there are 3"),
        (b"ab", "has 2 bytes at 0"),
        (struct.pack("<I", 4) + b"\x1f\x8bzz", "not whole deflate or gzip data"),
        (struct.pack("<I", 20) + gzip.compress(b"a" * 500)[:20], "ends before"),
        (struct.pack("<I", 2) + b"{}", "deflate"),
    ],
)
def test_damaged_blobs_are_refused_by_file_and_feature(tmp_path, blob, said):
    packed = PackedFeatures(pack(tmp_path, blob))
    with pytest.raises(ValueError, match=said) as error:
        packed[0, 0]
    assert "layer_0.bin: feature 0" in str(error.value)


def test_bombs_are_stopped_while_they_unpack(tmp_path, monkeypatch):
    bomb = gzip.compress(b" " * 50_000_000)
    with pytest.raises(ValueError, match="unpacks to more than 1,000 bytes"):
        inflate(bomb, "here", 1000)
    packed = PackedFeatures(pack(tmp_path, text=b" " * 50_000_000))
    with pytest.raises(ValueError, match=r"feature 0 unpacks to more than 16,777,216 bytes"):
        packed[0, 0]
    monkeypatch.setattr(packed_features, "LARGEST_INDEX", 10)
    with pytest.raises(ValueError, match=r"index\.json\.gz has .* bytes; expected at most 10"):
        PackedFeatures(tmp_path)


def test_packing_needs_features_in_order(tmp_path):
    found = [cl.Evidence(0, 3), cl.Evidence(0, 1)]
    with pytest.raises(ValueError, match="L0/1 comes out of order"):
        write_packed_features(found, tmp_path, 6)
    with pytest.raises(ValueError, match="L0/9 comes out of order, or beyond the 6"):
        write_packed_features([cl.Evidence(0, 9)], tmp_path, 6)
    assert not (tmp_path / "features" / "index.json.gz").exists()


# ---- Neuronpedia ----


def test_a_neuronpedia_export_goes_there_and_back_to_the_bit():
    evidence = evidence_from_neuronpedia(EXPORTED, "x", 3)
    assert (evidence.name, evidence.density, evidence.largest) == ("L3/5", 0.125, 0.875)
    assert evidence.activation_histogram == Histogram((2, 1), (0.0, 0.5, 1.0))
    assert list(evidence.quantiles) == ["0.5 to 1", "0 to 0.5"]
    assert evidence.note == "From a Neuronpedia export of some/texts, 24,576 prompts."
    assert json.loads(json.dumps(neuronpedia_of_evidence(evidence))) == EXPORTED


@settings(max_examples=40, deadline=None)
@given(st.lists(finite, min_size=1, max_size=5), st.booleans())
def test_bars_of_any_spacing_survive(values, whole):
    heights = [float(at) if whole else at + 0.5 for at in range(len(values))]
    data = {**EXPORTED, "freq_hist_data_bar_heights": heights, "freq_hist_data_bar_values": values}
    assert neuronpedia_of_evidence(evidence_from_neuronpedia(data, "x", 0)) == data


@settings(max_examples=30, deadline=None)
@given(files())
def test_what_neuronpedia_can_hold_of_ours_survives(data):
    evidence = evidence_from_json(data, "file", 1, 4)
    back = evidence_from_neuronpedia(json.loads(json.dumps(neuronpedia_of_evidence(evidence))), "x", 1)
    assert (back.promoted, back.density) == (evidence.promoted, evidence.density)
    if evidence.logit_histogram:
        assert back.logit_histogram.counts == evidence.logit_histogram.counts
        assert back.logit_histogram.edges == pytest.approx(evidence.logit_histogram.edges)
    assert sum(e.copies for e in back.examples) == len(evidence.examples)


def test_batches_lists_lines_and_gzip_are_read(tmp_path):
    batch = {"model_id": "m", "layer": "3-res-16k", "features": [EXPORTED, {**EXPORTED, "feature_index": 6}]}
    (tmp_path / "a.json").write_text(json.dumps(batch))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({**row, "layer": 3}) for row in batch["features"]))
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(json.dumps(batch["features"]).encode()))
    names = ["L3/5", "L3/6"]
    assert [e.name for e in read_neuronpedia(tmp_path / "a.json")] == names
    assert [e.name for e in read_neuronpedia(tmp_path / "b.jsonl")] == names
    assert [e.name for e in read_neuronpedia(tmp_path / "c.json.gz", layer=3)] == names
    with pytest.raises(ValueError, match=r"c\.json\.gz: features\[0\] does not say its layer"):
        list(read_neuronpedia(tmp_path / "c.json.gz"))


def test_batches_are_written_by_layer(tmp_path, monkeypatch):
    monkeypatch.setattr("circuitlab.formats.neuronpedia_features.BATCH", 2)
    found = [
        evidence_from_neuronpedia({**EXPORTED, "feature_index": i}, "x", layer) for layer in (0, 2) for i in (1, 2, 5)
    ]
    write_neuronpedia(found, tmp_path, "m", {"dataset": "ours"})
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths][:2] == ["layer-000-batch-0000.json", "layer-000-batch-0001.json"]
    assert [e for path in paths for e in read_neuronpedia(path)] == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feature_index": None}, "feature_index is None"),
        ({"pos_values": [1.0, 2.0]}, "pos_values has 2 numbers for 1 tokens"),
        ({"freq_hist_data_bar_values": [0.5]}, "1 numbers for 2 bars"),
        ({"activations": [{"tokens": ["a"], "values": []}]}, r"activations\[0\]"),
        ({"activations": [{"tokens": ["a"], "values": [1], "bin_min": "x", "bin_max": 1}]}, "bin_min is 'x'"),
        ({"frac_nonzero": math.inf}, "frac_nonzero is inf"),
    ],
)
def test_an_export_that_does_not_fit_is_refused_with_the_place(change, said):
    with pytest.raises(ValueError, match=said):
        evidence_from_neuronpedia({**EXPORTED, **change}, "x", 0)
