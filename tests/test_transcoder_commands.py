"""circuitlab inspect, convert, cache; the presets."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from models import PROMPT, random_transcoder, tiny_hf_model
from transcoder_kinds import example

import circuitlab as cl
from circuitlab.cli import main
from circuitlab.formats.transcoders import convert_transcoder, find_transcoder, read_transcoder, write_transcoder
from circuitlab.replacement import ATLAS


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_inspect_says_what_a_folder_holds_and_whether_it_fits():
    found = json.loads(run("inspect", ATLAS / "clt", "--model", "atlas", "--json"))
    assert found["form"] == "circuit-tracer CLT"
    assert (found["layers"], found["features"], found["d_model"]) == (5, 2560, 128)
    assert found["matches"]
    assert found["bytes"] == 2 * found["parameters"]  # bfloat16
    assert len(found["explained_variance"]) == 5
    assert "5 layers x 2,560 features, d_model 128, " in run("inspect", ATLAS / "clt")


def test_inspect_of_no_transcoder_is_one_line(tmp_path):
    done = CliRunner().invoke(main, ["inspect", str(tmp_path)])
    assert done.exit_code == 1
    assert "has no config.yaml" in done.output
    done = CliRunner().invoke(main, ["inspect", str(ATLAS / "clt"), "--model", str(tmp_path)])
    assert done.exit_code == 1


@pytest.mark.parametrize("name", ["plt", "plt skip", "gemmascope", "gemmascope 2 plt"])
def test_a_plt_becomes_a_clt_with_the_same_graph(tmp_path, name):
    transcoder, folder = example(name, tmp_path / "plt")
    run("convert", folder, tmp_path / "clt", "--to", "clt")
    again = read_transcoder(tmp_path / "clt")
    assert again.config.kind == "clt"
    model = cl.load_model(tiny_hf_model("llama"))
    graphs = [cl.load(model, one).trace(PROMPT, max_features=8) for one in (transcoder, again)]
    assert graphs[0].nodes["id"].tolist() == graphs[1].nodes["id"].tolist()
    weights = [dict(zip(zip(g.edges.source, g.edges.target, strict=True), g.edges.weight, strict=True)) for g in graphs]
    assert all(weights[0].get(edge, 0.0) == pytest.approx(weight, abs=1e-12) for edge, weight in weights[1].items())
    run("convert", tmp_path / "clt", tmp_path / "back", "--to", "plt")
    assert torch.equal(read_transcoder(tmp_path / "back").W_dec[1], transcoder.W_dec[1])


def test_a_clt_does_not_become_a_plt(tmp_path):
    folder = write_transcoder(random_transcoder("clt"), tmp_path / "clt")
    done = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "plt"), "--to", "plt"])
    assert done.exit_code == 1
    assert "layer 0 writes to layer 1 too" in done.output
    assert not (tmp_path / "plt").exists()
    with pytest.raises(ValueError, match="is the folder to be converted"):
        convert_transcoder(folder, folder)


def test_convert_reports_as_json(tmp_path):
    _, folder = example("crosslayer per target", tmp_path / "set")
    found = json.loads(run("convert", folder, tmp_path / "out", "--json"))
    assert found["form"] == find_transcoder(tmp_path / "out").form == "circuit-tracer CLT"
    assert find_transcoder(folder).notes == ("decoders tied per target", "normalisation of norm_stats.json folded in")


def test_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert "is empty" in run("cache", "list")
    assert json.loads(run("cache", "list", "--json"))["repositories"] == []
    assert run("cache", "empty", "--yes") == "0.0 MB freed\n"


def test_presets_name_what_they_need():
    table = cl.models.presets()
    assert isinstance(table, pd.DataFrame)
    size = table.drop_duplicates("model").set_index("model")["model_parameters"] / 1e9
    published = {"gpt2": 0.124, "google/gemma-2-2b": 2.61, "google/gemma-3-270m": 0.268, "google/gemma-3-1b-pt": 1.0,
                 "google/gemma-3-4b-pt": 3.88, "meta-llama/Llama-3.2-1B": 1.24, "Qwen/Qwen3-0.6B": 0.596,
                 "Qwen/Qwen3-1.7B": 1.72, "Qwen/Qwen3-4B": 4.02, "Qwen/Qwen3-8B": 8.19}  # fmt: skip
    assert size.to_dict() == pytest.approx(published, rel=0.01)
    clt = table.set_index("transcoder").loc["mntss/clt-gemma-2-2b-426k"]
    assert clt.features * clt.layers == 425_984
    assert clt.transcoder_parameters == 2**14 * 2304 * (26 + 26 * 27 // 2) + 26 * (2 * 2**14 + 2304)
    assert clt.memory_gb > clt.memory_gb_lazy > 10
    assert table["source"].notna().all()


def test_presets_are_models_that_transformerlens_names():
    """No network is asked: its own table knows each id, letter by letter."""
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    assert sorted(set(cl.models.presets()["model"]) - set(OFFICIAL_MODEL_NAMES)) == []


def test_the_arithmetic_is_that_of_the_configs():
    """The same formula on a small model against the parameters that it has."""
    from circuitlab.models import Architecture

    hf_model = tiny_hf_model("llama")
    c = hf_model.config
    small = Architecture("tiny", c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads,
                         c.num_key_value_heads, c.hidden_size // c.num_attention_heads, c.intermediate_size,
                         tied=c.tie_word_embeddings)  # fmt: skip
    matrices = sum(p.numel() for p in hf_model.parameters() if p.ndim == 2)
    assert small.parameters == matrices
