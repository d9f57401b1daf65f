"""Chooses the way that a report goes: over HTTP, or over Socket.IO where HTTP doesn't work."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.backend.client import Backend
from app.backend.errors import RefusedError
from app.backend.http import Http
from app.backend.node import NodeSource
from app.contributions.accounting import Contribution

if TYPE_CHECKING:
    from app.backend.live import LiveChannel

log = logging.getLogger(__name__)

HTTP = "http"
SOCKET_IO = "socket.io"

HTTP_AGAIN_SECONDS = 6 * 3600.0
"""How long reports go over Socket.IO after HTTP has refused one; then HTTP is tried again."""


class Ways:
    """Sends reports over HTTP, and over Socket.IO while HTTP has the defect `RefusedError.quirk`.

    node: asked for this machine's data when the node is registered. clock: monotonic seconds.
    """

    def __init__(
        self,
        http: Http,
        *,
        backend: Backend,
        node: NodeSource,
        clock: Callable[[], float] = time.monotonic,
        http_again: float = HTTP_AGAIN_SECONDS,
    ) -> None:
        self._http = http
        self._backend = backend
        self._node = node
        self._clock = clock
        self._http_again = http_again
        self._refused_at: float | None = None
        self._registered = ""
        self._live: LiveChannel | None = None

    @property
    def wait(self) -> float:
        """Seconds until the next report may be sent, by the way that it would go."""
        return 0.0 if self._goes_live else self._http.budget.wait

    @property
    def connections(self) -> int:
        """How many Socket.IO connections were made; a new one tells that the last one was lost."""
        return 0 if self._live is None else self._live.connections

    @property
    def _goes_live(self) -> bool:
        refused_at = self._refused_at
        return refused_at is not None and self._clock() - refused_at < self._http_again

    async def submit(self, contribution: Contribution) -> str:
        """Report a contribution; returns the way that it went, `HTTP` or `SOCKET_IO`.

        Errors are those of `Backend.submit`.
        """
        if not self._goes_live:
            try:
                await self._register(contribution.participant)
                await self._backend.submit(contribution)
            except RefusedError as error:
                if not error.quirk:
                    raise
                log.info("the backend refuses reports over HTTP: they go over Socket.IO")
                self._refused_at = self._clock()
            else:
                self._refused_at = None
                await self.close()
                return HTTP
        await (await self._channel()).submit(contribution)
        return SOCKET_IO

    async def _register(self, node_id: str) -> None:
        """Register the node over HTTP, once in a run of the app.

        A refusal counts as done, because reports are accepted without it.
        """
        if node_id == self._registered:
            return
        try:
            await self._backend.register_node(node_id, self._node.data())
        except RefusedError as error:
            log.info("the backend doesn't register the node over HTTP: %s", error.text)
        self._registered = node_id

    async def _channel(self) -> "LiveChannel":
        if self._live is None:
            await asyncio.to_thread(_load_libraries)  # takes half a second
            from app.backend.live import LiveChannel

            self._live = LiveChannel(self._http, node=self._node)
        return self._live

    async def close(self) -> None:
        """Close the Socket.IO connection. May be called twice; the next report opens a new one."""
        if self._live is not None:
            await self._live.close()


def _load_libraries() -> None:
    import app.backend.live  # noqa: F401
