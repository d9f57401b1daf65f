"""Runs the local API of a session: loads it in a thread, serves it, announces its address."""

import asyncio
import logging
from typing import TYPE_CHECKING

from app.callback.host import Host, Sources
from app.callback.tokens import ApiTokens
from app.callback.web import WebServer
from app.common.addresses import is_loopback
from app.common.logs import AuditLog
from app.state.events import LocalApiChanged
from app.state.facts import LocalApi
from app.tasks.tasks import Tasks

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)


class Callback:
    """The local API of one session.

    A front end starts it once the session is open, and closes it before the session.
    """

    def __init__(self, host: Host, *, tasks: Tasks, sources: Sources | None = None) -> None:
        self._host = host
        self._tasks = tasks
        self._sources = sources or Sources()
        self._closing = asyncio.Event()
        self._web: WebServer | None = None
        self._audit: AuditLog | None = None
        self.tokens: ApiTokens | None = None

    async def start(self) -> None:
        """Serve, and put the address into the state. Does nothing if the settings say so.

        Raises `SettingsError` for an address or a certificate that can't be used.
        """
        if self._host.store.settings.callback:
            self._web = WebServer(self._host.store.settings, ended=self._ended)
            self._announce(await self._web.start(self._make))

    def _make(self) -> "FastAPI":
        from app.callback import api

        folders = self._host.folders
        self.tokens = ApiTokens(folders.callback_tokens)
        self._audit = AuditLog(folders.logs)
        app = api.build(
            self._host,
            tasks=self._tasks,
            tokens=self.tokens,
            audit=self._audit,
            sources=self._sources,
            closing=self._closing,
        )
        app.openapi()  # made here in the thread; at the first call it would block the loop
        return app

    def _announce(self, api: LocalApi) -> None:
        settings = self._host.store.settings
        if api.wanted_port not in (0, api.port):
            log.warning("port %d is taken: the local API is at %s", api.wanted_port, api.url)
        else:
            log.info("the local API is at %s", api.url)
        if not is_loopback(settings.callback_host) and not settings.callback_certificate:
            log.warning("the local API is open to the network without https: tokens can be read")
        self._host.store.dispatch(LocalApiChanged(local_api=api))

    def _ended(self) -> None:
        self._host.store.dispatch(LocalApiChanged(local_api=None))

    async def close(self) -> None:
        """Take no more calls, and end those in progress in time. May be called twice."""
        self._closing.set()
        if self._web is not None:
            await self._web.close()
        await self._tasks.close()
        if self._audit is not None:
            self._audit.close()
