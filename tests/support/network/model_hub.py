"""A hub of models on the loopback, and files behind https: as much of both as downloads need."""

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
        self.changed: dict[str, bytes] = {}
        """Files that it gives out instead of those that it lists."""
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""

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
                self.list(f"{owner}/{name}", revision)
            case [owner, name, "resolve", _revision, *rest]:
                self.give_file(f"{owner}/{name}", "/".join(rest))
            case _:
                self.give(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def list(self, name: str, revision: str) -> None:
        if name not in self.hub.repositories:
            self.give(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (COMMIT, "main"):
            self.give(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            content = json.dumps(self.hub.listing(name)).encode()
            self.give(200, content, {"Content-Type": "application/json"})

    def give_file(self, repository: str, name: str) -> None:
        content = self.hub.repositories.get(repository, {}).get(name)
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
            self.wfile.write(body)

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
