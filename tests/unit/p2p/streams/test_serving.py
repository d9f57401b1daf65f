"""Streams that strangers open are bounded in number, rate, size and time, before they are read."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.common.rate_limit import RateLimit
from app.p2p.calls import CallError
from app.p2p.streams import frames, serving
from app.p2p.streams.serving import MessageServer

BUSY = b"busy"


class Daemon:
    """Stands for a node and its daemon: its streams are those of a socket, from peers by name."""

    def __init__(self, socket: Path) -> None:
        self.handlers: dict[str, Any] = {}
        self.p2p = self
        self._child = SimpleNamespace(returncode=None)
        self._socket = socket

    async def add_binary_stream_handler(self, name: str, handler: Any) -> None:
        self.handlers[name] = handler

    async def remove_binary_stream_handler(self, name: str) -> None:
        del self.handlers[name]

    async def open(self) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            name = (await reader.readline()).decode().strip()
            peer_id = SimpleNamespace(to_base58=lambda: name)
            await self.handlers["/test"](SimpleNamespace(peer_id=peer_id), reader, writer)

        self._server = await asyncio.start_unix_server(handle, self._socket)

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def called_by(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(f"{name}\n".encode())
        return reader, writer


class Desk:
    """A server, and how it is called."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.answered: list[bytes] = []
        self.asked: list[tuple[str, bytes]] = []
        self.may_answer, self.is_asked = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.server = MessageServer(
            "/test",
            self._answer,
            answered=self.answered.append,
            busy=BUSY,
            most_bytes=100,
        )

    async def _answer(self, peer_id: str, message: bytes) -> bytes:
        self.asked.append((peer_id, message))
        self.is_asked.set()
        await self.may_answer.wait()
        return b"re: " + message

    async def call(self, name: str, message: bytes) -> bytes:
        reader, writer = await self.daemon.called_by(name)
        try:
            await frames.send(writer, message)
            return await frames.receive(reader, most=100)
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes, nobody is cut off, and no limit fills up again."""
    monkeypatch.setattr(serving, "CALL_SECONDS", 60.0)
    monkeypatch.setattr(serving, "ARRIVAL_SECONDS", 60.0)
    monkeypatch.setattr(serving, "RateLimit", partial(RateLimit, clock=lambda: 0.0))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    daemon = Daemon(tmp_path / "s")
    await daemon.open()
    made = Desk(daemon)
    await made.server.open(daemon)
    yield made
    await made.server.close()
    await daemon.close()


async def test_a_message_is_answered(desk: Desk) -> None:
    assert await desk.call("a", b"hello") == b"re: hello"
    assert desk.asked == [("a", b"hello")]


async def test_a_long_message_is_not_read(desk: Desk) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await desk.call("a", bytes(101))
    assert desk.asked == []


async def test_who_calls_too_often_is_turned_away_and_nobody_else(desk: Desk) -> None:
    replies = [await desk.call("a", b"x") for _ in range(serving.MOST_CALLS_AT_ONCE + 5)]
    assert BUSY in replies
    assert replies[0] == b"re: x"
    assert await desk.call("b", b"x") == b"re: x"


async def test_one_peer_has_a_few_streams_at_once(desk: Desk) -> None:
    desk.may_answer.clear()
    waiting = [asyncio.create_task(desk.call("a", b"x")) for _ in range(serving.STREAMS_A_PEER)]
    while len(desk.asked) < len(waiting):
        desk.is_asked.clear()
        await desk.is_asked.wait()
    assert await desk.call("a", b"x") == BUSY
    desk.may_answer.set()
    assert await asyncio.gather(*waiting) == [b"re: x"] * len(waiting)


async def test_who_opens_many_streams_and_sends_nothing_keeps_nobody_out(desk: Desk) -> None:
    silent = [
        await desk.daemon.called_by(f"silent {number}")
        for number in range(serving.MOST_WAITING + 3)
    ]
    assert await desk.call("a", b"hello") == b"re: hello"
    for reader, _writer in silent[:3]:
        assert await reader.read() == b""  # cut off
    for _reader, writer in silent:
        writer.close()


async def test_who_takes_answers_and_hangs_on_keeps_nobody_out(desk: Desk) -> None:
    hanging = []
    for number in range(serving.MOST_ANSWERING + serving.MOST_WAITING):
        reader, writer = await desk.daemon.called_by(f"hanging {number}")
        await frames.send(writer, b"x")
        assert await frames.receive(reader, most=100) == b"re: x"
        hanging.append(writer)
    assert await desk.call("a", b"hello") == b"re: hello"
    for writer in hanging:
        writer.close()


async def test_a_silent_stream_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CALL_SECONDS", 0.05)
    reader, writer = await desk.daemon.called_by("a")
    writer.write(b"\0\0")
    assert await reader.read() == b""
    writer.close()


async def test_what_follows_an_answer_waits_until_the_caller_has_it(desk: Desk) -> None:
    reader, writer = await desk.daemon.called_by("a")
    await frames.send(writer, b"x")
    assert await frames.receive(reader, most=100) == b"re: x"
    assert desk.answered == []
    writer.close()
    async with asyncio.timeout(60):
        while not desk.answered:  # noqa: ASYNC110  the server hears of it by its socket
            await asyncio.sleep(0.005)


async def test_the_end_cuts_off_what_is_answered(desk: Desk) -> None:
    desk.may_answer.clear()
    call = asyncio.create_task(desk.call("a", b"x"))
    await desk.is_asked.wait()
    await desk.server.close()
    with pytest.raises(asyncio.IncompleteReadError):
        await call
    assert desk.daemon.handlers == {}
    await desk.server.close()


async def test_a_message_of_more_bytes_than_wanted_is_an_error() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\0\0\1\0" + bytes(256))
    with pytest.raises(CallError):
        await frames.receive(reader, most=255)
