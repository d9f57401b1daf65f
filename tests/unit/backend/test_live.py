"""What a hostile backend can do over Socket.IO: nothing but make a report uncertain."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

from app.backend import live
from app.backend.errors import BackendError, UncertainError, UnreachableError
from app.backend.http import Http
from app.backend.live import LiveChannel
from app.common.plain import MOST_CHARACTERS
from tests.support.backend.hostile import most_memory
from tests.support.backend.reporting import UnknownNode, contribution

# engineio drops a connection that begins oddly, without closing it; the session closes it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MEGABYTE = 2**20
HELLO = '0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
WELCOME = '40/hivemind,{"sid":"b"}'

Script = Callable[[web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def speaking(script: Script) -> AsyncIterator[str]:
    """A WebSocket server that says what the script says; returns its address."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        channel = web.WebSocketResponse()
        await channel.prepare(request)
        try:
            await script(channel)
            async for _message in channel:
                pass
        except ConnectionError:
            pass
        return channel

    application = web.Application()
    application.router.add_get("/socket.io/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def failure(url: str, *, connects: float = 60.0, patience: float = 1.0) -> BackendError:
    """The error of a report. connects: seconds for what comes before the report itself."""
    client = Http(url, timeout=connects)
    channel = LiveChannel(client, node=UnknownNode())
    beat = live._beat

    async def last_beat(connection: live._Connection) -> None:
        await beat(connection)
        client.timeout = patience

    try:
        with (
            mock.patch.object(live, "_beat", last_beat),
            pytest.raises(BackendError) as raised,
        ):
            await channel.submit(contribution())
    finally:
        await channel.close()
        await client.close()
    return raised.value


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """No task fails where nobody looks: each such failure would be a traceback in the log."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: failures.append(context)
    )
    yield
    async with asyncio.timeout(60):
        while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0)
    assert failures == []


async def welcome(channel: web.WebSocketResponse) -> None:
    """Answer like a backend up to the report."""
    await channel.send_str(HELLO)
    await channel.receive()
    await channel.send_str(WELCOME)
    await channel.receive()
    await channel.send_str('42/hivemind,["registration_success",{}]')
    await channel.receive()
    await channel.send_str('42/hivemind,["heartbeat_ack",{}]')
    await channel.receive()


ANSWERS = {
    "a long text": '["contribution_error",{"message":"' + "x\\u202e\\n" * 5000 + '"}]',
    "a long text without a message": '["contribution_error",' + "[1]" + "]",
    "a huge text": '["contribution_error",{"message":"' + "x" * 4 * MEGABYTE + '"}]',
    "another session": '["contribution_confirmed",{"sessionId":8}]',
    "nested deeply": "[" * 60_000,
    "no event": "{}",
    "an object as name": '[{"a":1},{}]',
    "no JSON": "[",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_odd_answer_is_no_confirmation(quiet: None, answer: str) -> None:
    async def script(channel: web.WebSocketResponse) -> None:
        await welcome(channel)
        await channel.send_str(f"42/hivemind,{answer}")

    async with speaking(script) as url:
        error = await failure(url)
    assert isinstance(error, UncertainError)
    assert len(error.text) < MOST_CHARACTERS + 200
    assert error.text.isprintable()


BEGINNINGS: dict[str, list[str | bytes]] = {
    "no object": ["0[]"],
    "no text": ["0"],
    "a text": ['0"sid"'],
    "too little": ['0{"sid":"a"}'],
    "odd times": ['0{"sid":"a","upgrades":[],"pingInterval":"x","pingTimeout":{}}'],
    "huge": ["0" + " " * MEGABYTE],
    "a list as welcome": [HELLO, "40/hivemind,[1]"],
    "a refusal": [HELLO, "44/hivemind," + '"' + "x" * 50_000 + '"'],
    "bytes": [HELLO, b"4\xff\xff"],
    "nothing": [],
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_an_odd_beginning_is_a_failure(quiet: None, beginning: list[str | bytes]) -> None:
    async def script(channel: web.WebSocketResponse) -> None:
        for each in beginning:
            await (channel.send_str(each) if isinstance(each, str) else channel.send_bytes(each))

    async with speaking(script) as url:
        error = await failure(url, connects=1.0)
    assert isinstance(error, UnreachableError)
    assert len(error.text) < MOST_CHARACTERS + 300


async def test_attachments_are_not_collected(quiet: None) -> None:
    async def script(channel: web.WebSocketResponse) -> None:
        await welcome(channel)
        await channel.send_str('4599999999-/hivemind,["contribution_confirmed",{}]')
        for _each in range(2000):
            await channel.send_bytes(bytes(60_000))

    async with speaking(script) as url:
        assert await most_memory(failure(url, patience=5.0)) < 16 * MEGABYTE


async def test_pings_whose_answers_nobody_reads_take_little_memory(quiet: None) -> None:
    async def script(channel: web.WebSocketResponse) -> None:
        await welcome(channel)
        for _each in range(4000):
            await channel.send_str("2" + "x" * 60_000)

    async with speaking(script) as url:
        assert await most_memory(failure(url, patience=2.0)) < 64 * MEGABYTE
