"""circuit-tracer's `.pt` files: both versions are understood, and nothing in a hostile one ever runs."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch

from circuitlab.formats import convert_graph
from circuitlab.formats.torch_pickle import read_torch_file
from circuitlab.graph import Graph

TOKENS, N_LAYERS = [2, 17, 30], 2


@pytest.fixture
def names(monkeypatch):
    """Stand-ins for the modules whose classes circuit-tracer pickles; gone before a file is read."""

    @dataclass
    class UnifiedConfig:
        n_layers: int
        model_name: str
        dtype: torch.dtype = torch.float32
        device: object = "cpu"

    class LogitTarget(NamedTuple):
        token_str: str
        vocab_idx: int

    @dataclass
    class HookedTransformerConfig:
        n_layers: int
        d_vocab: int

    homes = {
        "circuit_tracer.utils.tl_nnsight_mapping": UnifiedConfig,
        "circuit_tracer.attribution.targets": LogitTarget,
        "transformer_lens.HookedTransformerConfig": HookedTransformerConfig,
    }
    for name, cls in homes.items():
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            module = types.ModuleType(".".join(parts[:i]))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        cls.__module__, cls.__qualname__ = name, cls.__name__
        setattr(module, cls.__name__, cls)
    return types.SimpleNamespace(**{cls.__name__: cls for cls in homes.values()})


def contents() -> dict:
    """A graph as circuit-tracer holds it: 4 of 5 active features kept, errors, tokens, two answers."""
    active = torch.tensor([[0, 1, 7], [0, 1, 9], [0, 2, 3], [1, 2, 0], [1, 2, 5]])
    n = 4 + N_LAYERS * len(TOKENS) + len(TOKENS) + 2
    matrix = torch.zeros(n, n)
    matrix[2, 0], matrix[3, 1], matrix[2, 11] = 0.5, -1.5, 2.0  # features 1_0_2 and 1_5_2; token 1 into 1_0_2
    matrix[-2, :] = 0.25
    matrix[-2, -2:] = 0.0
    matrix[-1, 2] = 3.0
    return {
        "input_string": "<bos> a b",
        "adjacency_matrix": matrix,
        "active_features": active,
        "selected_features": torch.tensor([0, 2, 3, 4]),
        "activation_values": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]),
        "input_tokens": torch.tensor(TOKENS),
        "logit_probabilities": torch.tensor([0.75, 0.125]),
        "scan": "gemma-2-2b",
    }


def newer(names) -> dict:
    targets = [names.LogitTarget(" Austin", 40), names.LogitTarget("mine", 99)]
    return contents() | {
        "logit_targets": targets,
        "vocab_size": 50,
        "cfg": names.UnifiedConfig(N_LAYERS, "google/gemma-2-2b", torch.bfloat16, torch.device("cpu")),
    }


def older(names) -> dict:
    return contents() | {
        "logit_tokens": torch.tensor([40, 41]),
        "cfg": names.HookedTransformerConfig(N_LAYERS, 50),
    }


def saved(data, path, monkeypatch):
    torch.save(data, path)
    for name in list(sys.modules):
        if name.split(".")[0] in ("circuit_tracer",):
            monkeypatch.delitem(sys.modules, name)
    return path


def test_the_newer_version(names, tmp_path, monkeypatch):
    graph = Graph.open(saved(newer(names), tmp_path / "g.pt", monkeypatch))
    kinds = graph.nodes.kind.value_counts().to_dict()
    assert kinds == {"token": 3, "error": 6, "feature": 4, "logit": 2}
    assert graph.nodes.id[graph.kind_mask("feature")].tolist() == ["0_7_1", "0_3_2", "1_0_2", "1_5_2"]
    assert graph.nodes.activation[graph.kind_mask("feature")].tolist() == [1.0, 3.0, 4.0, 5.0]
    edges = {(e.source, e.target): e.weight for e in graph.edges.itertuples()}
    assert edges["0_7_1", "1_0_2"] == 0.5
    assert edges["0_3_2", "1_5_2"] == -1.5
    assert edges["E_17_1", "1_0_2"] == 2.0
    assert edges["1_0_2", "3_d1_2"] == 3.0
    assert edges["1_-1_2", "3_40_2"] == 0.25
    assert len(edges) == 4 + 13
    assert graph.targets.token.tolist() == [" Austin", "mine"]
    assert graph.targets.probability.tolist() == [0.75, 0.125]
    assert (graph.prompt, graph.metadata["model"], graph.n_layers) == ("<bos> a b", "google/gemma-2-2b", 2)
    assert graph.links.weight.dtype == np.float32
    small = graph.prune(0.9)
    assert 0 < small.scores().replacement <= 1


def test_version_0_1(names, tmp_path, monkeypatch):
    graph = Graph.open(saved(older(names), tmp_path / "g.pt", monkeypatch))
    assert graph.targets.id.tolist() == ["3_40_2", "3_41_2"]
    assert graph.targets.token.tolist() == ["<40>", "<41>"]
    assert graph.metadata["model"] == "gemma-2-2b"


def test_conversion_to_every_written_form(names, tmp_path, monkeypatch):
    path = saved(newer(names), tmp_path / "g.pt", monkeypatch)
    graph = Graph.open(path)
    for name in ("g.json", "g.zip", "g.parquet", "g.csv"):
        again = Graph.open(convert_graph(path, tmp_path / name))
        assert again.nodes.id.tolist() == graph.nodes.id.tolist()
        np.testing.assert_array_equal(again.links.weight, graph.links.weight)


def test_half_precision_views_and_wrapped_tensors(tmp_path):
    base = torch.arange(12.0)
    data = {"a": base.view(3, 4).T, "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "c": OrderedDict(x=base[2:5])}
    torch.save(data, tmp_path / "x.pt")
    found = read_torch_file(tmp_path / "x.pt", ())
    np.testing.assert_array_equal(found["a"], base.view(3, 4).T.numpy())
    np.testing.assert_array_equal(found["b"], [1.5, -2.0])
    np.testing.assert_array_equal(found["c"]["x"], [2, 3, 4])


class Runs:
    """Pickles as a call of something harmful."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(tmp_path):
    mark = tmp_path / "ran"
    return [
        Runs(os.system, f"touch {mark}"),
        Runs(exec, f"open({str(mark)!r}, 'w')"),
        Runs(open, str(mark), "w"),
        Runs(eval, f"open({str(mark)!r}, 'w')"),
        Runs(os.mkdir, str(mark)),
    ]


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("nested", [False, True])
def test_nothing_runs(which, nested, tmp_path):
    bad = hostile(tmp_path)[which]
    data = contents() | {"cfg": {"deep": [({"x": bad},)]}} if nested else bad
    torch.save(data, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: .*asks for .*refused before anything ran"):
        Graph.open(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_other_torch_formats_are_refused(tmp_path):
    plain, legacy = tmp_path / "plain.pt", tmp_path / "legacy.pt"
    plain.write_bytes(pickle.dumps(Runs(os.system, f"touch {tmp_path / 'ran'}")))
    torch.save(contents(), legacy, _use_new_zipfile_serialization=False)
    for path in (plain, legacy):
        with pytest.raises(ValueError, match="not a torch file of the kind written since torch"):
            Graph.open(path)
    assert not (tmp_path / "ran").exists()


def rezipped(path, change, compression=zipfile.ZIP_STORED):
    """The file with its members changed: `change` maps name to new content (None drops it)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for member in old.infolist():
            content = change(member.filename, old.read(member.filename))
            if content is not None:
                new.writestr(member.filename, content, compression)
    path.write_bytes(buffer.getvalue())


def pickled_by(opcodes: bytes):
    return lambda name, content: opcodes if name.endswith("data.pkl") else content


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        (b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00lstR.", "asks for posix.system"),
        (b"\x80\x02(X\x02\x00\x00\x00lsiposix\nsystem\n.", "opcode INST"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "opcode SHORT_BINUNICODE|protocol 4"),
        (b"\x80\x02\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "opcode BYTEARRAY8|malformed|expected|bytes"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "holds|missing|expected"),
        (b"\x80\x02}N\x85\x86NsR.", "x.pt"),
        (b"\x80\x02}NNs.", "dictionary's key"),
        (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "number of"),
        (b"\x80\x02ctorch\nload\n.", "asks for torch.load"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "malformed"),
    ],
)
def test_hand_made_pickles_are_refused(opcodes, said, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": 1}, path)
    rezipped(path, pickled_by(opcodes))
    with pytest.raises(ValueError, match=said) as caught:
        Graph.open(path)
    assert "x.pt" in str(caught.value)


def test_bombs_and_stray_members_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(contents(), path)
    rezipped(path, lambda name, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed, which torch"):
        Graph.open(path)
    torch.save(contents(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../out.txt", b"x")
    with pytest.raises(ValueError, match="stands outside"):
        Graph.open(path)
    torch.save({"a": torch.zeros(4)}, path)
    rezipped(path, lambda name, content: content[:8] if "/data/" in name else content)
    with pytest.raises(ValueError, match="are claimed"):
        Graph.open(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adjacency_matrix": torch.zeros(3, 4)}, "adjacency_matrix has the shape"),
        ({"adjacency_matrix": torch.full((15, 15), float("nan"))}, "NaN"),
        ({"active_features": torch.zeros(5, 2, dtype=torch.long)}, r"expected \[features, 3\]"),
        ({"selected_features": torch.tensor([9])}, "indices into"),
        ({"activation_values": torch.zeros(2)}, "activation_values has 2"),
        ({"input_tokens": "text"}, "input_tokens is a str"),
        ({"input_string": 5}, "input_string is a int"),
        ({"logit_targets": [1.5]}, r"logit_targets\[0\]"),
        ({"logit_probabilities": torch.zeros(9)}, "for 2 logits"),
    ],
)
def test_malformed_graphs_are_refused_by_name(change, said, tmp_path):
    torch.save(contents() | {"logit_targets": [("a", 1), ("b", 2)]} | change, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=said) as caught:
        Graph.open(tmp_path / "x.pt")
    assert str(caught.value).startswith(str(tmp_path / "x.pt"))
