"""A second start and the door of the first, over a real socket."""

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
    yield short_folder / "door.sock"
    (short_folder / "door.sock").unlink(missing_ok=True)


@pytest.fixture
async def received(path: Path) -> AsyncIterator[list[Request]]:
    """What a door with a window behind it takes."""
    requests: list[Request] = []
    door = Listener(path, requests.append)
    await door.open()
    yield requests
    await door.close()


async def ask(path: Path, request: Request = INVITE) -> HandoverReply | None:
    return await asyncio.to_thread(hand_over, path, request)


async def say(path: Path, line: bytes) -> bytes:
    """What the door answers to anything."""
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


async def test_question_shows_nothing(path: Path, received: list[Request]) -> None:
    assert await ask(path, Request(show=False)) == HandoverReply(pid=os.getpid(), window=True)
    assert received == []


async def test_headless_says_that_it_has_no_window(path: Path) -> None:
    door = Listener(path, None)
    await door.open()
    assert await ask(path) == HandoverReply(pid=os.getpid(), window=False)
    await door.close()


async def test_socket_is_its_owners_alone(path: Path, received: list[Request]) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nobody_there(path: Path) -> None:
    assert await ask(path) is None


async def test_socket_of_a_run_that_crashed_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    assert await ask(path) is None
    requests: list[Request] = []
    door = Listener(path, requests.append)
    await door.open()
    assert await ask(path) is not None
    await door.close()
    assert not path.exists()


async def test_longest_link_is_taken_and_more_is_not(path: Path, received: list[Request]) -> None:
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
async def test_what_is_no_request_is_not_answered(
    path: Path, received: list[Request], line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await say(path, line) == b""
    assert received == []
    assert "nothing that we understand" in caplog.text
    assert await ask(path) is not None  # and the door stays open


async def test_silent_caller_is_sent_away(
    path: Path, received: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "PATIENCE", 0.05)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_door_closes_while_somebody_stands_in_it(path: Path) -> None:
    door = Listener(path, None)
    await door.open()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"show"')
    await writer.drain()
    await ask(path)  # so it has been let in
    await door.close()
    await door.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_folder_with_a_long_name_has_a_door_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    requests: list[Request] = []
    door = Listener(folder / "door.sock", requests.append)
    await door.open()
    assert await ask(folder / "door.sock") is not None
    await door.close()
    assert requests == [INVITE]


def test_running_instance_that_says_nonsense_is_none(path: Path) -> None:
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
async def test_second_instance_is_told_who_is_there(
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


async def test_door_can_be_closed_before_the_folder_is_given_back(folders: Folders) -> None:
    first = Instance(folders)
    await first.take()
    await first.close_door()
    with pytest.raises(BusyError, match="another CoTrain Contributor"):
        await Instance(folders).take()
    await first.release()
