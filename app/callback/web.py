"""Runs a web server in the app's loop: finds a port, loads the application, serves, closes."""

import asyncio
import contextlib
import errno
import gc
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.common.background import end, survived
from app.common.errors import PortTakenError, SettingsError
from app.common.i18n import _
from app.settings.settings import Settings
from app.state.facts import LocalApi

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

PORTS_TRIED = 20
"""Ports that are tried from the wanted one on; after these the system chooses one."""

CLOSE_SECONDS = 4.0
"""How long calls in progress may take when the server closes."""

BACKLOG = 128
"""Connections that may wait to be accepted."""


class WebServer:
    """Serves one ASGI application from `start` to `close`.

    settings: those named ``callback_…`` give the address and the certificate. ended: called when
    it has stopped serving, for whatever reason.
    """

    def __init__(self, settings: Settings, *, ended: Callable[[], None]) -> None:
        self._settings = settings
        self._ended = ended
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, make: Callable[[], Any], *, or_next_port: bool = True) -> LocalApi:
        """Serve the application that ``make`` returns; returns the address.

        make: called in a thread, because it takes some tenths of a second. or_next_port: if the
        wanted port is taken, use another one.

        Raises `SettingsError` for an address or a certificate that can't be used, and
        `PortTakenError`.
        """
        settings = self._settings
        await asyncio.to_thread(check_certificate, settings)
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

        settings = self._settings
        return http.Server(
            http.configured(
                make(), certificate=settings.callback_certificate, key=settings.callback_key
            )
        )

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
        """Take no more calls, and end those in progress within `CLOSE_SECONDS`.

        May be called twice.
        """
        serving, self._serving = self._serving, None
        if serving is None or self._server is None:
            return
        self._server.should_exit = True
        _, late = await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
        if late:
            log.warning("the web server took more than %.0f s to close", CLOSE_SECONDS)
            await end(serving)


def check_certificate(settings: Settings) -> None:
    """Raises `SettingsError` for a certificate or a key that can't be used."""
    certificate, key = settings.callback_certificate, settings.callback_key
    if bool(certificate) != bool(key):
        raise SettingsError(
            _("a certificate and its key must be given together."),
            field="callback_key" if certificate else "callback_certificate",
        )
    if not certificate:
        return
    import ssl

    try:
        # an encrypted key would be asked for at the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            _("the certificate or its key can't be read: {reason}.").format(reason=error),
            field="callback_certificate",
            remedy=_("Both must be PEM files that belong together, the key without a password."),
        ) from error


def listen(host: str, wanted: int, *, or_next: bool) -> socket.socket:
    """A socket that listens on the wanted port.

    or_next: if it is taken, listen on the next free one. Raises `SettingsError` for an address that
    isn't this machine's, and `PortTakenError` when no port is free.
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
    raise PortTakenError(text.format(host=host, port=wanted), field="callback_port")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only if the protocol is given; it costs 40 ms a reply.
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
