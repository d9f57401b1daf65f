"""The life of the local API: load, find a port, serve in the app's loop, end."""

import asyncio
import errno
import gc
import logging
import socket
from typing import TYPE_CHECKING

from app.callback.host import Host, Sources
from app.callback.tokens import Tokens
from app.errors import SettingsError
from app.i18n import _
from app.local_api import LocalApi, LocalApiChanged
from app.logs import AuditLog
from app.tasks import Tasks

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

PORTS_TRIED = 20
CLOSE_SECONDS = 4.0
BACKLOG = 128


class Callback:
    """The local API of one session. A front end starts it once the session is open, and closes
    it before the session."""

    def __init__(self, host: Host, *, tasks: Tasks, sources: Sources | None = None) -> None:
        self._host = host
        self._tasks = tasks
        self._sources = sources or Sources()
        self._closing = asyncio.Event()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._audit: AuditLog | None = None
        self.tokens: Tokens | None = None

    async def start(self) -> None:
        """Serve; the state then says where. Nothing happens when the settings don't want it.

        Raises `SettingsError` for an address or a certificate that can't be used.
        """
        settings = self._host.settings
        if not settings.callback:
            return
        if bool(settings.callback_certificate) != bool(settings.callback_key):
            raise SettingsError(
                _("a certificate and its key must be given together."),
                field="callback_key" if settings.callback_certificate else "callback_certificate",
            )
        listening = listen(settings.callback_host, settings.callback_port)
        try:
            self._server = await asyncio.to_thread(self._load)
        except BaseException:
            listening.close()
            raise
        gc.freeze()  # what was imported stays: no collection needs to look at it again
        self._serving = asyncio.create_task(self._serve(self._server, listening))
        self._announce(listening.getsockname()[1])

    def _load(self) -> "uvicorn.Server":
        """What takes some tenths of a second, for a thread."""
        from app.callback import api, http

        settings, folders = self._host.settings, self._host.folders
        self.tokens = Tokens(folders.callback_tokens)
        self._audit = AuditLog(folders.logs)
        app = api.build(
            self._host,
            tasks=self._tasks,
            tokens=self.tokens,
            audit=self._audit,
            sources=self._sources,
            closing=self._closing,
        )
        app.openapi()  # made now, not while somebody waits for it on the loop
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
            await server.serve(sockets=[listening])
        except Exception:
            log.exception("the local API failed")
        finally:
            listening.close()
            self._host.dispatch(LocalApiChanged(local_api=None))

    def _announce(self, port: int) -> None:
        settings = self._host.settings
        scheme = "https" if settings.callback_certificate else "http"
        host = settings.callback_host
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        wanted = settings.callback_port
        if wanted not in (0, port):
            log.warning("port %d is taken: the local API is at %s", wanted, url)
        else:
            log.info("the local API is at %s", url)
        if host not in ("127.0.0.1", "::1") and scheme == "http":
            log.warning("the local API is open to the network without https: tokens can be read")
        api = LocalApi(url=url, port=port, wanted_port=wanted)
        self._host.dispatch(LocalApiChanged(local_api=api))

    async def close(self) -> None:
        """Take no more calls, end those under way, within a time. May be called twice."""
        self._closing.set()
        serving, self._serving = self._serving, None
        if serving is not None and self._server is not None:
            self._server.should_exit = True
            _, late = await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
            if late:
                log.warning("the local API took more than %.0f s to close", CLOSE_SECONDS)
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        await self._tasks.close()
        if self._audit is not None:
            self._audit.close()


def listen(host: str, wanted: int) -> socket.socket:
    """A socket that listens on the wanted port, or, when it is taken, on the next free one.

    Raises `SettingsError` for an address that isn't this machine's.
    """
    candidates = [wanted] if wanted == 0 else [*range(wanted, wanted + PORTS_TRIED), 0]
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
    raise SettingsError(_("no port is free on {host}.").format(host=host), field="callback_port")


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
