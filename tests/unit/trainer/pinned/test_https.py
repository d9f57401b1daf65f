"""Downloads from a real https server on the loopback, with a certificate of its own."""

import hashlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from app.common.errors import DataError
from app.protocol import FileDownload
from app.spec import schema as specs
from app.trainer.data.opening import open_data, open_held_out
from app.trainer.pinned.arrival import Arrival
from app.trainer.pinned.downloads import Downloads
from app.trainer.pinned.https import fetch
from tests.support.network.certificates import make_certificate

CONTENT = b"The quick brown fox jumps over the lazy dog. " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at several addresses, each with a habit of its own."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    breaks: ClassVar[list[int]] = []
    """After how many bytes the next answers break off."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append(f"{self.path} {wanted}".strip())
        match self.path:
            case "/missing.txt":
                self.send_error(404)
            case "/plain.txt":
                self.redirect("http://127.0.0.1:9/data.txt")
            case "/moved.txt":
                self.redirect("/data.txt")
            case "/circle.txt":
                self.redirect("/circle.txt")
            case "/stubborn.txt":
                self.answer(200, CONTENT)
            case "/data.txt" if wanted:
                self.answer_range(int(wanted.removeprefix("bytes=").removesuffix("-")))
            case _:
                self.answer(200, CONTENT)

    def answer_range(self, start: int) -> None:
        if start >= len(CONTENT):
            self.answer(416, b"")
        else:
            self.answer(206, CONTENT[start:])

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.breaks:
            body = body[: self.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Not onto stderr."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """Trusts the server's certificate, and checks it."""
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[str]:
    """The address of a running server."""
    Handler.asked.clear()
    Handler.breaks.clear()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = False  # so that server_close waits for them
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(*certificate)
    running.socket = own.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def fetched(url: str, cache: Path, *, sha256: str = SHA256, **options: Any) -> Path:
    arrival = options.pop("arrival", Arrival("data"))
    return fetch(url, sha256=sha256, field="dataset_info", cache=cache, arrival=arrival, **options)


def test_a_file_is_fetched_once(server: str, context: ssl.SSLContext, tmp_path: Path) -> None:
    path = fetched(f"{server}/data.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT
    assert path.name == f"{SHA256}.txt"
    assert fetched(f"{server}/data.txt", tmp_path, context=context) == path
    assert Handler.asked == ["/data.txt"]
    assert not list(tmp_path.glob("*.part"))


def test_it_tells_how_much_has_arrived(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    told: list[FileDownload] = []
    arrival = Arrival("data", told.append)
    fetched(f"{server}/data.txt", tmp_path, context=context, arrival=arrival)
    arrival.end()
    assert 0 < told[0].received <= len(CONTENT)
    assert {(each.what, each.size) for each in told} == {("data", len(CONTENT))}
    assert told[-1].received == len(CONTENT)


def test_it_becomes_batches(server: str, context: ssl.SSLContext, tmp_path: Path) -> None:
    spec = specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": "gpt2"},
            "training_params": {"target_batch_size": 4, "sequence_length": 16},
            "dataset_info": {"source": "https", "url": f"{server}/data.txt", "sha256": SHA256},
        }
    )
    downloads = Downloads(cache=tmp_path, context=context)
    batches = open_data(spec, identity=b"me", downloads=downloads)
    assert bytes(batches.next(1)[0].tolist()) in CONTENT + b"\0"


def test_it_is_measured_on_where_the_spec_says_so(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    spec = specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": "gpt2"},
            "training_params": {"target_batch_size": 4, "sequence_length": 16},
            "dataset_info": {
                "source": "builtin",
                "held_out": {"source": "https", "url": f"{server}/data.txt", "sha256": SHA256},
            },
        }
    )
    downloads = Downloads(cache=tmp_path, context=context)
    apart = open_held_out(spec, downloads=downloads)
    pieces = bytes(apart.tokens).split(b"\0")
    assert all(piece in CONTENT for piece in pieces)
    assert len(apart.tokens) > 1000


def test_a_broken_connection_is_taken_up_again(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    Handler.breaks[:] = [1000, 500]
    path = fetched(f"{server}/data.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT
    assert Handler.asked == ["/data.txt", "/data.txt bytes=1000-", "/data.txt bytes=1500-"]


def test_a_connection_that_brings_nothing_is_an_error(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    Handler.breaks[:] = [1000, 0]
    with pytest.raises(DataError, match="can't be fetched"):
        fetched(f"{server}/data.txt", tmp_path, context=context)
    assert fetched(f"{server}/data.txt", tmp_path, context=context).exists()
    assert Handler.asked[-1] == "/data.txt bytes=1000-"


@pytest.mark.parametrize("size", [10, len(CONTENT)])
def test_what_an_earlier_process_left_is_continued(
    server: str, context: ssl.SSLContext, tmp_path: Path, size: int
) -> None:
    (tmp_path / f"{SHA256}.txt.part").write_bytes(CONTENT[:size])
    path = fetched(f"{server}/data.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT
    assert Handler.asked == [f"/data.txt bytes={size}-"]


def test_the_beginning_of_another_version_is_thrown_away(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / f"{SHA256}.txt.part").write_bytes(b"another version")
    path = fetched(f"{server}/data.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT
    assert Handler.asked == ["/data.txt bytes=15-", "/data.txt"]


def test_a_server_without_ranges_starts_again(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / f"{SHA256}.txt.part").write_bytes(CONTENT[:10])
    path = fetched(f"{server}/stubborn.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT


def test_another_hash_is_refused_and_nothing_kept(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    url = f"{server}/data.txt"
    with pytest.raises(DataError) as caught:
        fetched(url, tmp_path / "cache", sha256="0" * 64, context=context)
    assert caught.value.field == "dataset_info.sha256"
    assert SHA256 in caught.value.message
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} <= {".lock"}


def test_too_large_a_file_is_refused_and_nothing_kept(
    server: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="at most 1,000 are downloaded") as caught:
        fetched(f"{server}/data.txt", tmp_path, context=context, limit=1000)
    assert caught.value.field == "dataset_info.url"
    assert not list(tmp_path.glob("*.part"))


def test_a_redirect_is_followed(server: str, context: ssl.SSLContext, tmp_path: Path) -> None:
    path = fetched(f"{server}/moved.txt", tmp_path, context=context)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.txt", "404"),
        ("/plain.txt", "not https"),
        ("/circle.txt", "redirects"),
    ],
)
def test_what_leads_nowhere_is_said(
    server: str, context: ssl.SSLContext, tmp_path: Path, path: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        fetched(server + path, tmp_path, context=context)
    assert caught.value.field == "dataset_info.url"
    assert caught.value.remedy


def test_an_unknown_certificate_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CERTIFICATE_VERIFY_FAILED"):
        fetched(f"{server}/data.txt", tmp_path)


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be fetched"):
        fetched("https://127.0.0.1:9/data.txt", tmp_path)
