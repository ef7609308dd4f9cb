"""What was downloaded from the hub: a table of it, and how to be rid of it.

    cl.cache.contents()                                   # a DataFrame
    cl.cache.empty("mntss/clt-gemma-2-2b-426k")           # one repository
    cl.cache.empty()                                      # all transcoders; models stay

The cache is huggingface_hub's: other programs use the same files.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pandas as pd

from circuitlab.hub import WANTED, cache_folder

COLUMNS = ["repository", "kind", "revisions", "files", "bytes", "last_used", "folder"]


def contents() -> pd.DataFrame:
    """One row per repository in the cache: kind (transcoder, model, other), revisions, files, bytes, last_used."""
    rows = []
    for repo in _repositories():
        files = {file.file_path for revision in repo.revisions for file in revision.files}
        rows.append(
            {
                "repository": repo.repo_id,
                "kind": _kind(repo),
                "revisions": len(repo.revisions),
                "files": len(files),
                "bytes": int(repo.size_on_disk),
                "last_used": pd.Timestamp(repo.last_accessed, unit="s"),
                "folder": str(repo.repo_path),
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["kind", "repository"], ascending=[False, True], ignore_index=True)


def empty(repository: str | None = None) -> int:
    """Delete one repository from the cache, or all that hold transcoders; the bytes that this freed.

    Raises ValueError for a repository that is not there, with the nearest that are.
    """
    repositories = _repositories()
    if repository is None:
        chosen = [repo for repo in repositories if _kind(repo) == "transcoder"]
    else:
        chosen = [repo for repo in repositories if repo.repo_id == repository]
        if not chosen:
            known = [repo.repo_id for repo in repositories]
            close = difflib.get_close_matches(repository, known, n=3, cutoff=0.4)
            raise ValueError(f"the cache has no {repository!r}; near it: {', '.join(close) or 'nothing'}")
    hashes = [revision.commit_hash for repo in chosen for revision in repo.revisions]
    if not hashes:
        return 0
    strategy = _scan().delete_revisions(*hashes)
    strategy.execute()
    return int(strategy.expected_freed_size)


def _scan() -> Any:
    from huggingface_hub import scan_cache_dir

    return scan_cache_dir(cache_folder())


def _repositories() -> list[Any]:
    folder = cache_folder()
    return sorted(_scan().repos, key=lambda repo: repo.repo_id) if folder.is_dir() else []


def _kind(repo: Any) -> str:
    """What a repository holds, by the names of its files in the cache."""
    names = [
        str(Path(file.file_path).relative_to(revision.snapshot_path))
        for revision in repo.revisions
        for file in revision.files
    ]
    if any(WANTED.fullmatch(name) or WANTED.fullmatch(name.partition("/")[2]) for name in names):
        return "transcoder"
    return "model" if "config.json" in names else "other"
