"""A second start of the app hands its invite over to the instance that runs already.

The running instance listens on a Unix socket in its data folder (mode 0600). A connection carries
one request and one reply, each a line of JSON.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from app.common.background import end

log = logging.getLogger(__name__)

MAX_LINE = 64 * 1024
"""Bytes in a line; enough for the longest invite link."""

PATIENCE = 15.0
"""Seconds to wait for the other process: imports may block its event loop, on a busy machine
for long."""

MAX_PATH = 100
"""Bytes that a socket's path may have on every platform."""


class Request(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Sent by the second start."""

    version: Literal[1] = 1
    show: bool
    """Bring the window to the front; False only asks which instance is running."""

    invite: str = ""
    """A link, the absolute path of an invite file, or ""."""

    data: dict[str, str] = {}
    """Absolute paths for the slots of swarms, by label."""

    activation: str = ""
    """The second start's XDG activation token: with it, Wayland lets our window take the focus."""


class HandoverReply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sent by the running instance."""

    version: Literal[1] = 1
    pid: int
    window: bool
    """False when the instance is headless."""


Receive = Callable[[Request], None]
"""Called on the event loop's thread with each request whose ``show`` is True."""


def hand_over(path: Path, request: Request) -> HandoverReply | None:
    """Send a request to the instance that listens on this socket; None when none replies.

    Blocks for `PATIENCE` seconds at most.
    """
    with suppress(OSError, msgspec.MsgspecError), _short(path) as address:
        return _ask(address, request)
    return None


def _ask(address: str, request: Request) -> HandoverReply:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(msgspec.json.encode(request) + b"\n")
        with connection.makefile("rb") as stream:
            return msgspec.json.decode(stream.readline(MAX_LINE), type=HandoverReply)


class Listener:
    """Listens for second starts, from `open` to `close`.

    receive: see `Receive`; None when there is no window that could come to the front.
    """

    def __init__(self, path: Path, receive: Receive | None) -> None:
        self._path = path
        self._receive = receive
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen on the socket.

        The caller holds the data folder's lock, so a socket file that exists already belongs to no
        running instance and is replaced. Without a socket (a warning is logged), a second start
        still ends with `BusyError`.
        """
        try:
            listening = _listening_socket(self._path)
        except OSError as error:
            log.warning("a second start can't hand over to this one: %s", error)
            return
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=MAX_LINE)

    async def close(self) -> None:
        """Close the socket and the open connections. May be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await end(*self._tasks)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                request = await self._exchange(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            log.warning("a second start sent no valid request: %r", error)
            return
        finally:
            writer.close()
        if request.show and self._receive is not None:
            self._receive(request)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Request:
        line = await reader.readuntil(b"\n")
        request = msgspec.json.decode(line, type=Request)  # its errors are ValueErrors
        reply = HandoverReply(pid=os.getpid(), window=self._receive is not None)
        writer.write(msgspec.json.encode(reply) + b"\n")
        await writer.drain()
        return request


def _listening_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with ExitStack() as on_failure:
        on_failure.enter_context(made)
        with _short(path) as address:
            made.bind(address)
        path.chmod(0o600)  # before anybody can connect
        made.listen()
        on_failure.pop_all()
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for a socket of at most `MAX_PATH` bytes.

    A longer path is replaced by ``/proc/self/fd/N/name``, where N is its folder's open descriptor.
    Only Linux has that: elsewhere the socket call fails with `OSError`.
    """
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
