"""A harvest's numbers against all activations at once, its shards, its resumption, and what it does with bad input."""

import dataclasses
import errno
import json
import operator
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from harvests import Oracle
from models import random_transcoder, tiny_hf_model
from safetensors.numpy import load_file, save_file

import circuitlab as cl
from circuitlab import corpus
from circuitlab.features import logit_weights
from circuitlab.harvest import HarvestSettings, checkpoint, harvest, merge
from circuitlab.harvest.blocks import Block, read_block
from circuitlab.harvest.engine import add_block
from circuitlab.harvest.generated import Generated
from circuitlab.harvest.run import HarvestResult
from circuitlab.harvest.sums import FixedSums
from circuitlab.harvest.tally import Tally
from circuitlab.random_dictionary import random_like

ROOT = Path(__file__).resolve().parents[1]
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
    settings = dataclasses.replace(SETTINGS, coactivation_positions=400)
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
            edges = row["logit_histogram_edges"]
            assert row["logit_histogram"] == np.histogram(weights.float(), edges)[0].tolist()
            assert sum(row["logit_histogram"]) == len(weights)
            assert sum(count > 0 for count in row["logit_histogram"][:2] + row["logit_histogram"][-2:]) >= 2
            np.testing.assert_allclose(np.diff(edges), edges[1] - edges[0], rtol=1e-4)
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


# ---- killed ----

GO_ON = """
import sys
import circuitlab as cl
from circuitlab.harvest import HarvestSettings, harvest
settings = HarvestSettings(block_records=2, coactivation_positions=64)
model = cl.load(device="cpu")
print("ready", flush=True)
tell = lambda block, tally: print(block.number, flush=True)
harvest(model, sys.argv[2], sys.argv[1], settings, checkpoint_seconds=0, progress=tell)
"""


def test_killed_at_any_moment_it_goes_on(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"calc : {first} + {first + 9} =" for first in range(20, 60)))
    draw = np.random.default_rng(5)
    for n_blocks in (2, 5):
        go_on_and_kill(tmp_path / "killed", texts, n_blocks, float(draw.uniform(0, 0.3)))
    model, settings = cl.load(device="cpu"), HarvestSettings(block_records=2, coactivation_positions=64)
    assert (
        harvest(model, texts, tmp_path / "killed", settings).n_tokens
        < harvest(model, texts, tmp_path / "undisturbed", settings).n_tokens
    )
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_what_a_killed_process_was_writing_goes(model, harvested, tmp_path):
    """safetensors writes under a name of its own beside the file."""
    left = tmp_path / ".tally.safetensors.1.part"
    left.mkdir()
    (left / ".tmpAbCdEf").write_bytes(b"half a tally")
    (tmp_path / ".features-000.parquet.1.part").write_bytes(b"half a table")
    beside = []
    real = checkpoint.save_file

    def looking(arrays, path):
        beside.append(Path(path).parent != tmp_path)
        real(arrays, path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoint, "save_file", looking)
        harvest(model, token_records(), tmp_path, SETTINGS)
    assert beside == [True]
    assert contents(tmp_path) == contents(harvested.folder)


def go_on_and_kill(folder: Path, texts: Path, n_blocks: int, seconds: float) -> None:
    """Run the harvest in a process of its own; kill it so many blocks and seconds after it began."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", GO_ON, str(folder), str(texts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        for _ in range(n_blocks + 1):
            process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL


# ---- refused ----


def test_another_transcoder_model_setting_or_corpus_is_refused(model, harvested, tmp_path):
    folder = tmp_path / "store"
    shutil.copytree(harvested.folder, folder)
    other = cl.load(tiny_hf_model("llama"), random_transcoder(seed=9))
    with pytest.raises(ValueError, match=r"the transcoder was CLT.* \(fingerprint .*--fresh"):
        harvest(other, token_records(), folder, SETTINGS)
    with pytest.raises(ValueError, match="the model was"):
        harvest(cl.load(tiny_hf_model("llama", seed=5), random_transcoder()), token_records(), folder, SETTINGS)
    with pytest.raises(ValueError, match="n_top was 4, now 5"):
        harvest(model, token_records(), folder, dataclasses.replace(SETTINGS, n_top=5))
    with pytest.raises(ValueError, match="the corpus was 'list of texts', now 'another'"):
        harvest(model, token_records(), folder, SETTINGS, name="another")
    (folder / "tally.safetensors").unlink()
    with pytest.raises(ValueError, match="the transcoder was"):
        harvest(other, token_records(), folder, SETTINGS)
    assert harvest(other, token_records()[:8], folder, SETTINGS, resume=False).n_tokens


def test_a_changed_corpus_is_refused_when_going_on(model, tmp_path):
    def stop(block, tally):
        if block.number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harvest(model, token_records(), tmp_path, SETTINGS, checkpoint_seconds=0, progress=stop)
    with pytest.raises(ValueError, match="its first 32 records have changed"):
        harvest(model, token_records(seed=1), tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="records have changed"):
        harvest(model, token_records()[:20], tmp_path, SETTINGS)


def test_stores_that_do_not_belong_together_are_not_merged(model, tmp_path):
    harvest(model, token_records(), tmp_path / "a", SETTINGS, shard=(0, 2))
    harvest(model, token_records(seed=1), tmp_path / "b", SETTINGS, shard=(1, 2))
    harvest(model, token_records(), tmp_path / "c", SETTINGS, shard=(1, 3), keep_tally=False)
    with pytest.raises(ValueError, match="from another corpus"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(ValueError, match="has no tally"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "out")


def test_a_damaged_checkpoint_says_so(model, tmp_path):
    (tmp_path / "tally.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"tally.safetensors cannot be read .* --fresh"):
        harvest(model, token_records(), tmp_path, SETTINGS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text, arrays: text.pop("marks"),
        lambda text, arrays: text.update(marks=None),
        lambda text, arrays: text["marks"].pop("transcoder"),
        lambda text, arrays: text.update(shards=[[0, "1"]]),
        lambda text, arrays: text.update(next_block="5"),
        lambda text, arrays: arrays.pop("n_active"),
        lambda text, arrays: arrays.update(n_active=arrays["n_active"][:3]),
        lambda text, arrays: arrays.update({"top.feature": arrays["top.feature"] + 10**6}),
        lambda text, arrays: arrays.update(sums=arrays["sums"] - 2**62),
    ],
)
def test_a_checkpoint_that_was_tampered_with_is_refused(model, harvested, tmp_path, damage):
    path = shutil.copytree(harvested.folder, tmp_path / "store") / "tally.safetensors"
    arrays = load_file(path)
    text = json.loads(arrays["state.json"].tobytes())
    damage(text, arrays)
    save_file(arrays | {"state.json": np.frombuffer(json.dumps(text).encode(), np.uint8)}, path)
    with pytest.raises(ValueError, match=r"tally\.safetensors cannot be read"):
        harvest(model, token_records(), tmp_path / "store", SETTINGS)
    with pytest.raises(ValueError, match=r"tally\.safetensors cannot be read"):
        merge([tmp_path / "store"], tmp_path / "merged")


def test_a_generator_gives_no_random_dictionary(model, tmp_path):
    texts = iter(token_records())
    harvest(model, texts, tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="no texts when it was read again: give a list or files"):
        random_like(model, tmp_path, texts)


def test_two_harvests_do_not_write_into_one_folder(model, harvested, tmp_path):
    refused = []

    def another(block, tally):
        for folder_again in (lambda: harvest(model, token_records(), tmp_path, SETTINGS),
                             lambda: merge([harvested.folder], tmp_path)):  # fmt: skip
            with pytest.raises(ValueError, match="another harvest is writing into"):
                folder_again()
            refused.append(block.number)

    harvest(model, token_records(), tmp_path, SETTINGS, checkpoint_seconds=0, progress=another)
    assert len(refused) == 24
    assert contents(tmp_path) == contents(harvested.folder)


def test_a_finished_harvest_of_a_corpus_that_has_grown_says_so(model, tmp_path):
    harvest(model, token_records(), tmp_path, SETTINGS)
    assert harvest(model, iter(token_records()), tmp_path, SETTINGS, name="list of texts").n_tokens == 0
    with pytest.raises(ValueError, match=r"is finished, and the corpus .* has changed since: its size was 90, now 91"):
        harvest(model, [*token_records(), [1, 2, 3]], tmp_path, SETTINGS)
    grown = harvest(model, [*token_records(), [1, 2, 3]], tmp_path, SETTINGS, resume=False)
    assert grown.manifest.n_records == 90


def test_a_store_half_replaced_passes_for_none(model, harvested, tmp_path, monkeypatch):
    """Other settings that the manifest does not tell: killed between two files, the store must not look finished."""
    harvest(model, token_records(), tmp_path, SETTINGS)
    fewer, real = dataclasses.replace(SETTINGS, n_top=2), os.replace

    def killed(source, target):
        if Path(target).name == "features-001.parquet":
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        harvest(model, token_records(), tmp_path, fewer, resume=False)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match="is no store"):
        cl.Store(tmp_path)
    harvest(model, token_records(), tmp_path, fewer)
    ranks = [row["rank"] for layer in range(N_LAYERS) for row in as_rows(tmp_path, "examples", layer)]
    assert max(ranks) == 1


# ---- numbers that cannot be ----


def test_activations_too_large_to_be_summed_are_refused(tmp_path):
    transcoder = random_transcoder()
    for weight in transcoder.W_enc:
        weight.data.mul_(1e10)
    huge = cl.load(tiny_hf_model("llama"), transcoder, check=False)
    with pytest.raises(ValueError, match="add up to more than can be kept"):
        harvest(huge, token_records(), tmp_path, SETTINGS)


def test_sums_never_wrap_around():
    sums, at = FixedSums(2), np.array([0])
    for _ in range(3):
        sums.add(np.array([1]), at, np.full(4, 2.0**50))
    for values in (np.full(64, 2.0**50), np.array([2.0**54]), np.array([2.0**63]), np.array([np.inf])):
        with pytest.raises(ValueError, match=r"feature 0 .* add up to more"):
            FixedSums(2).add(at, at, values)
    sums.add(np.array([1]), at, np.full(3, 2.0**50))
    with pytest.raises(ValueError, match=r"feature 1 .* add up to more"):
        sums.add(np.array([1]), at, np.array([2.0**50]))
    with pytest.raises(ValueError, match=r"feature 1 .* add up to more"):
        sums.merge(sums.words.copy())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_activations_that_are_no_numbers_are_refused(tmp_path, value):
    broken = cl.load(tiny_hf_model("llama"), random_transcoder(), check=False)
    with torch.no_grad():
        broken.transcoder.b_enc[1][3] = value
        if np.isnan(value):
            broken.model.bridge.original_model.get_input_embeddings().weight[5] = value
    with pytest.raises(ValueError, match=r"is NaN or infinite: load the model with dtype=float32"):
        harvest(broken, token_records(), tmp_path, SETTINGS)


# ---- a full disk ----


def test_a_full_disk_keeps_the_last_checkpoint(model, harvested, tmp_path, monkeypatch):
    saved = []
    real = checkpoint.save_file

    def full(*given):
        saved.append(1)
        if len(saved) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="is full: what was harvested of the first 24 records is kept; free some space"):
        harvest(model, token_records(), tmp_path, SETTINGS, checkpoint_seconds=0)
    assert sorted(contents(tmp_path)) == [".harvest.lock", "tally.safetensors"]
    monkeypatch.undo()
    harvest(model, token_records(), tmp_path, SETTINGS)
    assert contents(tmp_path) == contents(harvested.folder)


# ---- corpora ----


def test_bad_records_are_counted(tmp_path):
    model = cl.load(device="cpu")
    good = "calc : 36 + 59 ="
    lines = [
        json.dumps({"text": good}).encode(), b"", b'{"text": ""}', b"{broken", b'{"words": "x"}',
        b'{"text": "\xff\xfe"}', json.dumps({"text": "calc : 36 + zebra ="}).encode(), b'{"text": "\\ud800"}',
        json.dumps({"text": " . ".join([good] * 40)}).encode(), b'{"text": "' + b"x" * corpus.LONGEST + b'"}',
    ]  # fmt: skip
    (tmp_path / "texts.jsonl").write_bytes(b"\n".join(lines))
    manifest = harvest(model, tmp_path / "texts.jsonl", tmp_path / "store", HarvestSettings(piece=64)).manifest
    assert manifest.n_records == 2
    assert manifest.skipped == {
        "empty": 2, "not JSON": 1, "no text field": 1, "not UTF-8": 2, "words the model does not know": 1,
        "too long a line": 1, "split: longer than one piece": 1,
    }  # fmt: skip


def test_pieces_know_where_in_their_record_they_begin():
    """Each piece begins with BOS; the tokens behind it stand in the record at `start` + 1, + 2, …"""
    model = cl.load(device="cpu").model
    text = " . ".join(f"calc : {number} + 59 =" for number in range(20, 28))
    whole = model.to_tokens(text).tolist()
    pieces = read_block(model, Block(0, 0, (corpus.Record(text),), "", 0), 8)
    rows = [row[1:] for row in pieces.rows]
    assert [whole[start + 1 : start + 8] for start in pieces.start] == rows
    assert [token for row in rows for token in row] == whole[1:]
    assert {row[0] for row in pieces.rows} == {whole[0]}


def test_a_corpus_without_one_good_record_says_why(model, tmp_path):
    with pytest.raises(ValueError, match=r"be read: empty \(2 records\), token ids outside the vocabulary \(1"):
        harvest(model, [[], [4], [5, 9999]], tmp_path, SETTINGS)


def test_texts_that_the_model_writes_have_the_tokens_asked_for():
    """atlas ends its texts early. Mutation: as many texts as the longest ones would need."""
    written = Generated(cl.load(device="cpu").model, 1_000)
    texts = list(written)
    assert 1_000 <= sum(map(len, texts)) < 1_500
    assert len(texts) > operator.length_hint(written) > 0
    assert list(written) == texts


def test_what_a_worker_may_leave_out_changes_nothing(model, harvested, tmp_path):
    """Each block's tally begins where the whole stands, as with Ray, and is merged into it."""

    def engine(tally, blocks, expected):
        for block in blocks:
            part = Tally(tally.n_features, tally.settings)
            part.expect(tally.bars())
            add_block(part, model, block)
            tally.merge(part.arrays(), part.skipped)
            yield block

    harvest(model, token_records(), tmp_path, SETTINGS, engine=engine)
    assert contents(tmp_path) == contents(harvested.folder)
