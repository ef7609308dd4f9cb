"""A transcoder larger than the memory allowed traces, and what it needs is one encoder block and the active rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import random_transcoder

from circuitlab.formats.transcoders import read_transcoder, write_transcoder
from circuitlab.weights import OnDisk

TRACE = """
import sys
import torch
sys.path.insert(0, {tests!r})
from models import PROMPT, tiny_hf_model
import circuitlab as cl
from circuitlab import weights
from circuitlab.formats.transcoders import read_transcoder

torch.set_num_threads(1)
weights.BLOCK = 2**20                                 # 4 MiB of an encoder at a time
model = cl.load_model(tiny_hf_model("llama", torch.float32))
cl.load(model, read_transcoder({small!r}, lazy=True)).trace(PROMPT[:3], max_features=20, progress=False)   # warm

def size(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) * 1024

with open("/proc/self/clear_refs", "w") as file:      # the peak begins anew
    file.write("5")
before = size("VmRSS")
loaded = cl.load(model, read_transcoder({large!r}, lazy={lazy}))
graph = loaded.trace(PROMPT[:3], max_features=20, progress=False)
print(size("VmHWM") - before, graph.check().attrs["worst"])
"""


def sparse_plt(folder: Path, n_features: int) -> Path:
    """A JumpReLU transcoder of which few features are active."""
    transcoder = random_transcoder("plt", dtype=torch.float32, n_features=n_features, activation="jumprelu", scale=0.1)
    for threshold in transcoder.threshold or ():
        threshold.data.fill_(0.1 * 32**0.5 * 3.2)
    return write_transcoder(transcoder, folder)


def peak_and_miss(small: Path, large: Path, lazy: bool) -> tuple[int, float]:
    """Bytes by which a trace made a process grow at most, mapped files counted, and how far the graph's sums miss."""
    code = TRACE.format(tests=str(Path(__file__).parent), small=str(small), large=str(large), lazy=lazy)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    peak, miss = done.stdout.split()
    return int(peak), float(miss)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is measured through Linux's /proc")
def test_a_set_several_times_larger_than_the_memory_it_may_take_traces(tmp_path):
    small, large = sparse_plt(tmp_path / "small", 2000), sparse_plt(tmp_path / "large", 400_000)
    size = sum(file.stat().st_size for file in large.iterdir())
    peak, miss = peak_and_miss(small, large, lazy=True)
    assert miss < 1e-4
    assert peak < size / 3
    assert peak_and_miss(small, large, lazy=False)[0] > 2 * size / 3  # the measure is one that tells


def test_small_sets_are_read_whole_and_large_ones_are_not(tmp_path, monkeypatch):
    folder = sparse_plt(tmp_path / "set", 50)
    assert [type(read_transcoder(folder).W_enc).__name__] == ["Held"]
    monkeypatch.setattr("circuitlab.formats.transcoders.reading.free_memory", lambda device: 10_000)
    assert [type(read_transcoder(folder).W_enc).__name__] == ["OnDisk"]
    assert type(read_transcoder(folder, lazy=False).W_dec).__name__ == "Held"


def test_reading_in_blocks_is_reading(tmp_path, monkeypatch):
    folder = sparse_plt(tmp_path / "set", 50)
    held, stored = read_transcoder(folder), read_transcoder(folder, lazy=True)
    monkeypatch.setattr("circuitlab.weights.BLOCK", 7 * 32)
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    for layer in range(3):
        assert torch.allclose(stored.pre_activations(layer, x), held.pre_activations(layer, x), atol=1e-6)
    assert torch.allclose(stored.pre_activations(0, x[0, 0]), held.pre_activations(0, x[0, 0]), atol=1e-6)


def test_an_encoder_is_never_in_memory_as_a_whole(monkeypatch):
    weight, asked = torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), []

    class Stored:
        shape, where = (100, 8), "a file"

        def rows(self, features, output=None):
            asked.append(weight[features].shape[0])
            return weight[features]

    monkeypatch.setattr("circuitlab.weights.BLOCK", 7 * 8)
    x = torch.randn(3, 8)
    found = OnDisk([Stored()], None, torch.float32).read(0, x, torch.ones(100))
    assert torch.allclose(found, x @ weight.T + 1, atol=1e-6)
    assert max(asked) == 7
    assert sum(asked) == 100


def test_the_limit_is_the_containers_where_there_is_one(tmp_path, monkeypatch):
    from circuitlab.formats.transcoders import reading

    files = tmp_path / "memory.max", tmp_path / "memory.current"
    files[0].write_text("5000\n"), files[1].write_text("3000\n")
    monkeypatch.setattr(reading, "CGROUP", files)
    assert reading.free_memory() == 2000
    files[0].write_text("max\n")
    assert reading.free_memory() > 2000
