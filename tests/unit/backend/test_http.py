"""What a hostile backend, or one on the way to it, gets: little memory and time, no secret.

Each attack is a real server on a socket.
"""

import asyncio
import gzip
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.backend.account import Account
from app.backend.delivery import DeliveryPace
from app.backend.errors import (
    BackendError,
    RateLimitedError,
    UncertainError,
    UnencryptedError,
    UnreachableError,
    WrongAnswerError,
)
from app.backend.http import MAX_REPLY_BYTES, UNACKNOWLEDGED_SECONDS, Http
from app.backend.live import LiveChannel
from app.backend.replies import Counted, SessionPage, SignedIn
from app.backend.secret_store import Secrets, SecretStore
from app.common.plain import MOST_CHARACTERS
from tests.support.backend.hostile import HostileBackend, endless, hostile, most_memory, reply
from tests.support.backend.reporting import EMAIL, PASSWORD, UnknownNode, contribution, desk
from tests.support.backend.server import SmallBackend

MEGABYTE = 2**20
TOKEN = "header.claims.signature"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


async def asked(url: str, *, patience: float = 60.0, once: bool = False) -> BackendError:
    """The error of a request."""
    client = Http(url, timeout=patience)
    with pytest.raises(BackendError) as raised:
        await client.ask("GET /training", shape=SessionPage, once=once)
    await client.close()
    return raised.value


# --- no secret over plain http -------------------------------------------------------------------


def lan_address() -> str:
    """An address of this machine that isn't loopback; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


@pytest.fixture
async def beyond_loopback() -> Any:
    """A backend that listens beyond loopback."""
    backend = HostileBackend(reply(b"{}", status="401 Unauthorized"))
    server = await asyncio.start_server(backend.serve, lan_address(), 0)
    host, port = server.sockets[0].getsockname()
    backend.url = f"http://{host}:{port}"
    yield backend
    server.close()
    await backend.close()


Secret = Callable[[Account, Http], Awaitable[object]]

SECRETS: dict[str, Secret] = {
    "sign in": lambda account, _: account.sign_in(EMAIL, password=PASSWORD),
    "register": lambda account, _: account.register(EMAIL, password=PASSWORD),
    "a saved sign-in": lambda account, _: account.call(_never),
    "a token": lambda _, client: client.ask("GET /x", shape=SessionPage, token=TOKEN),
    "a token for rows": lambda _, client: client.read_rows("/x", token=TOKEN, take=print),
}


async def _never(_token: str) -> None:
    raise AssertionError("no access token can be had")


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
async def test_no_secret_goes_over_plain_http(
    beyond_loopback: HostileBackend, tmp_path: Path, secret: Secret
) -> None:
    client = Http(beyond_loopback.url, timeout=60)
    store = SecretStore(tmp_path / "account.json")
    await store.keep(Secrets(refresh_token=TOKEN), url=client.url, email=EMAIL)
    account = Account(client, store=store)
    await account.restore()
    with pytest.raises(UnencryptedError, match="not encrypted") as raised:
        await secret(account, client)
    await client.close()
    assert raised.value.field == "backend_url"
    assert "backend_plain_http" in raised.value.remedy
    assert not beyond_loopback.heads


async def test_what_is_public_may_be_asked_over_plain_http(beyond_loopback: HostileBackend) -> None:
    await asked(beyond_loopback.url)
    (head,) = beyond_loopback.heads
    assert b"authorization" not in head.lower()


async def test_the_setting_allows_plain_http(
    beyond_loopback: HostileBackend, tmp_path: Path
) -> None:
    client = Http(beyond_loopback.url, timeout=60, plain_http=True)
    account = Account(client, store=SecretStore(tmp_path / "account.json"))
    with pytest.raises(BackendError):
        await account.sign_in(EMAIL, password=PASSWORD)
    await client.close()
    assert beyond_loopback.heads


async def test_loopback_is_never_asked_through_a_proxy(
    server: SmallBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hostile(reply(b"{}")) as proxy:
        for name in ("http_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with desk(server, tmp_path) as ours:
            await ours.read_back("node")
            live = LiveChannel(ours.http, node=UnknownNode())
            await live.submit(contribution())
            await live.close()
        assert not proxy.heads
    assert len(server.rows) == 1


async def test_a_redirect_from_https_to_http_gets_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hostile(reply(b"{}")) as thief:
        url, certificate = await asyncio.to_thread(redirecting, thief.url, tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        client = Http(url, timeout=60)
        account = Account(client, store=SecretStore(tmp_path / "account.json"))
        with pytest.raises(WrongAnswerError, match=f"leads elsewhere, to {thief.url}"):
            await account.sign_in(EMAIL, password=PASSWORD)
        with pytest.raises(WrongAnswerError, match="leads elsewhere"):
            await client.ask("GET /x", shape=SessionPage, token=TOKEN)
        await client.close()
        assert not thief.heads


def redirecting(target: str, folder: Path) -> tuple[str, Path]:
    """An https server that sends every request elsewhere; returns its address and certificate."""
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(308)
            self.send_header("Location", f"{target}{self.path}")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Not onto stderr."""

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file, key)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    made.socket = tls.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return f"https://localhost:{made.server_port}", file


# --- little memory and time ----------------------------------------------------------------------


async def test_an_endless_reply_takes_little_memory() -> None:
    async with hostile(endless(b" " * MEGABYTE)) as backend:
        assert await most_memory(asked(backend.url)) < 8 * MAX_REPLY_BYTES


@pytest.mark.parametrize("status", ["200 OK", "500 Sorry"])
async def test_a_gzip_bomb_takes_little_memory(status: str) -> None:
    bomb = gzip.compress(bytes(400 * MEGABYTE), 1)
    head = "Content-Encoding: gzip\r\n"
    async with hostile(reply(bomb, status=status, headers=head)) as backend:
        assert await most_memory(asked(backend.url)) < 8 * MAX_REPLY_BYTES


async def test_bombs_in_bombs_are_not_unpacked() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100 * MEGABYTE), 1), 1)
    headers = "Content-Encoding: gzip, gzip\r\n"
    async with hostile(reply(bomb, headers=headers)) as backend:
        error = await asked(backend.url, once=True)
    assert isinstance(error, UncertainError)  # a report may have been counted before
    assert "compressed" in error.message


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(
    "head", ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "head"]
)
async def test_a_reply_that_drips_is_given_up(
    head: str, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.http.TIMEOUTS_OF_REPLY", 1 / 60)
    async with hostile(endless(b" ", head=head, pause=0.05)) as backend:
        error = await asked(backend.url, patience=60.0, once=once)
    assert type(error) is (UncertainError if once else UnreachableError)
    assert "took longer than 1 s" in error.message


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "500 Sorry", "200 OK"])
async def test_a_long_text_is_cut(status: str) -> None:
    content = json.dumps({"message": ["é\u202e\n" * 5000, "x" * 10000]}).encode()
    async with hostile(reply(content, status=status)) as backend:
        error = await asked(backend.url)
    assert len(error.message) < MOST_CHARACTERS + 100
    assert error.message.isprintable()


@pytest.mark.parametrize(
    "status", ["400 " + "x" * 60000, "502 " + "x" * 60000, "302 Found"], ids=["400", "502", "302"]
)
async def test_a_long_head_is_cut(status: str) -> None:
    head = "Location: http://" + "x" * 60000 + "\r\n"
    async with hostile(reply(b"", status=status, headers=head)) as backend:
        assert len((await asked(backend.url)).text) < MOST_CHARACTERS + 300


async def test_a_huge_error_is_not_read_to_its_end(server: SmallBackend) -> None:
    async with hostile(endless(b"x" * MEGABYTE, head="HTTP/1.1 400 Bad\r\n\r\n")) as backend:
        error = await asked(backend.url)
    assert isinstance(error, WrongAnswerError)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"data":' * 100_000, b'{"message":' * 9_000])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad"])
async def test_what_is_nested_deeply_is_an_error(content: bytes, status: str) -> None:
    async with hostile(reply(content, status=status)) as backend:
        assert isinstance(await asked(backend.url), WrongAnswerError)


@pytest.mark.parametrize("token", ["a\r\nX: y", "ü", "", "x" * 20_000])
async def test_a_token_that_fits_no_header_is_an_error(token: str, tmp_path: Path) -> None:
    content = json.dumps({"accessToken": token, "refreshToken": TOKEN}).encode()
    async with hostile(reply(content, status="201 Created")) as backend:
        client = Http(backend.url, timeout=60)
        with pytest.raises(WrongAnswerError):
            await client.ask("POST /auth/login", shape=SignedIn, body={})
        await client.close()


@pytest.mark.parametrize("value", ["nan", "-inf", "inf", "1e999", "-5", "x" * 9000])
async def test_an_odd_pause_is_a_pause(value: str) -> None:
    headers = f"Retry-After: {value}\r\n"
    async with hostile(reply(b"", status="429 Slow", headers=headers)) as backend:
        error = await asked(backend.url)
    assert isinstance(error, RateLimitedError)
    assert 1 <= error.seconds <= 24 * 3600


# --- read-backs ----------------------------------------------------------------------------------


async def rows_of(
    url: str, take: Callable[[list[Counted]], None], *, patience: float = 60.0
) -> None:
    client = Http(url, timeout=patience)
    try:
        await client.read_rows("/rows", token=TOKEN, take=take)
    finally:
        await client.close()


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "nodeId": "node",
        "sessionId": 7,
        "computeTime": f"{number}.125",
        "gradientQuality": 100,
        "dataTransmitted": 1.5,
        "uptimeRatio": "99.5",
        **more,
    }


async def test_a_read_back_of_any_size_is_read() -> None:
    """70 MiB, more than any answer that is kept whole, in little memory."""
    content = json.dumps([row(number, note="[{}]," * 6000) for number in range(2400)]).encode()
    assert len(content) > 64 * MEGABYTE
    times: list[float] = []
    async with hostile(reply(content)) as backend:
        reading = rows_of(
            backend.url, lambda rows: times.extend(float(each.compute_time) for each in rows)
        )
        # The server's own buffer is a copy of the content.
        assert await most_memory(reading) < 16 * MEGABYTE
    assert times == [number + 0.125 for number in range(2400)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"{}",
        b"<html>",
        b"[1]",
        b"[{}]",
        b"[] x",
        b"\xff",
        json.dumps([row(1)])[:-1].encode(),
        json.dumps([row(1, computeTime="NaN")]).encode(),
        json.dumps([row(1, computeTime="sNaN")]).encode(),
        json.dumps([row(1, computeTime=float("inf"))]).encode(),
        json.dumps([row(1, computeTime="1e400")]).encode(),
        b"[" + b'{"a":' * 12_000,
        b"[" + b'{"a":' * 100_000,
        b'[{"sessionId": ' + b"1" * 5000 + b"}]",
    ],
)
async def test_a_read_back_that_is_none_is_an_error(content: bytes) -> None:
    async with hostile(reply(content)) as backend:
        with pytest.raises(WrongAnswerError, match="can't be understood"):
            await rows_of(backend.url, lambda _rows: None)


@pytest.mark.parametrize("start", [b"", b"[", b"[]", b'[{"a": "'])
async def test_an_endless_read_back_is_given_up(start: bytes) -> None:
    head = "HTTP/1.1 200 OK\r\n\r\n" + start.decode()
    async with hostile(endless(b" " * MEGABYTE, head=head)) as backend:
        assert await most_memory(give_up(backend.url)) < 16 * MEGABYTE


async def give_up(url: str) -> None:
    with pytest.raises((WrongAnswerError, UnreachableError)):
        await rows_of(url, lambda _rows: None, patience=0.05)


# --- sockets -------------------------------------------------------------------------------------


def connections_to(port: int) -> list[socket.socket]:
    """Our own sockets that are connected to a port."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            each = socket.socket(fileno=os.dup(int(path.name)))
        except OSError:  # no socket
            continue
        try:
            if each.getpeername()[1] == port:
                found.append(each)
                continue
        except (OSError, IndexError):
            pass
        each.close()
    return found


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_the_kernel_gives_up_before_a_report_counts_as_settled(
    server: SmallBackend, tmp_path: Path
) -> None:
    """The kernel sends on for a process that was killed; by default for 100 s."""
    assert DeliveryPace().settle > UNACKNOWLEDGED_SECONDS
    port = int(server.url.rpartition(":")[2])
    async with desk(server, tmp_path) as ours:
        over_http = options_of(port)
        await ours.http.close()
        live = LiveChannel(ours.http, node=UnknownNode())
        await live.submit(contribution())
        over_socket_io = options_of(port)
        await live.close()
    wanted = int(UNACKNOWLEDGED_SECONDS * 1000)
    assert set(over_http) == set(over_socket_io) == {wanted}


def options_of(port: int) -> list[int]:
    sockets = connections_to(port)
    try:
        level, option = socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
        return [each.getsockopt(level, option) for each in sockets]
    finally:
        for each in sockets:
            each.close()
