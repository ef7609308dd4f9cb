"""Transcoders on the Hugging Face hub: an address becomes files on this machine, those that are needed and no others.

    owner/repo        owner/repo@revision        owner/repo/subfolder        owner/repo/subfolder@revision
    hf://owner/repo/path?revision=…              (in config.yaml's list of transcoders)

Files come through huggingface_hub into its cache (HF_HOME, HF_HUB_CACHE), from HF_ENDPOINT where that is set, with
progress bars; a connection that breaks is taken up where it ended, whole files are never fetched twice, and what is in
the cache needs no network. A new file that the hub names by its SHA-256 is checked against it.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote

from circuitlab.formats.transcoder_settings import CONFIG_FILE, read_settings

SCHEME = "hf://"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
WANTED = re.compile(
    r"config\.yaml|cfg\.json|norm_stats\.json|(layer|W_enc|W_dec|params_layer)_\d+\.safetensors"
    r"|layer_\d+[^/]*/([^/]+/){0,2}params\.(npz|safetensors)"
)
"""Files of a transcoder, relative to its folder."""


@dataclass(frozen=True)
class Address:
    """A repository, a revision (None: main), and a folder or file in it ("" is the whole)."""

    repo: str
    path: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{'/' if self.path else ''}{self.path}{revision}"


@dataclass(frozen=True)
class Located:
    """A transcoder on this machine; `fetched` says where the files lie that its config.yaml lists by address."""

    folder: Path
    fetched: Mapping[str, Path] = field(default_factory=dict)


def parse_address(text: str) -> Address:
    """The address in a text. ValueError for what is none, `..` in a path among it."""
    given, query = text, ""
    if text.startswith(SCHEME):
        text, _, query = unquote(text.removeprefix(SCHEME)).partition("?")
    owner, _, rest = text.partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    if revision == "refs":  # owner/repo@refs/pr/1
        revision, path = f"refs/{path}", ""
    elif not revision:
        path, _, revision = path.partition("@")
    revision = revision or (parse_qs(query).get("revision") or [""])[0]
    parts = path.rstrip("/").split("/") if path else []
    sound = all(part not in ("", ".", "..") and part.isprintable() and "\\" not in part for part in parts)
    sound = sound and bool(re.fullmatch(r"[\w./-]*", revision)) and ".." not in revision
    if not (sound and NAME.fullmatch(owner) and NAME.fullmatch(name)) or ".." in name:
        raise ValueError(f"{given[:200]!r} is no address on the hub: expected owner/repo, owner/repo@revision or "
                         f"owner/repo/subfolder")  # fmt: skip
    return Address(f"{owner}/{name}", "/".join(parts), revision or None)


def locate_transcoder(source: str | os.PathLike[str]) -> Located:
    """A transcoder's folder on this machine, downloaded where `source` is an address on the hub.

    What its config.yaml lists by address is downloaded too. Raises FileNotFoundError, PermissionError or
    ConnectionError, which say what to do, where that is not possible.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if not looks_like_address(str(source)):
            raise FileNotFoundError(
                f"{source} is not a folder; expected a transcoder folder with {CONFIG_FILE} in it, or owner/repo"
            )
        folder = fetch_folder(parse_address(str(source)))
    return Located(folder, fetch_listed(folder))


def looks_like_address(text: str) -> bool:
    """Whether a text that names no folder is meant as an address."""
    return text.startswith(SCHEME) or (
        text.count("/") >= 1 and not text.startswith((".", "/", "~")) and "\\" not in text
    )


def fetch_folder(address: Address) -> Path:
    """Download the files of a transcoder at an address: the folder they are in."""
    with _explained(address):
        files = _files_of(address)
        if files is None:
            return _cached(address)
        names = needed_files(files, address)
        config = f"{_prefix(address)}{CONFIG_FILE}"
        if config in names:
            root = _download(address, [config])
            if "transcoders" in read_settings(root / config):
                return root / address.path
        return _download(address, names) / address.path


def fetch_listed(folder: Path) -> dict[str, Path]:
    """Download what a folder's config.yaml lists by address: address → file."""
    path = folder / CONFIG_FILE
    entries = read_settings(path).get("transcoders") if path.is_file() else None
    listed = [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    addresses = {entry: parse_address(entry) for entry in listed if entry.startswith(SCHEME)}
    fetched: dict[str, Path] = {}
    for repo, revision in dict.fromkeys((a.repo, a.revision) for a in addresses.values()):
        here = {entry: a for entry, a in addresses.items() if (a.repo, a.revision) == (repo, revision)}
        with _explained(Address(repo, "", revision)):
            root = _download(Address(repo, "", revision), [address.path for address in here.values()])
        for entry, address in here.items():
            if not (root / address.path).is_file():
                raise FileNotFoundError(f"{path}: transcoders lists {entry}, but {repo} has no {address.path}")
            fetched[entry] = root / address.path
    return fetched


def needed_files(files: Sequence[str], address: Address) -> list[str]:
    """Those of a repository's files that make up the transcoder at an address; FileNotFoundError where there is none.

    crosslayer-coding's statistics may lie one folder higher.
    """
    prefix = _prefix(address)
    here = [name for name in files if name.startswith(prefix)]
    wanted = [name for name in here if WANTED.fullmatch(name.removeprefix(prefix))]
    names = {name.removeprefix(prefix) for name in wanted}
    if "cfg.json" in names and CONFIG_FILE not in names:
        states = [n for n in here if re.fullmatch(r"[^/]+\.(safetensors|pt|pth|bin)", n.removeprefix(prefix))]
        above = str(PurePosixPath(address.path).parent / "norm_stats.json") if address.path else ""
        safe = [name for name in states if name.endswith(".safetensors")]
        return [*wanted, *(safe or states), *([above] if above in files else [])]
    if not names - {"norm_stats.json"}:
        folders = sorted({name.rpartition("/")[0] for name in files if name.endswith((CONFIG_FILE, "cfg.json"))} - {""})
        hint = (
            f"; transcoders are in {', '.join(f'{address.repo}/{folder}' for folder in folders[:8])}" if folders else ""
        )
        raise FileNotFoundError(f"{address} holds no transcoder in a form that circuitlab reads{hint}")
    if CONFIG_FILE in names:
        return [name for name in wanted if "/" not in name.removeprefix(prefix)]
    by_layer: dict[str, str] = {}
    for name in wanted:
        layer = name.removeprefix(prefix).partition("/")[0]
        if "/" in name.removeprefix(prefix) and layer in by_layer:
            raise ValueError(
                f"{address} has several transcoders for {layer}: {by_layer[layer]} and {name}. Make a folder with a "
                f"{CONFIG_FILE} that lists one per layer: transcoders: [{SCHEME}{address.repo}/{name}, …]"
            )
        by_layer[layer] = name
    return wanted


def cache_folder() -> Path:
    """Where downloads are kept."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser()


# ---- huggingface_hub ----


def _prefix(address: Address) -> str:
    return f"{address.path}/" if address.path else ""


def _files_of(address: Address) -> list[str] | None:
    """The files of a repository, or None where the hub cannot be reached and the cache must do."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if _offline():
        return None
    try:
        found = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(address.repo, revision=address.revision)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < 500:
            raise
        return None
    except Exception as error:  # the HTTP client's own classes, which differ between versions
        if not _is_connection_problem(error):
            raise
        return None
    return [sibling.rfilename for sibling in found.siblings or []]


def _cached(address: Address) -> Path:
    """The folder in the cache. LocalEntryNotFoundError where it was never fetched."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, revision = _repository_folder(address), address.revision or "main"
    ref = repo / "refs" / revision
    commit = ref.read_text("utf-8").strip() if ref.is_file() else revision
    folder = repo / "snapshots" / commit / address.path
    if not folder.is_dir():
        raise LocalEntryNotFoundError(f"{folder} is not there")
    return folder


def _repository_folder(address: Address) -> Path:
    return cache_folder() / f"models--{address.repo.replace('/', '--')}"


def _download(address: Address, names: Sequence[str]) -> Path:
    """Some files of a repository into the cache: the folder of that revision."""
    from huggingface_hub import snapshot_download

    blobs = _repository_folder(address) / "blobs"
    before = set(os.listdir(blobs)) if blobs.is_dir() else set()
    root = snapshot_download(
        address.repo,
        revision=address.revision,
        cache_dir=cache_folder(),
        allow_patterns=[glob.escape(name) for name in names],
        endpoint=os.environ.get("HF_ENDPOINT"),
        local_files_only=_offline(),
    )
    for blob in sorted(set(os.listdir(blobs)) - before) if blobs.is_dir() else ():
        _require_whole(blobs / blob, address)
    return Path(root)


def _require_whole(blob: Path, address: Address) -> None:
    """Git LFS names a file by its SHA-256: what arrived must have it, or it goes."""
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name) or not blob.is_file():
        return
    with open(blob, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        blob.unlink()
        raise OSError(
            f"a file of {address} arrived damaged: its SHA-256 is {found}, expected {blob.name}. Load it again"
        )


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _is_connection_problem(error: Exception) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutException", "OfflineModeIsEnabled"})


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """What the hub answers, as errors that say what to do."""
    from huggingface_hub import errors

    instead = (
        f"On a machine with a network run `hf download {address.repo} --local-dir FOLDER`, copy FOLDER here, and give "
        f"it in place of the address"
    )
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{address.repo} asks for its terms to be accepted: do so on its page at the hub, then `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{address.repo} has no revision {address.revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"the hub has no repository {address.repo}, or it is private: check the spelling, or `hf auth login`"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if _offline() else "the hub cannot be reached"
        raise ConnectionError(f"{address} is not (wholly) on this machine, and {why}. {instead}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise PermissionError(
                f"the hub refuses {address} ({status}): `hf auth login` with an account that may"
            ) from error
        raise ConnectionError(f"the hub answers {status} for {address}: try again later. {instead}") from error
    except Exception as error:
        if not _is_connection_problem(error):
            raise
        raise ConnectionError(
            f"the download of {address} broke off ({_first_line(error)}): load again, whole files are kept. {instead}"
        ) from error


def _first_line(error: Any) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
