"""A second start and the listener of the first, over a real socket."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.common.errors import BusyError
from app.common.paths import Folders
from app.lifecycle import handover
from app.lifecycle.handover import HandoverReply, Listener, Request, hand_over
from app.lifecycle.instance import Instance

INVITE = Request(show=True, invite="cotrain://join?v=1&spec=abc", activation="token")


@pytest.fixture
def path(short_folder: Path) -> Iterator[Path]:
    yield short_folder / "handover.sock"
    (short_folder / "handover.sock").unlink(missing_ok=True)


@pytest.fixture
async def received(path: Path) -> AsyncIterator[list[Request]]:
    """The requests that a listener with a window receives."""
    requests: list[Request] = []
    listener = Listener(path, requests.append)
    await listener.open()
    yield requests
    await listener.close()


async def ask(path: Path, request: Request = INVITE) -> HandoverReply | None:
    return await asyncio.to_thread(hand_over, path, request)


async def say(path: Path, line: bytes) -> bytes:
    """The listener's reply to any bytes."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_request_arrives_whole(path: Path, received: list[Request]) -> None:
    assert await ask(path) == HandoverReply(pid=os.getpid(), window=True)
    assert received == [INVITE]


async def test_request_without_show_isnt_passed_on(path: Path, received: list[Request]) -> None:
    assert await ask(path, Request(show=False)) == HandoverReply(pid=os.getpid(), window=True)
    assert received == []


async def test_headless_instance_replies_that_it_has_no_window(path: Path) -> None:
    listener = Listener(path, None)
    await listener.open()
    assert await ask(path) == HandoverReply(pid=os.getpid(), window=False)
    await listener.close()


async def test_socket_is_its_owners_alone(path: Path, received: list[Request]) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_without_a_running_instance_there_is_no_reply(path: Path) -> None:
    assert await ask(path) is None


async def test_socket_of_a_run_that_crashed_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    assert await ask(path) is None
    requests: list[Request] = []
    listener = Listener(path, requests.append)
    await listener.open()
    assert await ask(path) is not None
    await listener.close()
    assert not path.exists()


async def test_longest_link_is_received_and_a_longer_one_is_not(
    path: Path, received: list[Request]
) -> None:
    fits = Request(show=True, invite="x" * (handover.MAX_LINE - 100))
    assert await ask(path, fits) is not None
    assert await ask(path, Request(show=True, invite="x" * handover.MAX_LINE * 2)) is None
    assert received == [fits]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b"\xff\n",
        b'{"show": true}',
        b'{"show": "yes"}\n',
        b'{"show": true, "version": 2}\n',
        b'{"show": true, "run": "rm"}\n',
        b'{"show": true, "invite": 7}\n',
        b"[" * 10_000 + b"\n",
    ],
)
async def test_malformed_request_gets_no_reply(
    path: Path, received: list[Request], line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await say(path, line) == b""
    assert received == []
    assert "sent no valid request" in caplog.text
    assert await ask(path) is not None  # the listener still listens


async def test_silent_connection_is_closed(
    path: Path, received: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "PATIENCE", 0.05)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_listener_closes_with_a_connection_open(path: Path) -> None:
    listener = Listener(path, None)
    await listener.open()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"show"')
    await writer.drain()
    await ask(path)  # by now the first connection was accepted too
    await listener.close()
    await listener.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_listener_works_in_a_folder_with_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    requests: list[Request] = []
    listener = Listener(folder / "handover.sock", requests.append)
    await listener.open()
    assert await ask(folder / "handover.sock") is not None
    await listener.close()
    assert requests == [INVITE]


def test_malformed_reply_counts_as_none(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        other.settimeout(5)
        import threading

        def answer() -> None:
            connection, _address = other.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(json.dumps({"pid": "me"}).encode() + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert hand_over(path, INVITE) is None
        thread.join()


# --- the instance --------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders.under(tmp_path / "data")


@pytest.mark.parametrize(
    ("has_window", "told"), [(True, "is open already"), (False, "without a window")]
)
async def test_second_instance_names_the_running_one(
    folders: Folders, has_window: bool, told: str
) -> None:
    requests: list[Request] = []
    first = Instance(folders)
    await first.take(requests.append if has_window else None)
    with pytest.raises(BusyError, match=told) as caught:
        await Instance(folders).take()
    assert str(os.getpid()) in caught.value.message
    assert await ask(folders.door_file) is not None
    await first.release()
    await first.release()
    assert len(requests) == has_window
    assert await ask(folders.door_file) is None


async def test_listener_can_be_closed_before_the_folder_is_unlocked(folders: Folders) -> None:
    first = Instance(folders)
    await first.take()
    await first.close_listener()
    with pytest.raises(BusyError, match="another CoTrain Contributor"):
        await Instance(folders).take()
    await first.release()
