"""Can a peer be reached from here? Asked as a stranger would.

Our own node can't tell: a peer that has called on us can be answered on the same connection, even
from behind a wall that lets nobody in. So a daemon of its own calls, which nobody knows.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.background import end
from app.common.errors import BusyError, ConnectError
from app.common.i18n import _
from app.p2p.peer import peer_id_of

log = logging.getLogger(__name__)

CALL_SECONDS = 6.0
TRIES, RETRY_SECONDS = 4, 0.5
START_SECONDS = 15.0
MOST_CALLS = 4
"""At the same time: each has a daemon, of some 50 MB."""


@dataclass(frozen=True, kw_only=True)
class Reachability:
    """Whether a peer can be reached, and how or why not, in words."""

    success: bool
    message: str


class Prober:
    """Calls on peers of a network. entries: multiaddrs by which it is entered, asked for each
    time."""

    def __init__(self, entries: Callable[[], Sequence[str]]) -> None:
        self._entries = entries
        self._calls: dict[str, asyncio.Task[Reachability]] = {}

    async def probe(self, peer_id: str) -> Reachability:
        """Call on a peer. Raises `BusyError` when too many are asked about at once, and
        `ConnectError` for what is no peer id, or when we can't call on anybody."""
        call = self._calls.get(peer_id)
        if call is None:
            peer = peer_id_of(peer_id)
            if len(self._calls) >= MOST_CALLS:
                raise BusyError(_("too many peers are asked about at once. Try again soon."))
            call = self._calls[peer_id] = asyncio.create_task(self._call(peer))
            call.add_done_callback(lambda _done: self._calls.pop(peer_id, None))
        return await asyncio.shield(call)  # who asks may hang up, and others ask the same

    async def _call(self, peer: Any) -> Reachability:
        async with self._daemon() as p2p:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await _connect(p2p, peer)
                    return _reached(peer, await p2p.list_peers())
            except TimeoutError:
                return Reachability(success=False, message=_("the peer doesn't answer."))
            except Exception as error:  # noqa: BLE001  hivemind raises what its daemon said
                log.debug("%s can't be reached: %r", peer, error)
                return Reachability(success=False, message=_("the peer can't be reached."))

    @contextlib.asynccontextmanager
    async def _daemon(self) -> AsyncIterator[Any]:
        from hivemind.p2p import P2P

        try:
            p2p = await P2P.create(
                initial_peers=list(self._entries()),
                dht_mode="client",
                no_listen=True,
                auto_nat=False,
                nat_port_map=False,
                startup_timeout=START_SECONDS,
            )
        except Exception as error:
            raise ConnectError(_("the door itself can't call on anybody just now.")) from error
        try:
            yield p2p
        finally:
            await p2p.shutdown()

    async def close(self) -> None:
        """End the calls under way. May be called twice."""
        await end(*self._calls.values())


async def _connect(p2p: Any, peer: Any) -> None:
    """Raises what hivemind's daemon says when it fails for good: one that has just started may not
    have found its way into the network yet."""
    for left in reversed(range(TRIES)):
        try:
            await p2p._client.connect(peer, [])  # noqa: SLF001
            return
        except Exception:
            if not left:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def _reached(peer: Any, connected: Iterable[Any]) -> Reachability:
    ways = [str(way) for each in connected if each.peer_id == peer for way in each.addrs]
    if ways and all("/p2p-circuit" in way for way in ways):
        return Reachability(success=True, message=_("the peer can be reached through a relay."))
    return Reachability(success=True, message=_("the peer can be reached."))
