"""Being in a swarm: join it, observe it, come back when it was lost, leave it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from app.common.background import end, survived
from app.common.errors import BusyError, JoinError, SpecError, UserFacingError
from app.common.i18n import _
from app.common.paths import Folders
from app.p2p.calls import CallError
from app.p2p.contacts import Contacts
from app.p2p.network import (
    Network,
    Reach,
    announced,
    any_free_port,
    endpoint,
    free_port,
    listening,
    reach,
    relays_of,
)
from app.p2p.peer import EmbeddedPeer
from app.p2p.plausible import PLAIN_TIMES, RunTimes
from app.state.events import JoinBegan, Joined, JoinFailed, Left, PeersListed, RunObserved
from app.state.facts import Problem, Swarm
from app.state.store import Store
from app.swarm.clock import ClockWatch
from app.swarm.connection_check import Subject
from app.swarm.lifeline import Lifeline
from app.swarm.organisation import Organisation
from app.swarm.recents import Recents
from app.swarm.reentry import ReentryPeers

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

OBSERVE_SECONDS = 2.0


class Membership:
    """At most one swarm at a time: join it, leave it, come back when the connection is lost.

    recents: remembers the swarms that were joined. organisation: whom the swarm belongs to, and who
    may take part. before_leaving: ends whatever needs the swarm;
    awaited each time before it is left.

    spec: of the swarm that we are in or about to enter; None outside of a swarm, and None where
    our peer is a node of a network without a run. last_spec: of the swarm that we entered last in
    this run of the app. tried_spec: of the swarm that we tried to enter last.
    """

    def __init__(
        self,
        store: Store,
        *,
        folders: Folders,
        recents: Recents,
        organisation: Organisation,
        before_leaving: Callable[[], Awaitable[None]],
    ) -> None:
        self.spec: SwarmSpec | None = None
        self.last_spec: SwarmSpec | None = None
        self.tried_spec: SwarmSpec | None = None
        self._inside = self._entered = False
        self._store = store
        self._recents = recents
        self._seen = ReentryPeers(store, recents)
        self._organisation = organisation
        self._before_leaving = before_leaving
        self._newest_join = object()
        self._leaving = asyncio.Lock()
        self._peer = EmbeddedPeer(folders.identity_file("app"))
        self._peer_id = ""
        self._addresses: tuple[str, ...] = ()
        self._port = 0  # that our node has, for its next daemon
        self._entries: tuple[str, ...] = ()
        self._hurry = asyncio.Event()
        self._lifeline = self._new_lifeline(())
        self._clock = ClockWatch(store)
        self._entering: asyncio.Task[None] | None = None
        self._observing: asyncio.Task[None] | None = None

    def _new_lifeline(self, entries: Sequence[str]) -> Lifeline:
        return Lifeline(self._store, self._peer, Contacts(entries), start_again=self._start_again)

    @property
    def joined(self) -> bool:
        """We have entered a swarm, and neither left it nor are about to.

        Our peer may be without its daemon for a while, which is being started again.
        """
        return self._entered and not self._leaving.locked()

    @property
    def node(self) -> Any:
        """Our `hivemind.dht.node.DHTNode`; None outside of a swarm and while its daemon is gone."""
        return self._peer.node if self._peer.alive else None

    def invitation(self) -> "SwarmSpec | None":
        """The spec by which others enter our swarm, at our addresses; None outside of a swarm."""
        from app.spec import invite

        if self.spec is None:
            return None
        return invite.shared(self.spec, self._store.state.addresses)

    async def join(
        self, spec: "SwarmSpec | None", *, remember: bool = True, returns: bool = True
    ) -> bool:
        """Leave the swarm that we are in, and enter another one.

        spec: None enters the network of the settings' initial peers alone, in no run.
        remember: keep the swarm among the recent ones. returns: and come back to it when the app
        starts the next time.

        Returns False when `leave`, or another `join`, was called meanwhile. Raises `JoinError`,
        or `OrganiserError`, which the state shows as well.
        """
        mine = self._newest_join = object()
        await self.leave()
        if mine is not self._newest_join:
            return False
        joined = await self._join(spec, returns=remember and returns)
        if joined and remember and spec is not None:
            await self._recents.remember(spec)
        return joined

    async def _join(self, spec: "SwarmSpec | None", *, returns: bool) -> bool:
        self.spec, self._inside = spec, True
        self.tried_spec = spec or self.tried_spec
        swarm = None if spec is None else replace(_swarm_of(spec), returns=returns)
        self._store.dispatch(JoinBegan(swarm=swarm))
        self._entering = asyncio.create_task(self._enter_by_all(spec))
        try:
            await asyncio.wait({self._entering})
            if self._entering.cancelled():
                return False
            self._entering.result()
        except UserFacingError as error:
            self.spec, self._inside = None, False
            self._store.dispatch(JoinFailed(problem=problem_of(error)))
            raise
        self._observing = asyncio.create_task(self._observe())
        self.last_spec = spec or self.last_spec
        return True

    async def _enter_by_all(self, spec: "SwarmSpec | None") -> None:
        """Enter by the spec's and the settings' peers, and by those that were seen there before.

        Whoever founded the swarm knows no others: if none of them is there, it is opened again.
        """
        entries = (*(spec.initial_peers if spec else ()), *self._store.settings.initial_peers)
        seen = await self._seen.enter("" if spec is None else spec.run_id)
        self._entries = (*entries, *seen)
        self._lifeline = self._new_lifeline(self._entries)
        try:
            await self._enter(spec, self._entries)
        except JoinError:
            if entries or not seen:
                raise
            log.info("nobody is there who was seen in the swarm before: it is opened again")
            await self._enter(spec, ())

    async def _enter(self, spec: "SwarmSpec | None", entries: Sequence[str]) -> None:
        network = self.network("dht_port")
        run_id = spec.run_id if spec is not None else ""
        times = PLAIN_TIMES if spec is None else RunTimes.of(spec.training.averaging)
        admission = await self._organisation.enter(spec)
        presence = await self._peer.join(
            run_id, initial_peers=entries, network=network, times=times, admission=admission
        )
        log.info("in the swarm %s as %s", run_id or "(none)", presence.peer_id)
        self._peer_id, self._addresses = presence.peer_id, presence.addresses
        places = (endpoint(each) for each in presence.addresses if "/p2p-circuit" not in each)
        self._port = next((place[1] for place in places if place is not None), 0)
        self._entered = True
        self._store.dispatch(Joined(peer_id=presence.peer_id, addresses=presence.addresses))

    def network(self, port: Literal["dht_port", "server_port"], *, place: int = 0) -> Network:
        """How our node, or a trainer's, takes part in the network.

        port: the setting for it. place: the trainer's index among ours; each has the port after
        the previous one's.
        """
        again = self._port if port == "dht_port" else 0  # others know it
        if self.spec is not None and self.spec.local:
            return Network(listen=listening(again and free_port(again), local=True), local=True)
        settings, trainer = self._store.settings, port == "server_port"
        relayed = trainer and bool(relays_of(self._addresses))
        known_relays = _known_relays(self._addresses, self._entries) if trainer else ()
        places = [one for one in settings.announce if not (trainer and one.startswith("/"))]
        wanted = again or getattr(settings, port)
        number = port_or_any(port, wanted and wanted + place) or (any_free_port() if places else 0)
        return Network(
            listen=listening(number, local=False),
            announce=announced(places, number),
            reachability="relay" if relayed else settings.reachability,
            relays=settings.trusted_relays or known_relays,
        )

    async def look_away(self) -> None:
        """Stop observing the swarm, and don't reconnect to it, because it is about to be left.

        After Ctrl-C in a terminal our daemon has ended too, and would be started again.
        """
        observing, self._observing = self._observing, None
        if observing is not None:
            await end(observing)

    async def leave(self) -> None:
        """End what needs the swarm, and leave it. Nothing happens outside of a swarm."""
        async with self._leaving:  # one after the other: the second must not undo what follows
            await self.look_away()
            await self._before_leaving()
            await self._leave()

    async def _leave(self) -> None:
        if not self._inside:
            return
        if self._entering is not None:
            await end(self._entering)
        self._entering = None
        await self.look_away()  # now: a join may just have succeeded
        await self._seen.note(self._lifeline.contacts, at_once=self._entered)
        await self._peer.leave()
        self.spec, self._inside, self._addresses, self._port = None, False, (), 0
        self._entered = False
        self._store.dispatch(Left())

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to one more peer; returns its multiaddr.

        Raises `ConnectError`, and `BusyError` outside of a swarm.
        """
        if not self._peer.joined:
            raise BusyError(_("this machine is in no swarm yet."), remedy=_("Start it first."))
        return await self._peer.connect(peer_id, host=host, port=port)

    def reconnect(self) -> None:
        """If the swarm is lost, try to reconnect at once instead of waiting."""
        self._lifeline.hurry()
        self._hurry.set()

    def subject(self) -> Subject:
        """What a connection check is about: the swarm that we are in, or tried to enter last."""
        spec, settings = self.spec or self.tried_spec, self._store.settings
        from_backend = spec is not None and spec.session_id is not None
        return Subject(
            settings=settings,
            spec=spec,
            node=self._peer.node,
            addresses=self._addresses,
            connected=self._lifeline.contacts.connected,
            web=settings.backend_url if from_backend else "",
        )

    async def _observe(self) -> None:
        """Observe the swarm every other second, and reconnect when it is lost."""
        while True:
            for step in (self._look, lambda: self._lifeline.mend(self._addresses)):
                with survived(log, "can't look at the swarm"):
                    try:
                        await step()
                    except (CallError, UserFacingError, OSError) as error:
                        log.warning("can't look at the swarm: %r", error)
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OBSERVE_SECONDS):
                    await self._hurry.wait()

    async def _look(self) -> None:
        """Read the connected peers and the run's records, and dispatch them."""
        if not self._peer.alive:
            return
        addresses = await self._peer.addresses()
        if addresses != self._addresses:
            self._addresses = addresses
            self._store.dispatch(Joined(peer_id=self._peer_id, addresses=addresses))
        peers = await self._peer.peers()
        self._store.dispatch(PeersListed(peers=peers, dht_nodes=self._peer.dht_nodes))
        self._lifeline.look(peers, addresses)
        await self._seen.note(self._lifeline.contacts)
        self._store.dispatch(RunObserved(run=await self._peer.observe()))
        await self._clock.look(self._peer.node, [peer.peer_id for peer in peers])
        await self._organisation.look(self._peer.node)

    async def _start_again(self) -> None:
        log.warning("starting the peer-to-peer daemon again")
        await self._peer.leave()
        await self._enter(self.spec, ())


def port_or_any(name: str, wanted: int) -> int:
    """The wanted port, or 0 (any) when another program holds it. name: of the setting."""
    port = free_port(wanted)
    if port != wanted:
        log.warning("%s %d is taken by another program: using any free port", name, wanted)
    return port


def problem_of(error: UserFacingError) -> Problem:
    """An error as the state shows it to the user, who sees no field's name."""
    if isinstance(error, SpecError) and error.all:  # what is wrong with a field, by its name
        text = _("this invite can't be used: {field}: {message}")
        said = text.format(field=error.field, message=error.message)
        return Problem(message=said, field=error.field, remedy=error.remedy)
    return Problem(message=error.message, field=error.field, remedy=error.remedy)


def _swarm_of(spec: "SwarmSpec") -> Swarm:
    from app.takeout.identity import identity_of  # pydantic would delay the window

    return Swarm(
        run_id=spec.run_id,
        title=spec.name,
        model_type=spec.model.model_type,
        dataset=getattr(spec.data, "name", spec.data.source),
        target_batch_size=spec.training.target_batch_size,
        own_steps=spec.training.local_steps is not None,
        session_id=spec.session_id,
        training_id=spec.training_id,
        about=spec.about,
        identity=identity_of(spec),
    )


def _known_relays(addresses: Sequence[str], entries: Sequence[str]) -> tuple[str, ...]:
    """The relays that our node has found, or else the initial peers that may be one.

    In a small swarm a daemon needs minutes to find relays. Our node spends this time; the trainers
    are told what it found.
    """
    return relays_of(addresses) or tuple(filter(_may_relay, entries))


def _may_relay(entry: str) -> bool:
    return reach(entry) is Reach.WORLD and "/p2p-circuit" not in entry
