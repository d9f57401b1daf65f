"""A newer version is reported only if the publisher signed the file that names it."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from app import __version__
from app.common import signing
from app.common.errors import UpdateError
from app.common.signing import MachineKey
from app.desktop import updates
from app.desktop.updates import Updates, number, read
from app.settings.settings import Settings
from app.state.events import Event, ReleaseFound
from app.state.facts import Release
from app.state.state import ContributorState
from app.state.store import Store

PAGE = "https://cotrain.example/download"


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> MachineKey:
    return MachineKey.load_or_create(tmp_path_factory.mktemp("publisher") / "key.pem")


def signed(key: MachineKey, **manifest: Any) -> bytes:
    signature = signing.as_text(key.sign(signing.canonical(manifest)))
    return json.dumps({"manifest": manifest, "signature": signature}).encode()


class Shelf(http.server.BaseHTTPRequestHandler):
    """Serves one file."""

    content: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def url() -> Iterator[str]:
    Shelf.content, Shelf.status, Shelf.asked = b"", 200, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/newest.json"
    server.shutdown()
    thread.join()
    server.server_close()


def store_of(url: str, key: str) -> Store:
    settings = Settings.model_construct(update_url=url, update_key=key)
    return Store(settings=settings, state=ContributorState())


async def look(url: str, key: MachineKey) -> Release | None:
    return await Updates(store_of(url, key.public_key)).look()


# --- what the file says --------------------------------------------------------------------------


def test_signed_file_is_accepted(publisher: MachineKey) -> None:
    content = signed(publisher, version="9.1", url=PAGE, notes="Faster.")
    assert read(content, key=publisher.public_key) == Release(version="9.1", url=PAGE)


def test_file_signed_with_another_key_is_refused(publisher: MachineKey, tmp_path: Path) -> None:
    stranger = MachineKey.load_or_create(tmp_path / "key.pem")
    with pytest.raises(UpdateError, match="isn't signed"):
        read(signed(stranger, version="9.1", url=PAGE), key=publisher.public_key)


def test_changed_file_is_refused(publisher: MachineKey) -> None:
    content = signed(publisher, version="9.1", url=PAGE).replace(b"9.1", b"9.2")
    with pytest.raises(UpdateError, match="isn't signed"):
        read(content, key=publisher.public_key)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[1]", b"3", b"{}", b'{"manifest": {}}', b"[" * 100_000),
        b'{"manifest": {"version": NaN}, "signature": ""}',
        b'{"manifest": 1, "signature": 1}',
    ],
)
def test_malformed_file_is_refused(publisher: MachineKey, content: bytes) -> None:
    with pytest.raises(UpdateError):
        read(content, key=publisher.public_key)


@pytest.mark.parametrize(
    "manifest",
    [
        {"version": "newest", "url": PAGE},
        {"version": 9, "url": PAGE},
        {"version": "9.1"},
        {"version": "9.1", "url": "http://cotrain.example"},
        {"version": "9.1", "url": "file:///etc/passwd"},
        {"version": "9.1", "url": "https://a\n.example"},
    ],
)
def test_invalid_version_or_address_is_refused(
    publisher: MachineKey, manifest: dict[str, Any]
) -> None:
    with pytest.raises(UpdateError, match="no valid version"):
        read(signed(publisher, **manifest), key=publisher.public_key)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("0.1.0", "0.1.1"), ("0.9", "0.10"), ("0.1", "0.1.0.1"), ("1", "2"), ("0.2.9", "1.0")],
)
def test_versions_are_compared_as_numbers(earlier: str, later: str) -> None:
    assert number(earlier) < number(later)
    assert number(f"{earlier}.0") == number(earlier)


# --- asking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "found"), [("99.0", True), ("0.0.1", False)])
async def test_only_a_newer_version_is_returned(
    url: str, publisher: MachineKey, version: str, found: bool
) -> None:
    Shelf.content = signed(publisher, version=version, url=PAGE)
    assert (await look(url, publisher) is not None) is found


async def test_same_version_gives_none(url: str, publisher: MachineKey) -> None:
    Shelf.content = signed(publisher, version=__version__, url=PAGE)
    assert await look(url, publisher) is None


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_http_error_raises(url: str, publisher: MachineKey, status: int) -> None:
    Shelf.content, Shelf.status = signed(publisher, version="99.0", url=PAGE), status
    with pytest.raises(UpdateError):
        await look(url, publisher)
    assert Shelf.asked == ["/newest.json"]


async def test_reading_stops_at_the_size_limit(url: str, publisher: MachineKey) -> None:
    Shelf.content = b" " * (updates.MAX_BYTES + 1)
    with pytest.raises(UpdateError, match="too long"):
        await look(url, publisher)


async def test_unreachable_server_raises(publisher: MachineKey) -> None:
    with pytest.raises(UpdateError):
        await look("http://127.0.0.1:9/newest.json", publisher)


async def test_newer_version_is_dispatched(url: str, publisher: MachineKey) -> None:
    Shelf.content = signed(publisher, version="99.0", url=PAGE)
    told: asyncio.Queue[Event] = asyncio.Queue()
    store = store_of(url, publisher.public_key)
    store.subscribe_to_events(lambda event, _state: told.put_nowait(event))
    asking = Updates(store)
    asking.open()
    assert await told.get() == ReleaseFound(release=Release(version="99.0", url=PAGE))
    await asking.close()
    await asking.close()


@pytest.mark.parametrize("key", ["", None])
async def test_without_address_and_key_no_request_is_made(
    url: str, publisher: MachineKey, key: str | None
) -> None:
    asking = Updates(store_of("" if key is None else url, key or ""))
    asking.open()
    await asyncio.sleep(0)
    await asking.close()
    assert not Shelf.asked
