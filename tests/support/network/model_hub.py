"""A hub on the loopback, of models and data sets, and files behind https: as much of them as
downloads need."""

import contextlib
import hashlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trustme
from huggingface_hub import constants

COMMIT = "a" * 40


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob_of(content: bytes) -> str:
    """Git's own name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class ModelHub:
    """What a running hub has, and what it was asked for. Its repositories have one commit."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        """Models; the content of each file by its name."""
        self.data_sets: dict[str, dict[str, bytes]] = {}
        self.changed: dict[str, bytes] = {}
        """Files that it gives out instead of those that it lists."""
        self.held: dict[str, threading.Event] = {}
        """Of files, by their names, half is kept back until the event is set."""
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    def entries(self, name: str, folder: str) -> list[dict[str, Any]]:
        """What a folder of a data set holds."""
        inside = {
            path.removeprefix(f"{folder}/"): content
            for path, content in self.data_sets[name].items()
            if not folder or path.startswith(f"{folder}/")
        }
        files = [
            {
                "type": "file",
                "path": f"{folder}/{path}".strip("/"),
                "size": len(content),
                "oid": blob_of(content),
            }
            for path, content in inside.items()
            if "/" not in path
        ]
        folders = {path.partition("/")[0] for path in inside if "/" in path}
        return files + [{"type": "directory", "path": each, "oid": COMMIT} for each in folders]

    def listing(self, name: str) -> dict[str, Any]:
        files = self.repositories[name]
        siblings = [_listed(*each) for each in files.items()]
        return {"id": name, "sha": COMMIT, "tags": [], "siblings": siblings}


def _listed(name: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob_of(content)}
    if name.endswith(".safetensors"):
        found["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
    return found


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ModelHub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        self.hub.tokens.add(self.headers["Authorization"])
        parts = path.strip("/").split("/")
        match parts:
            case ["api", "models", owner, name, "revision", revision]:
                self.give_listing(f"{owner}/{name}", revision)
            case ["api", "datasets", owner, name, *rest] if self.has(owner, name):
                self.describe(f"{owner}/{name}", rest)
            case ["datasets", owner, name, "resolve", _revision, *rest] if self.has(owner, name):
                self.give_file(self.hub.data_sets[f"{owner}/{name}"], "/".join(rest))
            case [owner, name, "resolve", _revision, *rest]:
                self.give_file(self.hub.repositories.get(f"{owner}/{name}", {}), "/".join(rest))
            case _:
                self.give(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def has(self, owner: str, name: str) -> bool:
        return f"{owner}/{name}" in self.hub.data_sets

    def give_listing(self, name: str, revision: str) -> None:
        if name not in self.hub.repositories:
            self.give(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (COMMIT, "main"):
            self.give(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self.give_json(self.hub.listing(name))

    def describe(self, name: str, rest: list[str]) -> None:
        """A data set as a whole, or the content of one of its folders."""
        match rest:
            case ["tree", _revision, *folders]:
                self.give_json(self.hub.entries(name, "/".join(folders)))
            case _:
                self.give_json({"id": name, "sha": COMMIT, "siblings": [], "tags": []})

    def give_json(self, content: object) -> None:
        self.give(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def give_file(self, files: Mapping[str, bytes], name: str) -> None:
        content = files.get(name)
        if content is None:
            self.give(404, b"{}", {"X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"})
            return
        content = self.hub.changed.get(name, content)
        self.give(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{blob_of(content)}"'})

    def give(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            half = len(body) // 2
            with contextlib.suppress(ConnectionError):  # whoever asked is gone
                self.wfile.write(body[:half])
                if held := self.hub.held.get(self.path.rpartition("/")[2]):
                    held.wait(60)
                self.wfile.write(body[half:])

    def log_message(self, *arguments: object) -> None:
        """Not onto stderr."""


@contextlib.contextmanager
def running_hub() -> Iterator[ModelHub]:
    """An empty hub; `ModelHub.url` is its address."""
    hub = ModelHub()
    with _serving(type("Handler", (_Handler,), {"hub": hub})) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub


def ask(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub, which reads the address once, ask this hub in this process."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)


class _Files(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: Mapping[str, bytes]

    def do_GET(self) -> None:
        body = self.files.get(self.path.strip("/"))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *arguments: object) -> None:
        """Not onto stderr."""


@contextlib.contextmanager
def https_files(files: Mapping[str, bytes]) -> Iterator[tuple[str, ssl.SSLContext]]:
    """The address at which files are served by their names, and a context that trusts it."""
    authority = trustme.CA()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(own)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with _serving(type("Handler", (_Files,), {"files": files}), own) as server:
        yield f"https://127.0.0.1:{server.server_port}", trusting


@contextlib.contextmanager
def _serving(
    handler: Any, context: ssl.SSLContext | None = None
) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
