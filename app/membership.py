"""Being in a swarm: enter, look around, come back when the daemon has died, leave."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from app.errors import BusyError, UserFacingError
from app.i18n import _
from app.network import free_port
from app.paths import Folders
from app.peer import EmbeddedPeer
from app.settings import Settings
from app.state import (
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    PeersListed,
    Problem,
    RunObserved,
    Swarm,
)

if TYPE_CHECKING:
    from app.spec import SwarmSpec

log = logging.getLogger(__name__)

OBSERVE_SECONDS = 2.0
REJOIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before each further try to come back; the last one for ever."""


class Membership:
    """At most one swarm at a time. settings: those in force. dispatch: told of all that changes.

    spec: of the swarm that we are in or about to enter, None outside, and None in a network of
    which we are a node without a run. last_spec: of the swarm that we were in last
    in this run of the app.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        folders: Folders,
        dispatch: Callable[[Event], None],
    ) -> None:
        self.spec: SwarmSpec | None = None
        self.last_spec: SwarmSpec | None = None
        self._inside = False
        self._settings = settings
        self._dispatch = dispatch
        self._peer = EmbeddedPeer(folders.identity_file("app"))
        self._entering: asyncio.Task[None] | None = None
        self._observing: asyncio.Task[None] | None = None

    @property
    def joined(self) -> bool:
        """In the swarm, as far as we know."""
        return self._peer.joined

    @property
    def node(self) -> Any:
        """Our node in the swarm's DHT, None outside of one."""
        return self._peer.node

    def invitation(self, addresses: Sequence[str]) -> "SwarmSpec | None":
        """The spec for others who are to enter our swarm; None outside of one.

        addresses: ours, which they enter by.
        """
        from app import invite  # late: building a spec's models takes longer than painting a page

        return None if self.spec is None else invite.shared(self.spec, addresses)

    async def join(self, spec: "SwarmSpec | None") -> bool:
        """Enter a swarm, or with None only the network of the settings' initial peers.

        Raises `JoinError`; False when `leave` came in between.
        """
        self.spec, self._inside = spec, True
        self._dispatch(JoinBegan(swarm=None if spec is None else _swarm_of(spec)))
        self._entering = asyncio.create_task(self._enter(spec))
        try:
            await asyncio.wait({self._entering})
            if self._entering.cancelled():
                return False
            self._entering.result()
        except UserFacingError as error:
            self.spec, self._inside = None, False
            self._dispatch(JoinFailed(problem=problem_of(error)))
            raise
        self._observing = asyncio.create_task(self._observe(spec))
        self.last_spec = spec or self.last_spec
        return True

    async def _enter(self, spec: "SwarmSpec | None") -> None:
        local = spec is not None and spec.local
        port = 0 if local else port_or_any("dht_port", self._settings().dht_port)
        initial_peers = (*(spec.initial_peers if spec else ()), *self._settings().initial_peers)
        presence = await self._peer.join(spec, initial_peers=initial_peers, port=port)
        run_id = spec.run_id if spec else "(none)"
        log.info("in the swarm %s as %s", run_id, presence.peer_id)
        self._dispatch(Joined(peer_id=presence.peer_id, addresses=presence.addresses))

    async def leave(self) -> None:
        """Leave the swarm; nothing happens outside of one."""
        if not self._inside:
            return
        await _end(self._entering)
        await _end(self._observing)  # looked at now: a join may just have succeeded
        self._entering = self._observing = None
        await self._peer.leave()
        self.spec, self._inside = None, False
        self._dispatch(Left())

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to one more peer; returns its multiaddr. Raises `ConnectError`, and
        `BusyError` outside of a swarm."""
        if not self._peer.joined:
            raise BusyError(_("this machine is in no swarm yet."), remedy=_("Start it first."))
        return await self._peer.connect(peer_id, host=host, port=port)

    async def _observe(self, spec: "SwarmSpec | None") -> None:
        """Look at the swarm every other second."""
        while True:
            try:
                peers = await self._peer.peers()
                self._dispatch(PeersListed(peers=peers, dht_nodes=self._peer.dht_nodes))
                self._dispatch(RunObserved(run=await self._peer.observe()))
            except Exception as error:  # noqa: BLE001  hivemind's calls fail in many ways
                log.warning("can't read the swarm's records: %r", error)
            if not self._peer.alive:
                await self._come_back(spec)
            await asyncio.sleep(OBSERVE_SECONDS)

    async def _come_back(self, spec: "SwarmSpec | None") -> None:
        log.warning("the peer-to-peer daemon ended: joining again")
        for attempt in itertools.count():
            await self._peer.leave()
            await asyncio.sleep(REJOIN_SECONDS[min(attempt, len(REJOIN_SECONDS) - 1)])
            try:
                await self._enter(spec)
            except UserFacingError as error:
                log.warning("joining again failed: %s", error.text)
            else:
                return


async def _end(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def port_or_any(name: str, wanted: int) -> int:
    """The port of a setting, or 0 when somebody has it."""
    port = free_port(wanted)
    if port != wanted:
        log.warning("%s %d is taken by another program: using any free port", name, wanted)
    return port


def problem_of(error: UserFacingError) -> Problem:
    """What the user is shown of an error."""
    return Problem(message=error.message, field=error.field, remedy=error.remedy)


def _swarm_of(spec: "SwarmSpec") -> Swarm:
    return Swarm(
        run_id=spec.run_id,
        title=spec.name,
        model_type=spec.model.model_type,
        dataset=getattr(spec.data, "name", spec.data.source),
        target_batch_size=spec.training.target_batch_size,
        session_id=spec.session_id,
        training_id=spec.training_id,
    )
