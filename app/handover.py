"""A second start hands what it was given over to the instance that runs already.

That one listens at a Unix socket in its data folder, which is its owner's alone. A connection
carries one request and one answer, a line of JSON each.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from app.background import end

log = logging.getLogger(__name__)

MAX_LINE = 64 * 1024
"""Bytes. Room for an invite link at its longest."""

PATIENCE = 15.0
"""Seconds for the other side to answer; its loop may be busy importing, on a busy machine."""

MAX_PATH = 100
"""Bytes that every platform has room for in the name of a socket."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From the second start. show: come to the front; without it, only who is there is asked.

    invite: a link, or the absolute path of a file, or "". activation: what a Wayland desktop
    gave the second start so that its window may take the focus.
    """

    version: Literal[1] = 1
    show: bool
    invite: str = ""
    activation: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From the running instance. window: False for a headless one, which can show nothing."""

    version: Literal[1] = 1
    pid: int
    window: bool


Receive = Callable[[Request], None]


def hand_over(door: Path, request: Request) -> Answer | None:
    """Tell the running instance, and hear who it is; None when none answers.

    Blocks for `PATIENCE` seconds at most.
    """
    with suppress(OSError, msgspec.MsgspecError), _short(door) as address:
        return _ask(address, request)
    return None


def _ask(address: str, request: Request) -> Answer:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(msgspec.json.encode(request) + b"\n")
        with connection.makefile("rb") as stream:
            return msgspec.json.decode(stream.readline(MAX_LINE), type=Answer)


class Door:
    """Listens for second starts, from `open` to `close`.

    receive: called on the loop's thread with each request to show something; None when there
    is no window to show it in.
    """

    def __init__(self, path: Path, receive: Receive | None) -> None:
        self._path = path
        self._receive = receive
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. The caller holds the data folder's lock, so an old socket is nobody's.

        Where there can be no socket, a second start is refused instead, as it would be anyway.
        """
        try:
            listening = _listening_socket(self._path)
        except OSError as error:
            log.warning("a second start can't hand over to this one: %s", error)
            return
        self._server = await asyncio.start_unix_server(self._knock, sock=listening, limit=MAX_LINE)

    async def close(self) -> None:
        """Listen no more. May be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await end(*self._tasks)
        self._path.unlink(missing_ok=True)

    def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._admit(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                request = await self._answer(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            log.warning("a second start said nothing that we understand: %r", error)
            return
        finally:
            writer.close()
        if request.show and self._receive is not None:
            self._receive(request)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        line = await reader.readuntil(b"\n")
        request = msgspec.json.decode(line, type=Request)  # its errors are ValueErrors
        answer = Answer(pid=os.getpid(), window=self._receive is not None)
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()
        return request


def _listening_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as address:
            made.bind(address)
        path.chmod(0o600)  # before anybody can connect
        made.listen()
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a socket that is short enough, by way of its open folder where it isn't.

    Raises `OSError` where there is no such way (that is Linux's).
    """
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
