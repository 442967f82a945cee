"""A hub on the loopback: it speaks the protocol of commits, with files in LFS and beside it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_" + "t" * 34
USER, TEAM = "somebody", "the-team"


@dataclass
class Repository:
    """What a repository holds.

    Args:
        private: whether it was made so.
        commits: of each its files, the last of them the newest.
    """

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def put(self, files: dict[str, bytes]) -> str:
        """Make a commit that holds these files."""
        seen = json.dumps([len(self.commits), sorted(files)]).encode()
        commit = hashlib.sha1(seen).hexdigest()
        self.commits[commit] = files
        return commit


@dataclass
class Store:
    """All that a hub knows.

    Args:
        repositories: by name.
        objects: of LFS, by their sha256.
        calls: method and path of each request that would change something.
        spoils: whether it gives other bytes than it was sent.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    spoils: bool = False

    def make(self, name: str, *, private: bool) -> Repository:
        """Make a repository, as the hub does: with its own first commit."""
        made = self.repositories[name] = Repository(private)
        made.put({".gitattributes": b"*.safetensors filter=lfs\n"})
        return made

    def commit(self, name: str, lines: list[dict[str, Any]]) -> str:
        """Apply a commit."""
        repository = self.repositories[name]
        head, *changes = lines
        files = dict(repository.commits[repository.head])
        parent = head["value"].get("parentCommit")
        assert head["key"] == "header" and parent in (None, repository.head)
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            else:
                assert change["key"] == "deletedFile"
                del files[value["path"]]
        return repository.put(files)


class Handler(BaseHTTPRequestHandler):
    """The routes that huggingface_hub asks to upload and download files."""

    store: Store
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if not self._known():
            return
        path = urlsplit(self.path).path
        if path == "/api/whoami-v2":
            self._json({"type": "user", "name": USER, "orgs": [{"name": TEAM}]})
        elif path.startswith("/api/models/"):
            self._info(*path.removeprefix("/api/models/").split("/"))
        else:
            owner, name, how, commit, *rest = path.strip("/").split("/")
            assert how == "resolve"
            self._file(f"{owner}/{name}", commit, "/".join(rest))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._known():
            return
        path = urlsplit(self.path).path
        self.store.calls.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or USER}/{asked['name']}"
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.store.make(name, private=private)
            self._json({"url": f"{self.url}/{name}"})
        elif path.endswith("/info/lfs/objects/batch"):
            self._json({"objects": [self._action(each) for each in json.loads(body)["objects"]]})
        else:
            self._change(*path.removeprefix("/api/models/").split("/"), body)

    def do_PUT(self):
        digest = self.path.rpartition("/")[2]
        self.store.calls.append(f"PUT {self.path}")
        self.store.objects[digest] = self._body()
        self._send(200, b"")

    def _body(self):
        """Read what was sent, in one piece or in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _known(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, b'{"error": "Invalid credentials"}')
        return False

    def _info(self, owner, name, *_):
        held = self.store.repositories.get(f"{owner}/{name}")
        if held is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        files = [{"rfilename": file} for file in sorted(held.commits[held.head])]
        told = {"id": f"{owner}/{name}", "private": held.private, "sha": held.head}
        self._json({**told, "siblings": files})

    def _file(self, repo, commit, name):
        data = self.store.repositories[repo].commits[commit][name]
        if self.store.spoils:
            data = bytes([data[0] ^ 1]) + data[1:]
        etag = hashlib.sha256(data).hexdigest()
        self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def _action(self, asked):
        upload = {"href": f"{self.url}/lfs/{asked['oid']}", "header": {}}
        return {**asked, "actions": {"upload": upload}}

    def _change(self, owner, name, what, revision, body):
        assert revision == "main"
        if what == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": modes})
            return
        assert what == "commit"
        commit = self.store.commit(f"{owner}/{name}", [*map(json.loads, body.splitlines())])
        url = f"{self.url}/{owner}/{name}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status, data, headers=None):
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hub() -> Iterator[tuple[str, Store]]:
    """Serve a hub on a free port of the loopback; yield its URL and all that it knows."""
    store = Store()
    handler = type("Own", (Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
