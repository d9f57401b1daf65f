"""A model hub in one process: the part of the Hugging Face hub's interface that uploads use.

Repositories, the LFS batch interface with files in one part or several, and commits as lines of
JSON (`huggingface_hub` 2.4, `hf_api.py` and `lfs.py`). It checks the token and each file's hash.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"
COMMIT = "c" * 40


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server holds, and how it behaves."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Files that have arrived, by their SHA-256."""

    received: list[str] = field(default_factory=list)
    """Hashes of the files that were sent, again if they were sent again."""

    part: int | None = None
    """Bytes of a part, for files in several parts."""

    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    breaks_off: int | None = None
    """Drop the connection at the file after so many."""

    def has(self, repository: str, files: dict[str, bytes]) -> bool:
        return self.repositories[repository].files == files


@contextmanager
def model_hub() -> Iterator[Hub]:
    """A hub on loopback, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub, "log_message": _silent})
    )
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield hub
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _silent(*_arguments: Any) -> None:
    pass


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)", self._path):
            if not self._is_allowed():
                return
            if (repository := self.hub.repositories.get(found[1])) is None:
                self._answer({"error": "Repository not found"}, 404)
                return
            siblings = [{"rfilename": name} for name in repository.files]
            self._answer(
                {"id": found[1], "private": repository.private, "siblings": siblings, "sha": COMMIT}
            )
        else:
            self._answer({"error": self.path}, 404)

    def do_PUT(self) -> None:  # a file's address is the permission, as on the real one
        hub, content = self.hub, self._body()
        if hub.breaks_off is not None and len(hub.received) >= hub.breaks_off:
            self.close_connection = True
            self.connection.close()
            return
        _empty, _lfs, oid, *part = self._path.split("/")
        if part:
            hub.parts.setdefault(oid, {})[int(part[0])] = content
        else:
            assert hashlib.sha256(content).hexdigest() == oid
            hub.objects[oid] = content
            hub.received.append(oid)
        self._answer({}, etag=f'"{hashlib.md5(content).hexdigest()}"')

    def do_POST(self) -> None:
        content = self._body()
        if self._path.startswith("/lfs/"):
            self._put_together(json.loads(content))
        elif not self._is_allowed():
            return
        elif self._path == "/api/repos/create":
            self._create(json.loads(content))
        elif self._path == "/api/validate-yaml":
            text = json.loads(content)["content"]
            self._answer({"warnings": [], "errors": []}, 200 if text.startswith("---") else 400)
        elif self._path.endswith("/preupload/main"):
            self._answer({"files": [_mode(each) for each in json.loads(content)["files"]]})
        elif self._path.endswith("/objects/batch"):
            objects = json.loads(content)["objects"]
            self._answer({"transfer": "basic", "objects": [self._action(each) for each in objects]})
        elif found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", self._path):
            self._commit(found[1], content)
        else:
            self._answer({"error": self.path}, 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == "others":
            self._answer({"error": "You don't have the rights"}, 403)
        elif name in self.hub.repositories:
            self._answer({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
        else:
            private = wanted.get("visibility") == "private"
            self.hub.repositories[name] = Repository(private=private)
            self._answer({"url": f"{self.hub.url}/{name}"})

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        hub, oid = self.hub, wanted["oid"]
        if oid in hub.objects:
            return wanted
        place = f"{hub.url}/lfs/{oid}"
        header = {}
        if hub.part is not None:
            count = -(-wanted["size"] // hub.part)
            header = {str(number): f"{place}/{number}" for number in range(1, count + 1)}
            header["chunk_size"] = str(hub.part)
        return wanted | {"actions": {"upload": {"href": place, "header": header}}}

    def _put_together(self, wanted: dict[str, Any]) -> None:
        hub, oid = self.hub, wanted["oid"]
        content = b"".join(part for _number, part in sorted(hub.parts[oid].items()))
        assert hashlib.sha256(content).hexdigest() == oid
        hub.objects[oid] = content
        hub.received.append(oid)
        self._answer({})

    def _commit(self, name: str, content: bytes) -> None:
        repository = self.hub.repositories[name]
        for line in content.splitlines():
            match json.loads(line):
                case {"key": "header", "value": {"summary": summary}}:
                    repository.commits.append(summary)
                case {"key": "file", "value": {"path": path, "content": coded}}:
                    repository.files[path] = base64.b64decode(coded)
                case {"key": "lfsFile", "value": {"path": path, "oid": oid}}:
                    repository.files[path] = self.hub.objects[oid]
                case {"key": "deletedFile", "value": {"path": path}}:
                    del repository.files[path]
        self._answer({"commitUrl": f"{self.hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization", "").lower() == f"bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid credentials"}, 401)
        return False

    def _answer(self, content: Any, status: int = 200, **headers: str) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    is_large = file["path"].endswith(".safetensors")
    mode = "lfs" if is_large else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
