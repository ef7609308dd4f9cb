"""Transcoders from the hub, through a local stand-in of it: what is fetched, what is not, and what can go wrong.

Only a network can show that the published repositories are as FORMATS.md says: notebooks/bring_your_own_model.py.
"""

from __future__ import annotations

import pytest
import torch
import yaml
from hub_stand_in import StandIn, files_of
from models import PROMPT, tiny_hf_model
from transcoder_kinds import example, settings

import circuitlab as cl
from circuitlab import cache, hub
from circuitlab.formats.transcoders import read_transcoder


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """An empty hub, and an empty cache."""
    with StandIn({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
        yield server


def publish(server: StandIn, name: str, tmp_path, repo="owner/repo", under="") -> torch.nn.Module:
    transcoder, folder = example(name, tmp_path / "published")
    server.repositories[repo] = files_of(folder, under) | {"README.md": b"read me", "huge.bin": b"0" * 5000}
    return transcoder


def located(source):
    found = hub.locate_transcoder(source)
    return read_transcoder(found.folder, fetched=found.fetched)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/repo", ("owner/repo", "", None)),
        ("owner/repo@v1", ("owner/repo", "", "v1")),
        ("owner/repo/sub/folder", ("owner/repo", "sub/folder", None)),
        ("owner/repo/sub@v1", ("owner/repo", "sub", "v1")),
        ("owner/repo@v1/sub", ("owner/repo", "sub", "v1")),
        ("owner/repo@refs/pr/3", ("owner/repo", "", "refs/pr/3")),
        ("hf://owner/repo/a/params.npz?revision=abc", ("owner/repo", "a/params.npz", "abc")),
        ("hf://owner/repo/a/params.npz", ("owner/repo", "a/params.npz", None)),
    ],
)
def test_addresses(text, expected):
    address = hub.parse_address(text)
    assert (address.repo, address.path, address.revision) == expected


@pytest.mark.parametrize(
    "text",
    ["repo", "owner/..", "../repo", "owner/repo/../../etc", "owner/repo/a//b", "hf://owner/repo/%2e%2e/x", "o/r@../x",
     "owner/repo\n", "owner/re po", "owner/repo/a\\b"],
)  # fmt: skip
def test_no_addresses(text):
    with pytest.raises(ValueError, match="is no address on the hub"):
        hub.parse_address(text)


@pytest.mark.parametrize(
    ("name", "under", "source"),
    [
        ("clt", "", "owner/repo"),
        ("clt", "", "owner/repo@v1"),
        ("plt", "a/b", "owner/repo/a/b"),
        ("gemmascope", "", "owner/repo"),
        ("gemmascope 2 clt", "clt", "owner/repo/clt@v1"),
        ("crosslayer", "gpt2", "owner/repo/gpt2"),
    ],
)
def test_a_transcoder_comes_and_nothing_else_does(stand_in, tmp_path, name, under, source):
    transcoder = publish(stand_in, name, tmp_path, under=under)
    stand_in.repositories["owner/repo"] |= {"other/W_enc_0.safetensors": b"x", "W_enc_0.safetensors.old": b"y"}
    found = located(source)
    assert torch.allclose(found.b_enc[1], transcoder.b_enc[1])
    fetched = set(stand_in.downloads())
    assert fetched == set(files_of(tmp_path / "published", under))
    stand_in.log.clear()
    located(source)
    assert stand_in.downloads() == []


def test_load_takes_addresses_for_models_and_transcoders(stand_in, tmp_path):
    transcoder = publish(stand_in, "clt", tmp_path)
    graph = cl.load(tiny_hf_model("llama"), "owner/repo", check=False).trace(PROMPT, max_features=5)
    expected = cl.load(tiny_hf_model("llama"), transcoder).trace(PROMPT, max_features=5)
    assert graph.nodes["id"].tolist() == expected.nodes["id"].tolist()


def test_addresses_in_a_config_come_from_their_repositories(stand_in, tmp_path):
    transcoder = publish(stand_in, "gemmascope", tmp_path, repo="google/scope")
    names = [name for name in stand_in.repositories["google/scope"] if name.endswith("npz")]
    wide = {name.replace("16k", "1m"): b"0" * 9999 for name in names}
    stand_in.repositories["google/scope"] |= wide
    listed = [f"hf://google/scope/{name}" for name in names]
    stand_in.repositories["owner/set"] = {"config.yaml": settings(transcoder, transcoders=listed).encode()}
    assert torch.allclose(located("owner/set").b_enc[2], transcoder.b_enc[2])
    assert set(stand_in.downloads()) == {"config.yaml", *names}
    local = tmp_path / "local"
    local.mkdir()
    (local / "config.yaml").write_bytes(stand_in.repositories["owner/set"]["config.yaml"])
    assert torch.allclose(located(local).b_enc[2], transcoder.b_enc[2])
    bad = yaml.safe_load((local / "config.yaml").read_text()) | {
        "transcoders": ["hf://google/scope/layer_9/params.npz"]
    }
    (local / "config.yaml").write_text(yaml.safe_dump(bad))
    with pytest.raises(FileNotFoundError, match=r"google/scope (has no|.*layer_9)"):
        located(local)


def test_without_a_network_the_cache_serves(stand_in, tmp_path, monkeypatch):
    transcoder = publish(stand_in, "clt", tmp_path)
    located("owner/repo")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert torch.allclose(located("owner/repo").b_enc[1], transcoder.b_enc[1])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert torch.allclose(located("owner/repo").b_enc[1], transcoder.b_enc[1])
    with pytest.raises(ConnectionError, match=r"HF_HUB_OFFLINE is set.*hf download owner/other --local-dir"):
        located("owner/other")


def test_no_network_and_no_copy_says_what_to_do(stand_in, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"cannot be reached.*hf download owner/repo --local-dir FOLDER"):
        located("owner/repo")


def test_a_broken_connection_is_taken_up_where_it_ended(stand_in, tmp_path):
    transcoder = publish(stand_in, "clt", tmp_path)
    stand_in.break_off["W_dec_0.safetensors"] = 4000
    assert torch.allclose(located("owner/repo").W_dec[0], transcoder.W_dec[0])
    ranges = [asked for verb, path, asked in stand_in.log if verb == "GET" and path.endswith("W_dec_0.safetensors")]
    assert ranges == ["", "bytes=4000-"]


def test_a_download_that_failed_goes_on_with_the_missing_files(stand_in, tmp_path):
    publish(stand_in, "clt", tmp_path)
    kept = stand_in.repositories["owner/repo"].copy()
    stand_in.damaged.add("W_dec_1.safetensors")
    with pytest.raises(OSError, match=r"owner/repo arrived damaged: its SHA-256 is"):
        located("owner/repo")
    stand_in.damaged.clear()
    stand_in.log.clear()
    located("owner/repo")
    assert stand_in.downloads() == ["W_dec_1.safetensors"]
    assert stand_in.repositories["owner/repo"] == kept


def test_redirects_are_followed(stand_in, tmp_path):
    transcoder = publish(stand_in, "clt", tmp_path)
    stand_in.redirect = True
    assert torch.allclose(located("owner/repo").W_enc[0], transcoder.W_enc[0])
    assert any(path.startswith("/cdn/") for _, path, _ in stand_in.log)


def test_a_new_version_is_fetched(stand_in, tmp_path):
    publish(stand_in, "plt", tmp_path)
    located("owner/repo")
    transcoder, folder = example("plt", tmp_path / "again", seed=5)
    stand_in.repositories["owner/repo"] |= files_of(folder)
    assert torch.allclose(located("owner/repo").W_enc[0], transcoder.W_enc[0])


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ((401, "GatedRepo"), PermissionError, "owner/repo asks for its terms to be accepted"),
        ((401, "RepoNotFound"), FileNotFoundError, "no repository owner/repo, or it is private"),
        ((401, ""), (PermissionError, FileNotFoundError), "auth login"),
        ((404, "RepoNotFound"), FileNotFoundError, "check the spelling"),
        ((403, ""), PermissionError, "refuses owner/repo"),
    ],
)
def test_refusals_say_what_to_do(stand_in, status, error, message):
    stand_in.status["owner/repo"] = status
    with pytest.raises(error, match=message):
        located("owner/repo")


def test_unknown_revisions_and_folders(stand_in, tmp_path):
    publish(stand_in, "clt", tmp_path, under="sets/small")
    with pytest.raises(FileNotFoundError, match="owner/repo has no revision 'v9'"):
        located("owner/repo@v9")
    with pytest.raises(FileNotFoundError, match=r"no transcoder in a form .* transcoders are in owner/repo/sets/small"):
        located("owner/repo")


def test_several_widths_are_not_chosen_from(stand_in, tmp_path):
    publish(stand_in, "gemmascope", tmp_path)
    files = stand_in.repositories["owner/repo"]
    files |= {name.replace("16k", "1m"): data for name, data in files.items() if "layer_0" in name}
    with pytest.raises(ValueError, match=r"several transcoders for layer_0: .*transcoders: \[hf://owner/repo/layer_0"):
        located("owner/repo")
    assert stand_in.downloads() == []


def test_a_path_that_is_no_folder_is_no_address(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder; expected a transcoder folder"):
        located(tmp_path / "nowhere")


def test_the_cache_is_listed_and_emptied(stand_in, tmp_path):
    assert len(cache.contents()) == 0
    assert cache.empty() == 0
    publish(stand_in, "clt", tmp_path)
    stand_in.repositories["owner/model"] = {"config.json": b"{}"}
    located("owner/repo")
    from huggingface_hub import snapshot_download

    snapshot_download("owner/model", cache_dir=hub.cache_folder(), endpoint=stand_in.url)
    table = cache.contents()
    assert table[["repository", "kind", "files"]].values.tolist() == [
        ["owner/repo", "transcoder", 7],
        ["owner/model", "model", 1],
    ]
    with pytest.raises(ValueError, match="no 'owner/rep'; near it: owner/repo"):
        cache.empty("owner/rep")
    assert cache.empty() == table["bytes"][0]
    assert cache.contents()["repository"].tolist() == ["owner/model"]
    assert cache.empty("owner/model") > 0
    assert len(cache.contents()) == 0
