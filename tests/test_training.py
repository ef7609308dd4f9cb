"""Training: the objective against its formulas, data order, resuming, several processes, metrics."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from toy_model import D_MODEL, D_VOCAB, N_LAYERS, ToyModel, toy_text

from circuitlab.formats.transcoders import read_transcoder
from circuitlab.training import TokenData, TrainingConfig, evaluate, load_tokens, objective, train
from circuitlab.training.activations import ActivationSource, Place
from circuitlab.training.learner import Learner
from circuitlab.training.processes import Processes
from circuitlab.transcoder import Transcoder, TranscoderConfig

SMALL = TrainingConfig(
    n_features=24,
    k=4,
    steps=40,
    batch_size=64,
    precision="float32",
    warmup=5,
    learning_rate=5e-3,
    held_out=0.1,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model():
    return ToyModel()


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def everything(tokens) -> TokenData:
    include = torch.ones_like(tokens, dtype=torch.bool)
    include[:, 0] = False
    return TokenData(tokens, include)


def same_weights(a: Transcoder, b: Transcoder) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


# ---- the objective ----


def test_jump_relu_passes_what_exceeds_its_threshold():
    z = torch.tensor([[0.2, 0.5, 0.6, -1.0]])
    assert objective.jump_relu(z, torch.full((4,), 0.5), 1.0).tolist()[0] == pytest.approx([0, 0, 0.6, 0])


def test_jump_relu_gradients_follow_the_formula():
    z, threshold, out = rand(50, 6), rand(6, seed=1).abs(), rand(50, 6, seed=2)
    z.requires_grad_(), threshold.requires_grad_()
    width = 0.7
    (objective.jump_relu(z, threshold, width) * out).sum().backward()
    expected = torch.zeros(6, dtype=torch.float64)
    for row in range(50):
        for i in range(6):
            if abs(z[row, i] - threshold[i]) < width / 2:
                expected[i] -= threshold[i].detach() / width * out[row, i]
    assert torch.allclose(threshold.grad, expected, rtol=1e-12)
    assert torch.equal(z.grad, out * (z > threshold))


def test_tanh_penalty_and_its_gradient_follow_the_formula():
    a, w = rand(5, 3).abs().requires_grad_(), rand(3, 2, 4, seed=1).requires_grad_()
    value = objective.tanh_penalty(a, w, 1.5)
    norms = [sum(x**2 for x in feature.flatten().tolist()) ** 0.5 for feature in w]
    terms = [math.tanh(1.5 * norm * active) for row in a.tolist() for norm, active in zip(norms, row, strict=True)]
    assert value.item() == pytest.approx(sum(terms) / 5)
    assert torch.autograd.gradcheck(lambda a, w: objective.tanh_penalty(a, w, 1.5), (a, w))


@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_decode_all_is_decode_with_gradients(kind):
    config = TranscoderConfig(kind=kind, n_layers=3, n_features=5, d_model=4)
    transcoder = Transcoder(config, torch.float64)
    for layer, weight in enumerate(transcoder.W_dec):
        weight.data = rand(*weight.shape, seed=layer)
    activations = [rand(7, 5, seed=10 + layer).relu() for layer in range(3)]
    together = objective.decode_all(activations, list(transcoder.W_dec))
    for layer in range(3):
        assert torch.allclose(together[:, layer], transcoder.decode(layer, activations), rtol=1e-12)
    inputs = [t.detach().requires_grad_() for t in (*activations, *transcoder.W_dec)]
    assert torch.autograd.gradcheck(lambda *t: objective.decode_all(list(t[:3]), list(t[3:])), inputs)


def test_top_k_keeps_the_k_largest_positive():
    z = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-1.0, -2.0, 0.5, -3.0]])
    assert objective.top_k(z, 2).tolist() == [[3, 0, 2, 0], [0, 0, 0.5, 0]]


@pytest.mark.parametrize("k", [1, 5, 20])
def test_batch_threshold_leaves_k_per_position(k):
    z = rand(100, 50, dtype=torch.float32)
    assert int((z > objective.batch_threshold(z, k)).sum()) == k * 100


def test_batch_threshold_is_zero_where_too_few_are_positive():
    assert objective.batch_threshold(-rand(10, 4).abs(), 2) == 0.0


def test_auxiliary_loss_asks_only_dead_features():
    pre = [rand(6, 5, seed=layer).requires_grad_() for layer in range(2)]
    decoders = [rand(5, 2 - layer, 8, seed=5 + layer) for layer in range(2)]
    residual = rand(6, 2, 8, seed=9)
    dead = torch.tensor([[True, False, False, True, False], [False] * 5])
    loss = objective.auxiliary_loss(pre, decoders, dead, residual)
    index = [0, 3]
    rebuilt = torch.einsum("bf,fld->bld", pre[0][:, index].relu(), decoders[0][index])
    assert loss.item() == pytest.approx(((rebuilt - residual) ** 2).sum().item() / (residual**2).sum().item())
    gradients = torch.autograd.grad(loss, pre, allow_unused=True)
    assert gradients[0][:, [1, 2, 4]].abs().max() == 0
    assert gradients[0][:, index].abs().max() > 0


def test_learning_rate_rises_and_falls():
    factors = [objective.learning_rate_at(step, 100, 10, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9]
    assert factors[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(factors[9:]))


def test_silence_is_counted_in_positions():
    learner = Learner(dataclasses.replace(SMALL, n_features=3, k=1), 1, D_MODEL)
    learner.count_silence(torch.tensor([[True, False, False]]), 10)
    learner.count_silence(torch.tensor([[False, True, False]]), 5)
    assert learner.silent_for.tolist() == [[5, 0, 15]]
    assert objective.dead_features(learner.silent_for, 15).tolist() == [[False, False, True]]


# ---- units ----


@pytest.mark.parametrize("activation", ["batchtopk", "topk", "jumprelu"])
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_export_computes_the_same_in_the_models_units(kind, activation):
    config = dataclasses.replace(SMALL, kind=kind, activation=activation, skip=True)
    learner = Learner(config, N_LAYERS, D_MODEL).double()
    with torch.no_grad():
        for number, parameter in enumerate(learner.parameters()):
            parameter.copy_(rand(*parameter.shape, seed=number))
        learner.cut.fill_(0.4)
    x = 3 * rand(20, N_LAYERS, D_MODEL) + 1
    means, scales = rand(2, N_LAYERS, D_MODEL), 0.5 + rand(2, N_LAYERS, 1).abs()
    learner.normalise(means[0], scales[0], means[1], scales[1])
    normal = (x - learner.x_mean) / learner.x_scale
    pre = learner.pre_activations(normal)
    if activation == "batchtopk":
        activations = [z * (z > 0.4) for z in pre]
    else:
        activations = learner.activate(pre)
    expected = learner.reconstruct(activations, normal) * learner.y_scale + learner.y_mean
    exported = learner.export().double()
    found = [exported.encode(layer, x[:, layer]) for layer in range(N_LAYERS)]
    for layer in range(N_LAYERS):
        assert torch.allclose(found[layer], activations[layer], atol=1e-4)
        assert torch.allclose(exported.decode(layer, found, x[:, layer]), expected[:, layer], rtol=1e-4, atol=1e-3)


# ---- data ----


def batches_of(model, config, tokens, n, processes=None, place=None):
    source = ActivationSource(model, everything(tokens), config, processes or Processes())
    stream = source.batches(place or Place())
    return source, [next(stream) for _ in range(n)]


@pytest.mark.parametrize("gigabytes", [1.0, 40e-6])
def test_an_epoch_visits_every_position_once(model, gigabytes):
    config = dataclasses.replace(SMALL, batch_size=19, buffer_gigabytes=gigabytes)
    source, batches = batches_of(model, config, toy_text(), 40)
    assert (source.n_blocks > 1) == (gigabytes < 1)
    _, seen = model.capture(toy_text(), ["blocks.1.hook_mlp_out"])
    rows = seen["blocks.1.hook_mlp_out"][:, 1:].flatten(0, 1)
    taken = torch.cat([batch.y[:, 1] for batch in batches])
    assert torch.allclose(taken.sum(1).sort().values, rows.sum(1).sort().values, atol=1e-6)
    assert not torch.allclose(taken.sum(1), rows.sum(1), atol=1e-3)


def test_batches_follow_from_the_place_alone(model):
    config = dataclasses.replace(SMALL, buffer_gigabytes=40e-6)
    _, batches = batches_of(model, config, toy_text(), 30)
    for number in (0, 7, 16, 28):
        _, again = batches_of(model, config, toy_text(), 1, place=batches[number].next)
        assert torch.equal(again[0].x, batches[number + 1].x)


def test_processes_share_the_batches_of_one(model):
    config = dataclasses.replace(SMALL, shards=2)
    _, alone = batches_of(model, config, toy_text(), 12)
    halves = [batches_of(model, config, toy_text(), 12, Processes(2, rank))[1] for rank in (0, 1)]
    for whole, first, second in zip(alone, *halves, strict=True):
        assert torch.allclose(whole.x, torch.cat([first.x, second.x]), atol=1e-6)


def test_positions_that_do_not_count_are_never_seen(model):
    tokens = toy_text()
    data = load_tokens(model, dataclasses.replace(SMALL, exclude_tokens=(0, 5)), tokens)
    assert data.n_positions == int(((tokens != 0) & (tokens != 5))[:, 1:].sum())
    assert not data.include[:, 0].any()
    source = ActivationSource(model, data, SMALL, Processes())
    count = sum(len(x) for x, _ in source._captured(Place(), source._sequences(Place())))
    assert count == data.n_positions


def test_batch_larger_than_the_text(model):
    with pytest.raises(ValueError, match="batch_size=9999 is more than the"):
        train(model, dataclasses.replace(SMALL, batch_size=9999), tokens=toy_text(), progress=False)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(4, 5), r"shape \[4, 5\] and torch.float32; expected whole numbers \[seq, pos\]"),
        (torch.full((4, 5), 99), "token ids run from 99 to 99, but toy has 0 to 12"),
        (torch.zeros(4, 65, dtype=torch.long), "sequences have 65 tokens, but toy reads at most 64"),
        (["some text"], "toy has no tokenizer: give token ids instead of text"),
        ([], "the text to train on is empty"),
    ],
)
def test_text_that_does_not_fit(model, tokens, message):
    with pytest.raises(ValueError, match=message):
        load_tokens(model, SMALL, tokens)


def test_missing_file(model):
    with pytest.raises(FileNotFoundError, match=r"there is no file nothing\.txt to train on"):
        load_tokens(model, SMALL, "nothing.txt")


def test_lists_of_tokens_are_padded_and_padding_does_not_count(model):
    data = load_tokens(model, dataclasses.replace(SMALL, sequence_length=6), [[1, 2, 3], list(range(1, 11))])
    assert data.tokens.tolist() == [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]]
    assert data.include.sum(1).tolist() == [2, 5, 3]


class Words:
    """A tokenizer of single letters, a = 2, BOS = 0, padding = 1."""

    bos_token_id, pad_token_id = 0, 1

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [ord(letter) - 95 for letter in text]}


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_files_of_text(model, tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    if suffix == ".parquet":
        pd.DataFrame({"text": ["abc", "de"]}).to_parquet(path)
    else:
        path.write_text("abc\n\nde\n" if suffix == ".txt" else '{"text": "abc"}\n\n{"text": "de"}\n')
    model.tokenizer = Words()
    data = load_tokens(model, SMALL, path)
    assert data.tokens.tolist() == [[0, 2, 3, 4], [0, 5, 6, 1]]
    assert data.include.tolist() == [[False, True, True, True], [False, True, True, False]]


def test_damaged_line_is_named(model, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    model.tokenizer = Words()
    with pytest.raises(ValueError, match=r'text\.jsonl, line 2 holds .*; expected an object with a "text"'):
        load_tokens(model, SMALL, tmp_path / "text.jsonl")


# ---- whole runs ----


@pytest.mark.parametrize("activation", ["batchtopk", "topk", "jumprelu"])
@pytest.mark.parametrize("kind", ["clt", "plt"])
def test_training_learns(model, tmp_path, kind, activation):
    config = dataclasses.replace(SMALL, kind=kind, activation=activation, steps=150, initial_threshold=0.1)
    losses = []
    result = train(
        model,
        config,
        tokens=toy_text(),
        out=tmp_path,
        progress=lambda step, steps, v: losses.append(v["loss"]),
    )
    assert losses[-1] < 0.6 * losses[0]
    assert result.metrics.explained_variance > 0.5
    again = read_transcoder(tmp_path)
    assert same_weights(again, result.transcoder)
    assert again.config.activation == ("topk" if activation == "topk" else "jumprelu")
    assert again.config.model_name == "toy"
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["metrics"] == json.loads(json.dumps(result.metrics.to_dict()))


def test_bfloat16_learns_too(model):
    config = dataclasses.replace(SMALL, precision="bfloat16", steps=150)
    assert train(model, config, tokens=toy_text(), progress=False).metrics.explained_variance > 0.5


def test_batchtopk_is_saved_with_calibrated_thresholds(model):
    text = toy_text(200)
    result = train(model, SMALL, tokens=text, progress=False)
    assert result.transcoder.threshold is not None
    measured = evaluate(model, result.transcoder, everything(text))
    for layer in measured.layers:
        assert layer.l0 == pytest.approx(SMALL.k, rel=0.03)
        assert result.transcoder.threshold[layer.layer].unique().numel() == 1


def test_divergence_is_told(model):
    with pytest.raises(ValueError, match=r"training diverged: the loss is \w+ at step \d+; give a learning_rate below"):
        train(model, dataclasses.replace(SMALL, learning_rate=1e30), tokens=toy_text(), progress=False)


def test_seed_decides(model):
    first, second = (train(model, SMALL, tokens=toy_text(), progress=False).transcoder for _ in range(2))
    other = train(model, dataclasses.replace(SMALL, seed=1), tokens=toy_text(), progress=False).transcoder
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_minutes_set_the_steps(model):
    result = train(model, dataclasses.replace(SMALL, minutes=0.02), tokens=toy_text(), progress=False)
    assert result.steps > 30
    assert result.seconds < 10


# ---- stopping and going on ----


def interrupted(model, config, out, at):
    """Train until a KeyboardInterrupt at the first report from step `at` on."""

    def stop(step, steps, values):
        if step >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, config, tokens=toy_text(), out=out, progress=stop)


@pytest.mark.parametrize("activation", ["batchtopk", "jumprelu"])
def test_resumed_run_equals_an_uninterrupted_one(model, tmp_path, activation):
    config = dataclasses.replace(
        SMALL, activation=activation, checkpoint_seconds=0.0, buffer_gigabytes=40e-6, dead_after=300
    )
    interrupted(model, config, tmp_path, at=20)
    assert not (tmp_path / "config.yaml").exists()
    resumed = train(model, config, tokens=toy_text(), out=tmp_path, progress=False)
    whole = train(model, config, tokens=toy_text(), progress=False)
    assert same_weights(resumed.transcoder, whole.transcoder)
    assert resumed.metrics == whole.metrics
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_process_is_resumed_bit_for_bit(model, tmp_path):
    config = {**dataclasses.asdict(SMALL), "checkpoint_seconds": 0.0}
    killed = run_script(tmp_path, {"config": config, "die_at": 20})
    killed.communicate(timeout=500)
    assert killed.returncode == -9
    resumed = train(model, TrainingConfig(**config), tokens=toy_text(), out=tmp_path, progress=False)
    assert resumed.steps == SMALL.steps
    assert same_weights(resumed.transcoder, train(model, SMALL, tokens=toy_text(), progress=False).transcoder)


def test_failed_checkpoint_leaves_the_one_before(model, tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, checkpoint_seconds=0.0)
    interrupted(model, config, tmp_path, at=20)
    before = (tmp_path / "checkpoint" / "state.pt").read_bytes()

    def half(state, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        train(model, config, tokens=toy_text(), out=tmp_path, progress=False)
    assert (tmp_path / "checkpoint" / "state.pt").read_bytes() == before
    assert [file.name for file in (tmp_path / "checkpoint").iterdir() if file.suffix == ".tmp"] == []


def test_finished_run_is_not_repeated(model, tmp_path):
    first = train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=False)
    steps = []
    again = train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=lambda *step: steps.append(step))
    assert not steps
    assert same_weights(first.transcoder, again.transcoder)


def test_other_settings_are_not_resumed(model, tmp_path):
    train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="other settings: k was 4, now 5"):
        train(model, dataclasses.replace(SMALL, k=5), tokens=toy_text(), out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="the text to train on is another"):
        train(model, SMALL, tokens=toy_text(41), out=tmp_path, progress=False)
    train(model, dataclasses.replace(SMALL, k=5), tokens=toy_text(), out=tmp_path, resume=False, progress=False)


def test_damaged_checkpoint(model, tmp_path):
    train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=False)
    (tmp_path / "checkpoint" / "state.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"state\.pt is no whole checkpoint: train with resume=False"):
        train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=False)


# ---- several processes ----


def run_script(out, job, **environment):
    tests = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, str(tests / "toy_model.py"), str(out), json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tests.parent), "OMP_NUM_THREADS": "1", **environment},
    )


def test_two_processes_train_as_one(model, tmp_path):
    config = dataclasses.replace(SMALL, activation="topk", shards=2, steps=20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    addresses = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    job = {"config": dataclasses.asdict(config)}
    pair = [run_script(tmp_path, job, RANK=str(rank), **addresses) for rank in (0, 1)]
    outputs = [process.communicate(timeout=500)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    losses: list[float] = []
    alone = train(model, config, tokens=toy_text(), progress=lambda step, steps, v: losses.append(v["loss"]))
    assert json.loads(outputs[0]) == pytest.approx(losses, rel=1e-4)
    together = read_transcoder(tmp_path).state_dict()
    for name, value in alone.transcoder.state_dict().items():
        assert torch.allclose(together[name], value, atol=2e-3), name


# ---- metrics ----


def test_metrics_of_nothing_and_of_a_perfect_copy(model):
    data = everything(toy_text(6))
    config = TranscoderConfig(kind="plt", n_layers=N_LAYERS, n_features=2, d_model=D_MODEL, skip=True)
    nothing = Transcoder(config)
    _, seen = model.capture(data.tokens, [f"blocks.{layer}.hook_mlp_out" for layer in range(N_LAYERS)])
    means = [seen[f"blocks.{layer}.hook_mlp_out"][:, 1:].mean((0, 1)) for layer in range(N_LAYERS)]
    for bias, mean in zip(nothing.b_dec, means, strict=True):
        bias.data = mean
    measured = evaluate(model, nothing, data)
    assert [layer.explained_variance for layer in measured.layers] == pytest.approx([0.0] * N_LAYERS, abs=1e-6)
    assert (measured.dead, measured.l0, measured.positions) == (2 * N_LAYERS, 0.0, 6 * 19)
    assert measured.kl > 0.01

    # MLPs that are linear are copied whole by the skip connections.
    model.weights = [(mix, 1e-4 * read, 1e4 * write) for mix, read, write in model.weights]
    for layer, (_, read, write) in enumerate(model.weights):
        assert nothing.W_skip is not None
        nothing.W_skip[layer].data = (read @ write).T
        nothing.b_dec[layer].data.zero_()
    perfect = evaluate(model, nothing, data)
    assert perfect.explained_variance == pytest.approx(1.0, abs=1e-5)
    assert perfect.top1_agreement == 1.0
    assert perfect.kl == pytest.approx(0.0, abs=1e-6)
    assert perfect.cross_entropy_replacement == pytest.approx(perfect.cross_entropy_model, rel=1e-4)


def test_metrics_by_hand(model):
    data = everything(toy_text(4))
    config = TranscoderConfig(kind="clt", n_layers=N_LAYERS, n_features=6, d_model=D_MODEL)
    transcoder = Transcoder(config)
    for number, parameter in enumerate(transcoder.parameters()):
        parameter.data = 0.3 * rand(*parameter.shape, seed=number, dtype=torch.float32)
    sites = [f"blocks.{layer}.{hook}" for layer in range(N_LAYERS) for hook in ("hook_resid_mid", "hook_mlp_out")]
    _, seen = model.capture(data.tokens, sites)
    flat = {site: value[:, 1:].flatten(0, 1) for site, value in seen.items()}
    activations = [transcoder.encode(layer, flat[f"blocks.{layer}.hook_resid_mid"]) for layer in range(N_LAYERS)]
    y = flat["blocks.2.hook_mlp_out"]
    error = (transcoder.decode(2, activations) - y).square().sum()
    measured = evaluate(model, transcoder, data)
    expected = 1 - error / (y - y.mean(0)).square().sum()
    assert measured.layers[2].explained_variance == pytest.approx(expected.item(), rel=1e-4)
    assert measured.layers[1].l0 == pytest.approx((activations[1] > 0).sum(-1).float().mean().item())


# ---- settings ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "lorsa"}, "kind='lorsa' is not one of 'clt', 'plt'"),
        ({"activation": "gelu"}, "activation='gelu' is not one of"),
        ({"k": 2000}, "k=2000 exceeds n_features=1024"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"minutes": -1.0}, "minutes=-1.0 must be above 0"),
        ({"held_out": 1.0}, "held_out=1.0 must lie between 0 and 1"),
        ({"sequence_length": 1}, "sequence_length=1 must be at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)


def test_batch_that_does_not_divide(model):
    with pytest.raises(ValueError, match="shards=3 must be a multiple of the 1 processes and divide batch_size=64"):
        train(model, dataclasses.replace(SMALL, shards=3), tokens=toy_text(), progress=False)


def test_vocabulary_of_the_toy():
    assert int(toy_text().max()) == D_VOCAB - 1


def test_checkpoint_of_another_model_is_not_resumed(model, tmp_path):
    train(model, SMALL, tokens=toy_text(), out=tmp_path, progress=False)
    other = ToyModel()
    other.embedding = other.embedding + 1.0
    with pytest.raises(ValueError, match=r"another model than .*weights were"):
        train(other, SMALL, tokens=toy_text(), out=tmp_path, progress=False)


def test_text_that_is_no_utf8_is_named(model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a b\xff")
    with pytest.raises(ValueError, match=r"text\.txt is no UTF-8 text: byte 3 is 0xff"):
        load_tokens(model, SMALL, path)
