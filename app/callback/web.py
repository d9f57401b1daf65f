"""A web server in the app's loop: load, find a port, serve, end."""

import asyncio
import contextlib
import errno
import gc
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.common.background import end, survived
from app.common.errors import SettingsError
from app.common.i18n import _
from app.settings.settings import Settings
from app.state.facts import LocalApi

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

PORTS_TRIED = 20
CLOSE_SECONDS = 4.0
BACKLOG = 128


class WebServer:
    """Serves one ASGI application from `start` to `close`, where the settings' ``callback_…`` say.

    ended: called when it serves no more, for whatever reason.
    """

    def __init__(self, settings: Settings, *, ended: Callable[[], None]) -> None:
        self._settings = settings
        self._ended = ended
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, make: Callable[[], Any], *, or_next_port: bool = True) -> LocalApi:
        """Serve the application that ``make`` builds, in a thread, as that takes some tenths of a
        second; returns where. or_next_port: when the wanted one is taken.

        Raises `SettingsError` for an address or a certificate that can't be used.
        """
        settings = self._settings
        if bool(settings.callback_certificate) != bool(settings.callback_key):
            raise SettingsError(
                _("a certificate and its key must be given together."),
                field="callback_key" if settings.callback_certificate else "callback_certificate",
            )
        listening = listen(settings.callback_host, settings.callback_port, or_next=or_next_port)
        with contextlib.ExitStack() as on_failure:
            on_failure.enter_context(listening)
            self._server = await asyncio.to_thread(self._load, make)
            on_failure.pop_all()
        gc.freeze()  # what was imported stays: no collection needs to look at it again
        self._serving = asyncio.create_task(self._serve(self._server, listening))
        return self._address(listening.getsockname()[1])

    def _load(self, make: Callable[[], Any]) -> "uvicorn.Server":
        from app.callback import http

        settings, app = self._settings, make()
        try:
            config = http.configured(
                app, certificate=settings.callback_certificate, key=settings.callback_key
            )
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                _("the certificate or its key can't be read: {reason}.").format(reason=error),
                field="callback_certificate",
                remedy=_("Both must be PEM files that belong together."),
            ) from error
        return http.Server(config)

    async def _serve(self, server: "uvicorn.Server", listening: socket.socket) -> None:
        try:
            with survived(log, "the web server failed"):
                await server.serve(sockets=[listening])
        finally:
            listening.close()
            self._ended()

    def _address(self, port: int) -> LocalApi:
        settings = self._settings
        scheme = "https" if settings.callback_certificate else "http"
        host = settings.callback_host
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return LocalApi(url=url, port=port, wanted_port=settings.callback_port)

    async def close(self) -> None:
        """Take no more calls, end those under way, within a time. May be called twice."""
        serving, self._serving = self._serving, None
        if serving is None or self._server is None:
            return
        self._server.should_exit = True
        _, late = await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
        if late:
            log.warning("the web server took more than %.0f s to close", CLOSE_SECONDS)
            await end(serving)


def listen(host: str, wanted: int, *, or_next: bool) -> socket.socket:
    """A socket that listens on the wanted port, or, when it is taken, on the next free one.

    Raises `SettingsError` for an address that isn't this machine's, and when no port is free.
    """
    others = [*range(wanted + 1, wanted + PORTS_TRIED), 0] if wanted and or_next else []
    candidates = [wanted, *others]
    for port in candidates:
        if port > 65535:
            continue
        try:
            return _listen(host, port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                text = _("can't listen on {host}: {reason}.")
                raise SettingsError(
                    text.format(host=host, reason=error.strerror), field="callback_host"
                ) from error
    text = _("no port is free on {host}.") if or_next else _("port {port} of {host} is taken.")
    raise SettingsError(text.format(host=host, port=wanted), field="callback_port")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is said: else asyncio wouldn't switch Nagle's delay off, 40 ms for each reply.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made
