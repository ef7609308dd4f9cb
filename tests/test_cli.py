"""The command line as a script sees it: exit codes, JSON, files, one-line errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from circuitlab.atlas.labels import sample_sentences
from circuitlab.cli import main
from circuitlab.cli.options import as_text, reports_errors
from circuitlab.formats.transcoders import read_transcoder, write_transcoder
from circuitlab.graph import Graph
from circuitlab.replacement import ATLAS
from circuitlab.store.store import Store
from circuitlab.transcoder import Transcoder
from tests.models import STORIES, needs_stories

DALLAS = "fact : the capital of the state containing Dallas is"


@pytest.fixture(scope="module")
def run():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(main, [str(argument) for argument in arguments])


def test_trace_answers_and_writes_what_is_asked(run, tmp_path):
    files = [tmp_path / name for name in ("dallas.html", "dallas.svg", "dallas.json", "dallas.zip")]
    result = run("trace", DALLAS, *[part for file in files for part in ("-o", file)])
    assert result.exit_code == 0, result.output
    assert f"{DALLAS} → Austin" in result.output
    for expected in ("strongest paths", "replacement", "completeness", "worst relative miss"):
        assert expected in result.output
    assert all(file.stat().st_size > 1000 for file in files)
    assert Graph.open(tmp_path / "dallas.json").targets.token.iloc[0].strip() == "Austin"
    whole = Graph.open(tmp_path / "dallas.zip")
    assert whole.check().attrs["worst"] < 1e-4


def test_intervene_prints_before_and_after(run):
    result = run("intervene", DALLAS, "--set", "Texas=-1", "--tokens", 2, "--controls", 19)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == DALLAS
    (austin,) = (line.split() for line in lines if line.split()[:1] == ["Austin"])
    assert austin[1:] == [">99.9%", "7.7%"], "as every other output says it"
    assert "stands out" in result.output
    assert "after: " in result.output


def test_intervene_as_json_sets_values_at_places(run):
    result = run("intervene", DALLAS, "--value", "L3/55=2", "--at", "is", "--controls", 0, "--json", "--live")
    found = json.loads(result.stdout)
    assert found["set"] == {"L3/55": ["3_55_11"]}
    assert found["verdict"] is None
    assert {"token", "before", "after"} <= set(found["tokens"][0])


def test_trace_as_json_is_one_document(run):
    result = run("trace", "calc : 36 + 59 =", "--json", "--paths", 2)
    summary = json.loads(result.stdout)
    assert summary["answers"][0]["token"].strip() == "95"
    assert len(summary["paths"]) == 2
    assert summary["check"]["worst_relative_miss"] < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", ""], "is empty"),
        (["trace", "fact : the capital of the state containing Dalas is"], "does not know the words 'Dalas'"),
        (["trace", DALLAS, "-o", "x.docx"], "cannot write a .docx; known: .html"),
        (["trace", DALLAS, "-o", "no/such/folder/x.svg"], "does not exist"),
        (["trace", DALLAS, "--position", "99"], "position 99 is outside the prompt"),
        (["trace", DALLAS, "--target", "nonsense"], "must be one token"),
        (["trace", DALLAS, "--target", "Austn"], "did you mean 'Austin'"),
        (["intervene", DALLAS], "nothing is set: give --set NAME=M"),
        (["intervene", DALLAS, "--set", "Texas"], "give a name and a number"),
        (["intervene", DALLAS, "--set", "Texass=0"], "nothing is called 'Texass'; nearest: 'Texas'"),
        (["intervene", DALLAS, "--set", "Texas=0", "--mode", "propagate"], "did you mean 'propagating'"),
        (["intervene", DALLAS, "--set", "Texas=0", "--at", "99"], "position 99 is outside the prompt"),
        (["trace", DALLAS, "--transcoder", "nowhere"], "nowhere"),
        (["trace", DALLAS, "--model", "./nowhere/at/all", "--transcoder", "x"], "there is no folder"),
        (["trace", DALLAS, "--model", "./nowhere/at/all"], "there is no folder"),
        (["train", "--model", "./nowhere/at/all"], "there is no folder"),
        (["trace", "fact : " * 100], "reads at most"),
        (["trace", DALLAS, "--device", "nonsense"], "device='nonsense' cannot be used"),
        (["train", "--model", "x", "--steps", "0"], "steps=0 must be at least 1"),
    ],
)
def test_mistakes_end_in_one_line(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


@needs_stories
def test_a_model_without_a_transcoder_is_traced_in_neurons(run):
    result = run("trace", "Once upon a time", "--model", str(STORIES), "--max-features", "100", "--paths", "0")
    assert result.exit_code == 0
    assert "MLP neurons, no transcoder" in result.stdout
    summary = json.loads(run("trace", "Once", "--model", str(STORIES), "--json", "--max-features", "50").stdout)
    assert summary["basis"] == "MLP neurons, no transcoder (RelP rule)"


def test_a_wrong_option_is_exit_code_2(run):
    assert run("trace", DALLAS, "--nonsense").exit_code == 2


def test_unknown_words_get_near_misses(run):
    result = run("trace", "fact : the capital of the state containing Dalas is")
    assert "did you mean" in result.stderr
    assert "'Dallas'" in result.stderr


def test_info_knows_versions_device_and_card(run):
    found = json.loads(run("info", "--json").stdout)
    assert set(found) == {"circuitlab", "python", "packages", "device", "threads", "atlas"}
    assert found["packages"]["torch"]
    assert found["atlas"]
    assert "atlas, the bundled model" in run("info").output


@needs_stories
@pytest.mark.filterwarnings("ignore::circuitlab.TranscoderMismatchWarning")
def test_train_makes_a_transcoder_that_traces(run, tmp_path):
    out = tmp_path / "clt"
    small = ["--steps", 3, "--features", 32, "--k", 4, "--tokens", 4000, "--batch-size", 64]
    trained = run("train", "--model", STORIES, "--out", out, *small, "--json")
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["metrics"]["l0"] > 0
    traced = run("trace", "Once upon a time", "--model", STORIES, "--transcoder", out, "--json")
    assert traced.exit_code == 0, traced.output
    assert json.loads(traced.stdout)["check"]["worst_relative_miss"] < 1e-4


def test_no_steps_are_refused_not_ignored(run, tmp_path):
    result = run("train", "--model", ATLAS / "model", "--steps", 0, "--out", tmp_path / "out")
    assert (result.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "steps=0 must be at least 1" in result.stderr


def test_json_has_null_where_there_is_no_number():
    assert json.loads(as_text({"a": [float("nan"), 1.5], "b": (float("inf"),)})) == {"a": [None, 1.5], "b": [None]}


def test_nobody_reading_on_is_no_error():
    def broken():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        reports_errors(broken)()


def test_harvest_in_two_shards_and_merge(run, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"calc : {first} + 59 =" for first in range(20, 90)))
    for part in "01":
        given = ["--corpus", texts, "-o", tmp_path / part, "--shard", f"{part}/2", "--device", "cpu"]
        assert run("harvest", *given).exit_code == 0
    result = run("merge", tmp_path / "0", tmp_path / "1", "-o", tmp_path / "both", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n_records"], told["shards"], told["corpus"]) == (70, [[0, 1]], "texts.txt")
    again = run("harvest", "--corpus", texts, "-o", tmp_path / "both", "--device", "cpu", "--json")
    assert json.loads(again.stdout)["tokens_per_second"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["harvest", "--corpus", "nowhere.txt", "-o", "x"], "there is no corpus 'nowhere.txt'"),
        (["harvest", "--corpus", "x", "-o", "x", "--shard", "4/4"], "--shard 4/4 is no part of a corpus"),
        (["harvest", "--corpus", "x", "-o", "x", "--shard", "0/4", "--random", "y"], "--random needs the densities"),
        (["merge", "nowhere", "-o", "x"], "is no store of feature evidence"),
    ],
)
def test_harvests_that_cannot_be(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@needs_stories
def test_harvest_of_text_that_the_model_writes(run, tmp_path):
    given = ["--model", STORIES, "--transcoder", "neurons", "--device", "cpu", "--corpus", "generated"]
    result = run("harvest", *given, "--tokens", 2000, "-o", tmp_path / "store", "--json", "--no-tally")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["corpus"] == "2,000 tokens the model wrote"
    assert 1950 < told["n_tokens"] < 2300
    assert not (tmp_path / "store" / "tally.safetensors").exists()


def first_features(folder, n):
    """atlas's transcoder with the first n features of each layer alone: types are checked at every call here."""
    whole = read_transcoder(ATLAS / "clt", dtype=torch.float32)
    few = Transcoder(replace(whole.config, n_features=n))
    parts = {
        name: matrix[tuple(slice(n if size == whole.config.n_features else None) for size in matrix.shape)]
        for name, matrix in whole.state_dict().items()
    }
    few.load_state_dict(parts)
    write_transcoder(few.to(torch.bfloat16), folder)
    return folder


@pytest.mark.filterwarnings("ignore::circuitlab.TranscoderMismatchWarning")
def test_harvest_of_a_random_dictionary_beside_it(run, tmp_path):
    """`label --random` compares with it; densities agree as far as a sample's do."""
    texts = tmp_path / "corpus.txt"
    texts.write_text("".join(f"{sentence.text}\n" for sentence in sample_sentences(400, 3)))
    out, random = tmp_path / "store", tmp_path / "random"
    few = ["--model", ATLAS / "model", "--transcoder", first_features(tmp_path / "few", 160)]
    result = run("harvest", *few, "--corpus", texts, "-o", out, "--random", random, "--device", "cpu")
    assert result.exit_code == 0, result.output
    real, chance = Store(out).summary, Store(random).summary
    assert Store(random).manifest.transcoder["fingerprint"] != Store(out).manifest.transcoder["fingerprint"]
    assert np.corrcoef(real["density"], chance["density"])[0, 1] > 0.95
    labelled = run("label", out, "--random", random, "--json")
    assert labelled.exit_code == 0, labelled.output
    assert 0 < json.loads(labelled.stdout)["labelled"] < json.loads(labelled.stdout)["features"]
