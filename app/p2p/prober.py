"""Whether a peer can be reached from here, asked as a stranger would.

Our own node can't tell: a peer that has called us can be answered on the same connection, even
when its firewall lets nobody in. So each probe has a daemon of its own, which nobody knows.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.background import end
from app.common.errors import BusyError, ConnectError
from app.common.i18n import _
from app.p2p import calls
from app.p2p.calls import CallError, PeerConnection
from app.p2p.peer import check_peer_id

log = logging.getLogger(__name__)

PROBE_SECONDS = 6.0
TRIES, RETRY_SECONDS = 4, 0.5
START_SECONDS = 15.0
MOST_PROBES = 4
"""At the same time: each has a daemon, of some 50 MB."""


@dataclass(frozen=True, kw_only=True)
class Reachability:
    """Whether a peer can be reached."""

    success: bool
    message: str
    """How it is reached, or why not, in words."""


class Prober:
    """Probes the peers of a network."""

    def __init__(self, entries: Callable[[], Sequence[str]]) -> None:
        """entries: called for each probe; gives multiaddrs of peers by which the network is
        entered."""
        self._entries = entries
        self._probes: dict[str, asyncio.Task[Reachability]] = {}

    async def probe(self, peer_id: str) -> Reachability:
        """Call a peer. Raises `BusyError` when too many are being probed, and `ConnectError` when
        the text is no peer id or we can't call anybody."""
        task = self._probes.get(peer_id)
        if task is None:
            check_peer_id(peer_id)
            if len(self._probes) >= MOST_PROBES:
                raise BusyError(_("too many peers are asked about at once. Try again soon."))
            task = self._probes[peer_id] = asyncio.create_task(self._call(peer_id))
            task.add_done_callback(lambda _done: self._probes.pop(peer_id, None))
        # one caller may hang up while others wait for the same probe
        return await asyncio.shield(task)

    async def _call(self, peer_id: str) -> Reachability:
        try:
            async with calls.client_daemon(self._entries(), seconds=START_SECONDS) as p2p:
                return await _probe(p2p, peer_id)
        except CallError as error:
            raise ConnectError(_("the door itself can't call on anybody just now.")) from error

    async def close(self) -> None:
        """End the probes under way. May be called twice."""
        await end(*self._probes.values())


async def _probe(p2p: Any, peer_id: str) -> Reachability:
    try:
        async with calls.within(PROBE_SECONDS, peer_id=peer_id):
            await _connect(p2p, peer_id)
            return _reached(peer_id, await calls.connections(p2p))
    except CallError as error:
        if error.timed_out:
            return Reachability(success=False, message=_("the peer doesn't answer."))
        log.debug("a peer can't be reached: %s", error)
        return Reachability(success=False, message=_("the peer can't be reached."))


async def _connect(p2p: Any, peer_id: str) -> None:
    """Connect, in several tries: a daemon that has just started may not have found its way into
    the network yet. Raises the last try's `CallError`."""
    for left in reversed(range(TRIES)):
        try:
            await calls.connect(p2p, peer_id, seconds=PROBE_SECONDS)
            return
        except CallError:
            if not left:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def _reached(peer_id: str, connected: Iterable[PeerConnection]) -> Reachability:
    ways = [way for each in connected if each.peer_id == peer_id for way in each.addresses]
    if ways and all("/p2p-circuit" in way for way in ways):
        return Reachability(success=True, message=_("the peer can be reached through a relay."))
    return Reachability(success=True, message=_("the peer can be reached."))
