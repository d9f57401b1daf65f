"""Streams that anybody opens to our averagers are bounded in number, time and memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.p2p import P2P, PeerID
from hivemind.proto.averaging_pb2 import AveragingData  # type: ignore[attr-defined]
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.p2p.guards import messages, open_streams

messages.bound_messages()
open_streams.bound_streams()

Call = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Daemon:
    """Stands for a P2P and its daemon: its streams are those of a socket, from peers by number."""

    def __init__(self, socket: Path) -> None:
        self.peer_id = peer(99)
        self._socket = socket
        self._calls: list[Call] = []
        self._answers: list[Any] = []

    async def add_binary_stream_handler(self, _name: str, handler: Any, **_options: Any) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = (await reader.readexactly(1))[0]
            self._answers.append(asyncio.current_task())
            await handler(SimpleNamespace(peer_id=peer(number)), reader, writer)
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        self._server = await asyncio.start_unix_server(handle, self._socket)

    async def add(self, handler: Callable[..., Any], kind: Any) -> None:
        """As hivemind adds what answers a call."""
        is_stream = kind is AveragingData
        p2p: Any = self
        self._add_protobuf_stream_handler = P2P._add_protobuf_stream_handler.__get__(p2p)
        await P2P.add_protobuf_handler(
            p2p, "call", handler, kind, stream_input=is_stream, stream_output=True
        )

    async def called_by(self, number: int) -> Call:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(bytes([number]))
        self._calls.append((reader, writer))
        return reader, writer

    async def close(self) -> None:
        for _reader, writer in self._calls:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*self._answers)
        self._server.close()
        await self._server.wait_closed()


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + bytes([number]) * 32)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = Daemon(tmp_path / "s")
    yield made
    await made.close()


async def echo(request: Any, _context: Any) -> AsyncIterator[Any]:
    yield ExpertResponse(metadata=request.metadata)


async def ask(call: Call, text: bytes) -> bytes:
    """b"" where the stream ends without an answer."""
    reader, writer = call
    await P2P.send_protobuf(ExpertRequest(metadata=text), writer)
    await P2P.send_protobuf(P2P.END_OF_STREAM, writer)
    try:
        reply, _error = await P2P.receive_protobuf(ExpertResponse, reader)
    except asyncio.IncompleteReadError:
        return b""
    return reply.metadata


async def has_ended(call: Call) -> None:
    """Waits for it."""
    assert await call[0].read() == b""


async def test_a_request_is_answered(daemon: Daemon) -> None:
    await daemon.add(echo, ExpertRequest)
    call = await daemon.called_by(1)
    assert await ask(call, b"text") == b"text"
    await has_ended(call)


async def test_all_parts_of_a_stream_arrive(daemon: Daemon) -> None:
    async def collect(parts: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for part in parts:
            yield part

    await daemon.add(collect, AveragingData)
    reader, writer = await daemon.called_by(1)
    for number in range(5):
        await P2P.send_protobuf(AveragingData(group_id=bytes([number])), writer)
        reply, _error = await P2P.receive_protobuf(AveragingData, reader)
        assert reply.group_id == bytes([number])
    await P2P.send_protobuf(P2P.END_OF_STREAM, writer)
    assert await reader.read() == b""


async def test_the_first_part_is_waited_for_no_longer(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_streams, "PART_SECONDS", 0.01)

    async def take(parts: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for part in parts:
            yield part

    await daemon.add(take, AveragingData)
    reader, _writer = await daemon.called_by(1)
    _reply, error = await P2P.receive_protobuf(AveragingData, reader)
    assert "TimeoutError" in error.message
    assert await reader.read() == b""


@pytest.mark.parametrize("sends", [False, True])
async def test_a_request_that_does_not_come_or_does_not_end_is_not_waited_for(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sends: bool
) -> None:
    monkeypatch.setattr(open_streams, "REQUEST_SECONDS", 0.01)
    await daemon.add(echo, ExpertRequest)
    call = await daemon.called_by(1)
    if sends:
        await P2P.send_protobuf(ExpertRequest(), call[1])
    await has_ended(call)


async def test_one_peer_has_few_streams(daemon: Daemon) -> None:
    waiting = asyncio.Event()

    async def wait(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.metadata == b"wait":
            await waiting.wait()
        yield ExpertResponse(metadata=b"answer")

    await daemon.add(wait, ExpertRequest)
    calls = [await daemon.called_by(1) for _ in range(open_streams.MOST_A_PEER)]
    answers = [asyncio.create_task(ask(call, b"wait")) for call in calls]
    while await ask(await daemon.called_by(1), b"one too many"):
        """Those before have not all arrived."""
    assert await ask(await daemon.called_by(2), b"of another") == b"answer"
    waiting.set()
    assert await asyncio.gather(*answers) == [b"answer"] * len(answers)
    assert await ask(await daemon.called_by(1), b"again") == b"answer"


async def test_who_says_nothing_gives_way(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "MOST_CALLS", 2)
    await daemon.add(echo, ExpertRequest)
    first, second = [await daemon.called_by(number) for number in (1, 2)]
    while not await _ended(first):
        assert await ask(await daemon.called_by(3), b"text") == b"text"
    assert await ask(second, b"text") == b"text"


async def _ended(call: Call) -> bool:
    try:
        async with asyncio.timeout(0.01):
            return await call[0].read(1) == b""
    except TimeoutError:
        return False


async def test_more_parts_than_an_answer_needs_are_not_kept(daemon: Daemon) -> None:
    async def refuse(parts: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        yield await anext(parts)

    await daemon.add(refuse, AveragingData)
    reader, writer = await daemon.called_by(1)
    for _part in range(10):
        await P2P.send_protobuf(AveragingData(group_id=b"part"), writer)
    reply, _error = await P2P.receive_protobuf(AveragingData, reader)
    assert reply.group_id == b"part"
    try:
        await has_ended((reader, writer))
    except ConnectionResetError:
        """It ended before all parts were read."""


async def test_who_hangs_up_is_not_worked_for(daemon: Daemon) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work(_request: Any, _context: Any) -> AsyncIterator[Any]:
        try:
            began.set()
            await asyncio.Future[Any]()
            yield
        finally:
            ended.set()

    await daemon.add(work, ExpertRequest)
    call = await daemon.called_by(1)
    answer = asyncio.create_task(ask(call, b"text"))
    await began.wait()
    call[1].close()
    await ended.wait()
    await answer


async def test_a_reply_that_nobody_reads_is_dropped(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def much(_request: Any, _context: Any) -> AsyncIterator[Any]:
        try:
            while True:
                yield ExpertResponse(metadata=bytes(2**18))
        finally:
            ended.set()

    monkeypatch.setattr(messages, "UNREAD_SECONDS", 0.02)
    await daemon.add(much, ExpertRequest)
    _reader, writer = await daemon.called_by(1)
    await P2P.send_protobuf(ExpertRequest(), writer)
    await P2P.send_protobuf(P2P.END_OF_STREAM, writer)
    await ended.wait()


async def test_a_failure_is_told(daemon: Daemon) -> None:
    async def fail(_request: Any, _context: Any) -> AsyncIterator[Any]:
        raise ValueError("why")
        yield

    await daemon.add(fail, ExpertRequest)
    reader, writer = await daemon.called_by(1)
    await P2P.send_protobuf(ExpertRequest(), writer)
    await P2P.send_protobuf(P2P.END_OF_STREAM, writer)
    _reply, error = await P2P.receive_protobuf(ExpertResponse, reader)
    assert error.message == "why"
