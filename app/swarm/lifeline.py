"""Notices that the connection to the swarm is lost (cable out, laptop asleep), and reconnects."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.common.backoff import Backoff
from app.p2p.contacts import Contacts
from app.p2p.meeting import by_peer
from app.p2p.network import anybody_at, endpoint, links_up
from app.p2p.peer import EmbeddedPeer
from app.p2p.sightings import PeerInfo
from app.state.events import ConnectionChanged
from app.state.store import Store

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 15.0
"""Waits between two attempts: the first one, and about the longest."""

RENEWAL_SECONDS = 60.0
"""The peer-to-peer daemon is replaced at most so often."""


class Lifeline:
    """Keeps our peer connected to the swarm that it is in.

    contacts: the swarm's peers that we knew, and how they are reached.
    start_again: replaces the peer's daemon.
    """

    def __init__(
        self,
        store: Store,
        peer: EmbeddedPeer,
        contacts: Contacts,
        *,
        start_again: Callable[[], Awaitable[None]],
    ) -> None:
        self.contacts = contacts
        self._store = store
        self._peer = peer
        self._start_again = start_again
        self._links: frozenset[str] | None = None
        self._in_doubt = self._lost = False
        self._renewed = False  # the daemon is new, and knows nobody
        self._gate = Backoff(first=FIRST_SECONDS, longest=LONGEST_SECONDS, clock=time.monotonic)
        self._renewal = Backoff(
            first=RENEWAL_SECONDS, longest=RENEWAL_SECONDS, clock=time.monotonic
        )

    def hurry(self) -> None:
        """Let the next attempt be made at once."""
        self._gate.clear()

    def look(self, peers: Sequence[PeerInfo], addresses: Sequence[str]) -> None:
        """Note which peers are connected. addresses: our peer's own."""
        if not self.contacts.look(peers, addresses):
            self._in_doubt = True
        if peers:
            self._renewed = False
        links, before = links_up(), self._links
        self._links = links
        if before not in (None, links):  # libp2p itself would notice half a minute later
            log.info("the network of this machine has changed: %s", ", ".join(sorted(links)))
            self._in_doubt = True
            self._gate.clear()

    async def mend(self, addresses: Sequence[str]) -> None:
        """Call the peers that we knew, where the connection is in doubt and the wait is over.

        addresses: our peer's own. Dispatches `ConnectionChanged`.
        """
        if self._peer.alive and not self._in_doubt:
            return
        if self._gate.remaining:
            return
        wait = self._gate.fail(at_least=FIRST_SECONDS)
        if not self._peer.alive:
            self._say_lost(time.time() + wait)
            await self._start_again()
            self._renewal.fail(at_least=RENEWAL_SECONDS)
            self._renewed = self._in_doubt = True
        known = self._everybody() if self._renewed else self.contacts.addresses(addresses)
        if known and not await self._answered(known):
            self._say_lost(time.time() + wait)
            return
        self._gate.clear()
        self._renewal.clear()
        self._in_doubt = False
        self._say_found()

    def _everybody(self) -> dict[str, list[str]]:
        """All that we know, with those on this machine, our own trainers among them."""
        own = self._store.state.training
        return self.contacts.everybody() | by_peer(own.addresses if own is not None else ())

    async def _answered(self, known: Mapping[str, Sequence[str]]) -> bool:
        places = {place for each in known.values() for one in each if (place := endpoint(one))}
        if not await anybody_at(places):
            return False
        if await self._peer.meet(known):
            return True
        # After several failures libp2p refuses to dial an address for up to five minutes. A new
        # daemon has no such memory.
        if self._renewal.remaining:
            return False
        self._renewal.fail(at_least=RENEWAL_SECONDS)
        await self._start_again()
        return await self._peer.meet(known)

    def _say_lost(self, retry_at: float) -> None:
        if not self._lost:
            log.warning("nobody of the swarm answers")
        self._lost = True
        self._store.dispatch(ConnectionChanged(reconnect_at=retry_at))

    def _say_found(self) -> None:
        if self._lost:
            log.info("back in the swarm")
            self._store.dispatch(ConnectionChanged(reconnect_at=None))
        self._lost = False
