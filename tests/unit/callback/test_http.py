"""One caller can't take the places of all, nor fill the log."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.callback import http
from app.callback.http import MOST_CONNECTIONS, FewLines, ImpatientProtocol
from app.callback.web import WebServer
from app.common.rate_limit import RateLimit
from app.settings.settings import Settings
from tests.support.callback.callbacks import BASE, Served

ATTACKER = Path(__file__).parents[2] / "support" / "callback" / "half_open.py"


@asynccontextmanager
async def half_open(port: int, count: int) -> AsyncIterator[None]:
    """A process that holds so many requests open."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ATTACKER), str(port), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


@pytest.mark.parametrize("count", [120, 200, 3 * MOST_CONNECTIONS])
async def test_half_open_requests_hurt_no_honest_caller(served: Served, count: int) -> None:
    async with half_open(served.port, count):
        alone = [(await served.get("/health")).status_code for _ in range(13)]
        paths = ["/health", f"{BASE}/status"] * 7
        replies = await asyncio.gather(*(served.get(path, timeout=30) for path in paths))
    assert alone + [reply.status_code for reply in replies] == [200] * 27


async def test_half_open_requests_do_not_hinder_a_change(served: Served) -> None:
    async with half_open(served.port, 3 * MOST_CONNECTIONS):
        assert (await served.post(f"{BASE}/stop")).status_code == 200


async def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImpatientProtocol, "unread_seconds", 0.2)
    ended = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Response(bytes(50_000_000))(scope, receive, send)
        finally:
            ended.set()

    web = WebServer(Settings(callback_port=0), ended=lambda: None)
    api = await web.start(lambda: large)
    with socket.create_connection(("127.0.0.1", api.port)) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asyncio.wait_for(ended.wait(), 20)
        await asyncio.to_thread(read_until_cut, caller)
    await web.close()


def read_until_cut(caller: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while caller.recv(1_000_000):
            pass


# --- the log -------------------------------------------------------------------------------------

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n"
)


@pytest.mark.parametrize("request_", [UPGRADE, b"\x16\x03\x01 no HTTP\r\n\r\n"])
async def test_tries_of_a_page_do_not_fill_the_log(
    served: Served,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request_: bytes,
) -> None:
    still = RateLimit(rate=0.1, burst=5, clock=lambda: 0.0)  # it doesn't fill up again
    monkeypatch.setattr(http._FEW_LINES, "_limit", still)
    closing = request_.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")
    for _ in range(60):
        reply = await served.raw(closing)
        assert reply.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400", b"HTTP/1.1 429"))
    assert len([each for each in caplog.records if each.name == "uvicorn.error"]) <= 2 * 8


def record(message: str, level: int = logging.WARNING) -> Any:
    return logging.LogRecord("uvicorn.error", level, "", 0, message, None, None)


def test_what_was_left_out_of_the_log_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = FewLines()
    now = 0.0
    monkeypatch.setattr(lines._limit, "_clock", lambda: now)
    assert [lines.filter(record("a")) for _ in range(8)] == [True] * 5 + [False] * 3
    assert lines.filter(record("b"))
    assert all(lines.filter(record("a", logging.INFO)) for _ in range(20))
    now = 60.0
    again = record("a")
    assert lines.filter(again)
    assert again.getMessage() == "a (and 3 more like this before)"
