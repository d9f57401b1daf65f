"""By whom a swarm can be entered again: peers seen in it, kept with the recent swarms."""

import time

from app.p2p.contacts import Contacts
from app.state.store import Store
from app.swarm.recents import Recents

NOTE_SECONDS = 30.0
"""How often it is noted who is in the swarm, at most."""


class ReentryPeers:
    """Of the swarm that we are in."""

    def __init__(self, store: Store, recents: Recents) -> None:
        self._store = store
        self._recents = recents
        self._run_id = ""
        self._noted: tuple[str, ...] = ()
        self._note_at = 0.0  # on the monotonic clock

    async def enter(self, run_id: str) -> tuple[str, ...]:
        """Begin with another swarm; returns the multiaddrs that were seen in it before."""
        self._run_id, self._note_at = run_id, 0.0
        self._noted = await self._recents.seen(run_id) if run_id else ()
        return self._noted

    async def note(self, contacts: Contacts, *, at_once: bool = False) -> None:
        """Keep whom we know now, but for our own trainers, which won't be there."""
        if not self._run_id or (not at_once and time.monotonic() < self._note_at):
            return
        self._note_at = time.monotonic() + NOTE_SECONDS
        own = self._store.state.training
        ours = {own.peer_id, *(part.peer_id for part in own.parts)} if own is not None else set()
        known = contacts.everybody()
        seen = tuple(one for peer, places in known.items() if peer not in ours for one in places)
        if seen != self._noted:
            self._noted = seen
            await self._recents.note_seen(self._run_id, seen)
