"""A swarm's door: a node that stays online, through which others enter, and that doesn't train.

Like every node of ours it checks the run's records with validators, so that nobody can overwrite
them there. It starts alone if it must, and keeps calling the swarm's other doors until all of them
are connected.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from app.callback.web import WebServer
from app.common.background import Background, survived
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.logs import AuditLog, RingBuffer
from app.p2p import calls, meeting
from app.p2p.calls import CallError
from app.p2p.network import free_port
from app.p2p.prober import Prober
from app.session import Session
from app.settings.loading import changed
from app.spec import invite
from app.spec.schema import SwarmSpec
from app.state.events import LocalApiChanged
from app.state.state import ContributorState

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.door.snapshots import Snapshots

log = logging.getLogger(__name__)

ROUND_SECONDS = 15.0
"""Between two calls to the other doors."""


class SwarmDoor:
    """The door of one swarm, from `open` to `close`.

    session: open, and in no swarm yet. spec: the swarm's; its initial peers, which are this door
    and others, need not be online yet. ring: the log lines that its page shows.
    """

    def __init__(self, session: Session, spec: SwarmSpec, *, ring: RingBuffer) -> None:
        self._session = session
        self._ring = ring
        self._closing = asyncio.Event()
        self._audit: AuditLog | None = None
        self._store = store = session.store
        self._swarm, self._organisation = session.swarm, session.organisation
        self._spec = spec
        self._others = meeting.by_peer((*spec.initial_peers, *store.settings.initial_peers))
        # entering through the other doors would need one of them online; we call them afterwards
        store.replace_settings(changed(store.settings, {"initial_peers": ()}))
        self._prober = Prober(self._entries)
        self._web = WebServer(store.settings, ended=self._web_ended)
        self._snapshots: Snapshots | None = None
        self._background = Background()
        self._noting = store.subscribe(self._note_who_is_there)
        self._there: frozenset[str] = frozenset()

    async def open(self) -> None:
        """Enter the swarm, or begin it, and serve.

        Raises `UserFacingError` when the port is taken: invites name the door's port; and when it
        is to make snapshots, but hasn't got the organiser's key to sign them.
        """
        await asyncio.to_thread(self._check_port)
        wants_snapshots = self._store.settings.snapshot_every > 0
        key = await self._organisation.key_for(self._spec) if wants_snapshots else None
        alone = self._spec.model_copy(update={"initial_peers": ()})
        # Remembered, so that a door that starts again enters by the peers that it saw: they have
        # forgotten it, and don't call it while they have each other.
        await self._swarm.join(alone, returns=False)
        self._keeping = self._background.start(self._keep())
        if wants_snapshots:
            from app.door.snapshots import Snapshots

            self._snapshots = Snapshots(self._session, self._spec, key)
            self._snapshots.open()
        api = await self._web.start(self._make, or_next_port=False)
        log.info("the door answers at %s", api.url)
        self._store.dispatch(LocalApiChanged(local_api=api))

    def _check_port(self) -> None:
        port = self._store.settings.dht_port
        if not self._spec.local and free_port(port) != port:
            raise UserFacingError(
                _("TCP port {port} is taken by another program.").format(port=port),
                field="dht_port",
                remedy=_("Invites name the door's port, so it doesn't take another one."),
            )

    def _make(self) -> "FastAPI":
        from app.door import api as door
        from app.door.page import page_of

        self._audit = AuditLog(self._session.folders.logs)
        return door.build(
            self._store,
            invitation=self.invitation,
            probe=self._prober.probe,
            page=page_of(self._session, ring=self._ring, closing=self._closing),
            audit=self._audit,
        )

    # --- what it answers

    def invitation(self) -> SwarmSpec:
        """The spec by which others enter: through this door first, or through the others."""
        return invite.shared(self._spec, self._store.state.addresses)

    def _entries(self) -> list[str]:
        """Addresses at which our own node is reached from this machine."""
        port = self._store.settings.dht_port
        near = f"/ip4/127.0.0.1/tcp/{port}/p2p/{self._store.state.peer_id}"
        return [*([near] if port and not self._spec.local else []), *self._store.state.addresses]

    # --- staying connected to the other doors

    async def _keep(self) -> None:
        self._others.pop(self._store.state.peer_id, None)
        known: frozenset[str] = frozenset()
        while True:
            with survived(log, "the door's round failed"):
                known = await self._go_round(known)
            await asyncio.sleep(ROUND_SECONDS)

    async def _go_round(self, known: frozenset[str]) -> frozenset[str]:
        """Call the other doors, then look up a random key; returns the doors that answered.

        The lookup walks the DHT, which removes dead nodes from our routing table and adds new ones.
        """
        node = self._swarm.node
        if node is None:  # the daemon has died, and is about to be replaced
            return known
        met = await meeting.meet(node, self._others)
        if met != known:
            log.info("%d of %d other doors answer", len(met), len(self._others))
        try:
            await calls.refresh_routing(node, seconds=ROUND_SECONDS)
        except CallError as error:
            log.warning("the door can't look up nodes: %s", error)
        return met

    def _note_who_is_there(self, state: ContributorState) -> None:
        there = {peer.peer_id: peer.address for peer in state.peers}
        for peer_id in there.keys() - self._there:
            log.info("%s came, at %s", peer_id, there[peer_id])
        for peer_id in self._there - there.keys():
            log.info("%s left", peer_id)
        self._there = frozenset(there)

    # --- the end

    def _web_ended(self) -> None:
        self._store.dispatch(LocalApiChanged(local_api=None))

    async def close(self) -> None:
        """End everything that was started, but not the session. May be called twice."""
        if self._snapshots is not None:
            await self._snapshots.close()
        self._closing.set()
        await self._web.close()
        if self._audit is not None:
            self._audit.close()
        await self._background.close()
        await self._prober.close()
        self._noting.close()
