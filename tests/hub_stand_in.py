"""A local stand-in of the Hugging Face hub: repositories in memory, served over HTTP as the hub serves them.

with StandIn({"owner/repo": {"config.yaml": b"…"}}) as hub:      # hub.url is the endpoint
    hub.break_off["W_enc_0.safetensors"] = 100                   # the connection drops after 100 bytes, once
    hub.log                                                      # [(verb, path, Range header), …]
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = 1000
"""Files from this size on are kept by SHA-256, as Git LFS does."""


def files_of(folder: Path, under: str = "") -> dict[str, bytes]:
    """A folder's files by their paths in a repository."""
    prefix = f"{under}/" if under else ""
    return {prefix + str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class StandIn:
    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.repositories = repositories
        self.log: list[tuple[str, str, str]] = []
        self.break_off: dict[str, int] = {}
        self.damaged: set[str] = set()
        self.status: dict[str, tuple[int, str]] = {}
        self.redirect = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        port = self.server.server_address[1]
        self.url, self.elsewhere = f"http://127.0.0.1:{port}", f"http://localhost:{port}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def sha(self, repo: str, revision: str = "main") -> str:
        content = repr(sorted(self.repositories[repo].items())) + revision
        return hashlib.sha1(content.encode()).hexdigest()

    def downloads(self) -> list[str]:
        """Names of the files whose bytes were asked for, in order."""
        return [path.partition("/resolve/")[2].partition("/")[2] for verb, path, _ in self.log
                if verb == "GET" and "/resolve/" in path]  # fmt: skip

    def etag(self, data: bytes) -> str:
        if len(data) >= LARGE:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(head=True)

            def do_GET(self) -> None:
                self.answer(head=False)

            def answer(self, head: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.log.append((self.command, path, self.headers.get("Range", "")))
                api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+).*)?", path)
                resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
                cdn = re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path)
                match = api or resolve or cdn
                repo = match[1] if match else ""
                if repo in hub.status:
                    status, code = hub.status[repo]
                    self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"})
                elif repo not in hub.repositories:
                    self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                elif api:
                    self.api(repo, api[2] or "revision", api[3] or "main")
                elif resolve:
                    self.resolve(repo, resolve[2], resolve[3], head)
                elif cdn:
                    self.body(hub.repositories[repo][cdn[2]], cdn[2], {}, head)

            def api(self, repo: str, what: str, revision: str) -> None:
                files = hub.repositories[repo]
                if revision not in ("main", "v1", hub.sha(repo), hub.sha(repo, "v1")):
                    self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                    return
                sha = revision if len(revision) == 40 else hub.sha(repo, revision)
                if what == "revision":
                    siblings = [{"rfilename": name} for name in files]
                    found = {"id": repo, "modelId": repo, "sha": sha, "siblings": siblings, "private": False,
                             "gated": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
                else:
                    found = [self.entry(name, data) for name, data in files.items()]
                self.send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

            def entry(self, name: str, data: bytes) -> dict:
                entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                if len(data) >= LARGE:
                    entry["lfs"] = {"oid": hub.etag(data), "size": len(data), "pointerSize": 130}
                return entry

            def resolve(self, repo: str, revision: str, name: str, head: bool) -> None:
                files = hub.repositories[repo]
                sha = revision if len(revision) == 40 else hub.sha(repo, revision)
                if name not in files:
                    self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
                    return
                data = files[name]
                headers = {"X-Repo-Commit": sha, "ETag": f'"{hub.etag(data)}"'}
                if hub.redirect:
                    linked = {"X-Linked-Etag": f'"{hub.etag(data)}"', "X-Linked-Size": str(len(data))}
                    self.send(302, b"", {**headers, **linked, "Location": f"{hub.elsewhere}/cdn/{repo}/{name}"})
                else:
                    self.body(data, name, headers, head)

            def body(self, data: bytes, name: str, headers: dict[str, str], head: bool) -> None:
                if name in hub.damaged:
                    data = bytes([data[0] ^ 1]) + data[1:]
                status, asked = 200, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if asked:
                    status, first = 206, int(asked[1])
                    headers = {**headers, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
                    data = data[first:]
                self.send(status, data, {**headers, "Accept-Ranges": "bytes"}, head, hub.break_off.get(name))
                if not head:
                    hub.break_off.pop(name, None)

            def send(self, status: int, data: bytes, headers: dict[str, str], head: bool = False,
                     most: int | None = None) -> None:  # fmt: skip
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if head or self.command == "HEAD":
                    return
                self.wfile.write(data if most is None else data[:most])
                if most is not None:
                    self.close_connection = True

        return Handler
