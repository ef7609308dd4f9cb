"""A harvest's numbers against all activations at once, its shards, its resumption, and what it does with bad input."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from harvests import Oracle
from models import random_transcoder, tiny_hf_model

import circuitlab as cl
from circuitlab import corpus
from circuitlab.features import logit_weights
from circuitlab.harvest import HarvestSettings, harvest, merge
from circuitlab.harvest.run import HarvestResult

SETTINGS = HarvestSettings(
    n_top=4, n_lower=2, before=3, after=2, piece=16, block_records=8, n_partners=5, n_tokens=4, seed=3
)
N_FEATURES, N_LAYERS = 24, 3


@pytest.fixture(scope="module")
def model():
    return cl.load(tiny_hf_model("llama"), random_transcoder())


def token_records(seed: int = 0) -> list[list[int]]:
    """Records of 1 to 40 tokens, some of them told several times, some beginning alike."""
    draw = np.random.default_rng(seed)
    texts = [draw.integers(0, 97, draw.integers(2, 40)).tolist() for _ in range(90)]
    texts[10:20] = [list(texts[5]) for _ in range(10)]
    texts[30:35] = [texts[6][:4] + text for text in texts[30:35]]
    texts[40] = [7]
    return texts


def as_rows(folder: Path, kind: str, layer: int) -> list[dict]:
    return parquet.read_table(folder / f"{kind}-{layer:03d}.parquet").to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def harvested(model, tmp_path_factory) -> HarvestResult:
    return harvest(model, token_records(), tmp_path_factory.mktemp("harvest") / "store", SETTINGS)


@pytest.fixture(scope="module")
def oracle(model) -> Oracle:
    return Oracle(model, list(corpus.records(token_records())), SETTINGS)


# ---- every column against the oracle ----


def test_the_manifest_counts_what_was_read(harvested, oracle):
    manifest = harvested.manifest
    assert manifest.n_tokens == len(oracle.stacked) == harvested.n_tokens
    assert manifest.n_records == 89
    long = sum(len(record) > SETTINGS.piece for record in token_records())
    assert manifest.skipped == {"empty": 1, "split: longer than one piece": long}
    assert manifest.shards == ((0, 1),)
    assert manifest.coactivation_positions == len(oracle.stacked)


def test_counts_moments_and_histograms(harvested, oracle):
    for layer in range(N_LAYERS):
        rows = as_rows(harvested.folder, "features", layer)
        assert [row["index"] for row in rows] == list(range(N_FEATURES))
        for row in rows:
            values = oracle.stacked[:, layer * N_FEATURES + row["index"]]
            active = values[values > 0]
            assert row["layer"] == layer
            assert row["n_active"] == len(active)
            assert row["density"] == len(active) / len(values)
            assert row["largest"] == pytest.approx(values.max(), rel=1e-6)
            assert row["sum"] == pytest.approx(active.sum(), rel=1e-6)
            assert row["sum_squares"] == pytest.approx((active**2).sum(), rel=1e-6)
            counts, _ = np.histogram(active, row["histogram_edges"] or [0, 1])
            assert row["histogram"] == (counts.tolist() if len(active) else [])
            if len(active):
                assert row["histogram_edges"][-2] <= values.max() < row["histogram_edges"][-1]


def test_examples(harvested, oracle):
    seen = 0
    for layer in range(N_LAYERS):
        rows = as_rows(harvested.folder, "examples", layer)
        for index in range(N_FEATURES):
            mine = [row for row in rows if row["index"] == index]
            expected = oracle.examples(layer * N_FEATURES + index) if mine else []
            assert len(mine) == len(expected)
            for row, (quantile, record, position, copies, tokens, along, peak) in zip(mine, expected, strict=True):
                assert (row["quantile"], row["record"], row["position"]) == (quantile, record, position)
                assert (row["copies"], row["token_ids"], row["peak"]) == (copies, tokens, peak)
                np.testing.assert_allclose(row["activations"], along, rtol=1e-6, atol=1e-6)
                seen += row["copies"] > 1
    assert seen > 10, "no folded copies were tested"


def test_examples_are_named_by_what_they_are(harvested):
    for row in as_rows(harvested.folder, "examples", 1):
        largest = as_rows(harvested.folder, "features", 1)[row["index"]]["largest"]
        if row["quantile"]:
            low, high = (float(part.rstrip("%")) / 100 for part in row["quantile_name"].split(" of ")[0].split(" to "))
            assert low - 0.006 <= row["activations"][row["peak"]] / largest <= high + 0.006
        else:
            assert row["quantile_name"] == "Top"


def test_coactivations_are_exact_while_the_corpus_is_small(harvested, oracle):
    count = (oracle.stacked > 0).T.astype(float) @ (oracle.stacked > 0)
    product = oracle.stacked.T @ oracle.stacked
    for layer in range(N_LAYERS):
        for row in as_rows(harvested.folder, "features", layer):
            own = layer * N_FEATURES + row["index"]
            others = np.delete(np.arange(N_LAYERS * N_FEATURES), own)
            best = np.sort(product[own, others][count[own, others] > 0])[::-1][: SETTINGS.n_partners]
            np.testing.assert_allclose([p["product"] for p in row["coactive"]], best, rtol=1e-6)
            for partner in row["coactive"]:
                other = partner["layer"] * N_FEATURES + partner["index"]
                assert partner["count"] == count[own, other]
                assert partner["product"] == pytest.approx(product[own, other], rel=1e-6)


def test_a_sample_of_positions_estimates_coactivations(model, tmp_path, oracle):
    settings = HarvestSettings(**{**vars(SETTINGS), "coactivation_positions": 400})
    manifest = harvest(model, token_records(), tmp_path, settings).manifest
    assert manifest.coactivation_positions == 400
    product = oracle.stacked.T @ oracle.stacked
    found, true = [], []
    for row in as_rows(tmp_path, "features", 0):
        for partner in row["coactive"]:
            found.append(partner["product"] * manifest.n_tokens / 400)
            true.append(product[row["index"], partner["layer"] * N_FEATURES + partner["index"]])
    assert np.mean(np.array(found) / np.array(true)) == pytest.approx(1.0, abs=0.15)


def test_what_the_weights_give(model, harvested):
    for layer in range(N_LAYERS):
        encoders = torch.nn.functional.normalize(model.transcoder.W_enc[layer], dim=1)
        cosines = (encoders @ encoders.T).fill_diagonal_(-2)
        for row in as_rows(harvested.folder, "features", layer):
            weights = logit_weights(model.model, model.transcoder, layer, row["index"])
            for column, largest in (("promoted", True), ("suppressed", False)):
                top = weights.topk(SETTINGS.n_tokens, largest=largest)
                assert [entry["token_id"] for entry in row[column]] == top.indices.tolist()
                np.testing.assert_allclose([entry["weight"] for entry in row[column]], top.values, rtol=1e-5)
            counts, edges = np.histogram(weights.float(), 40)
            np.testing.assert_allclose(row["logit_histogram_edges"], edges, atol=1e-5)
            assert sum(row["logit_histogram"]) == len(weights)
            assert np.abs(np.cumsum(row["logit_histogram"]) - np.cumsum(counts)).max() <= 1
            near = cosines[row["index"]].topk(SETTINGS.n_partners)
            assert [entry["index"] for entry in row["nearest"]] == near.indices.tolist()
            np.testing.assert_allclose([entry["cosine"] for entry in row["nearest"]], near.values, rtol=1e-5)


@pytest.mark.parametrize("options", [{"activation": "jumprelu"}, {"activation": "topk", "k": 5}, {"kind": "plt"}])
def test_other_transcoders(options, tmp_path):
    model = cl.load(tiny_hf_model("gpt2"), random_transcoder(**options))
    harvest(model, token_records()[:30], tmp_path, SETTINGS)
    oracle = Oracle(model, list(corpus.records(token_records()[:30])), SETTINGS)
    for layer in range(N_LAYERS):
        for row in as_rows(tmp_path, "features", layer):
            values = oracle.stacked[:, layer * N_FEATURES + row["index"]]
            assert row["n_active"] == (values > 0).sum()
            assert row["sum"] == pytest.approx(values[values > 0].sum(), rel=1e-6)


# ---- the same store, however it was made ----


def test_equal_harvests_are_equal_bytes(model, harvested, tmp_path):
    harvest(model, token_records(), tmp_path, SETTINGS, checkpoint_seconds=0)
    assert contents(tmp_path) == contents(harvested.folder)


@pytest.mark.parametrize("n", [2, 5])
def test_shards_merged_are_the_whole(model, harvested, tmp_path, n):
    for part in range(n):
        harvest(model, token_records(), tmp_path / str(part), SETTINGS, shard=(part, n))
    order = [tmp_path / str(part) for part in reversed(range(n))]
    merge(order, tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(harvested.folder)


def test_some_shards_merge_too(model, tmp_path):
    for part in (0, 2):
        harvest(model, token_records(), tmp_path / str(part), SETTINGS, shard=(part, 3))
    manifest = merge([tmp_path / "0", tmp_path / "2"], tmp_path / "merged")
    assert manifest.shards == ((0, 3), (2, 3))
    with pytest.raises(ValueError, match="the shard 0/3 was given twice"):
        merge([tmp_path / "0", tmp_path / "0"], tmp_path / "again")


def test_an_interrupted_harvest_goes_on(model, harvested, tmp_path):
    """Two blocks at a time: the second is lost with its process, the first was kept."""
    seen = []
    for attempt in range(12):
        calls = []

        def stop(block, tally, calls=calls):
            calls.append(block.number)
            if len(calls) == 2:
                raise KeyboardInterrupt

        try:
            harvest(model, token_records(), tmp_path, SETTINGS, checkpoint_seconds=0, progress=stop)
        except KeyboardInterrupt:
            assert attempt < 11
        seen.append(calls[0])
    assert seen == list(range(12))
    assert contents(tmp_path) == contents(harvested.folder)
