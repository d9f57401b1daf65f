"""The embedded peer: a Hivemind `DHTNode` on the running asyncio loop.

It enters the swarm, lists the connected peers and reads the run's progress, whether or not this
machine trains. hivemind is imported on first use, in a thread, since it pulls in torch.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.errors import ConnectError, JoinError
from app.common.i18n import _, ngettext
from app.organiser.admission import OPEN, Admission
from app.p2p import calls
from app.p2p.board import RunBoard
from app.p2p.calls import CallError, PeerConnection
from app.p2p.latency import Latencies
from app.p2p.meeting import meet
from app.p2p.network import Network, host_part
from app.p2p.plausible import PLAIN_TIMES, RunTimes
from app.p2p.sightings import PeerInfo, Run

if TYPE_CHECKING:
    from types import ModuleType

    import psutil

log = logging.getLogger(__name__)

JOIN_SECONDS = 60.0
CONNECT_SECONDS = 10.0

END_SECONDS = 5.0
"""How long a daemon that was killed may take to end, on a busy machine."""


@dataclass(frozen=True)
class Presence:
    """How the swarm sees the embedded peer."""

    peer_id: str
    addresses: tuple[str, ...]
    """Multiaddrs with the peer id, by which others reach it."""


async def load_hivemind() -> "ModuleType":
    """Import hivemind in a thread; later calls cost nothing. Returns `app.p2p.run_records`."""
    return await asyncio.to_thread(_import_run_records)


def _import_run_records() -> "ModuleType":
    import hivemind.dht.node  # noqa: F401  (part of the cost, so paid here as well)

    from app.p2p import run_records

    return run_records


def _daemons() -> "set[psutil.Process]":
    """The p2pd that are children of this process."""
    import psutil

    return {child for child in psutil.Process().children() if child.name() == "p2pd"}


async def _end_daemons_since(before: "set[psutil.Process]") -> None:
    """WORKAROUND (hivemind 1.1.12): a node whose start fails or is cancelled leaves its daemon
    running, with our identity and our port. Returns when both are free again."""
    import psutil

    left = _daemons() - before
    for daemon in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.kill()
    until = time.monotonic() + END_SECONDS
    while time.monotonic() < until and any(map(_lives, left)):  # noqa: ASYNC110  no event tells
        await asyncio.sleep(0.01)


def _lives(process: "psutil.Process") -> bool:
    """A child that has ended is a zombie until asyncio, which started it, has asked for it."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class EmbeddedPeer:
    """Our node in the DHT, in one swarm at a time. It can join and leave again and again.

    What asks the swarm raises `CallError` when the daemon or the swarm doesn't answer.
    """

    def __init__(self, identity_file: Path) -> None:
        self._identity_file = identity_file
        self._node: Any = None
        self._run_id = ""
        self._run_records: Any = None
        self._board: RunBoard | None = None
        self._latencies = Latencies(self._ping)

    @property
    def node(self) -> Any:
        """Our `DHTNode`, None outside of a swarm."""
        return self._node

    @property
    def joined(self) -> bool:
        """We have entered a swarm and not left it, even if its daemon has died since."""
        return self._node is not None

    @property
    def alive(self) -> bool:
        """We are in a swarm, and our peer-to-peer daemon runs."""
        return self._node is not None and calls.is_alive(self._node)

    async def join(
        self,
        run_id: str,
        *,
        initial_peers: Sequence[str],
        network: Network,
        times: RunTimes = PLAIN_TIMES,
        admission: Admission = OPEN,
    ) -> Presence:
        """Enter the swarm of a run, or, with run id "", only the network of the initial peers.

        times: how long the run's records live, plain hivemind's by default. admission: who may
        take part in the run.

        Raises `JoinError` with the reason in words.
        """
        self._run_records = await load_hivemind()
        calls.quiet_lost_connections(asyncio.get_running_loop())
        before = await asyncio.to_thread(_daemons)
        async with contextlib.AsyncExitStack() as on_failure:
            on_failure.push_async_callback(_end_daemons_since, before)  # after a cancel as well
            try:
                async with calls.within(JOIN_SECONDS):
                    load = self._run_records.load_identity
                    identity = await asyncio.to_thread(load, self._identity_file)
                    node = await self._start(
                        self._run_records.validators(run_id, identity.key, times, admission),
                        initial_peers=initial_peers,
                        network=network,
                    )
                    addresses = await calls.own_addresses(node)
            except CallError as error:
                raise _explained(error, network=network, initial_peers=initial_peers) from error
            on_failure.pop_all()
        self._node, self._run_id = node, run_id
        return Presence(identity.peer_id, addresses)

    async def _start(
        self, validators: list[Any], *, initial_peers: Sequence[str], network: Network
    ) -> Any:
        from hivemind.dht.validation import CompositeValidator

        return await calls.start_node(
            seconds=JOIN_SECONDS,
            initial_peers=list(initial_peers),
            record_validator=CompositeValidator(validators),
            identity_path=str(self._identity_file),
            check_if_identity_free=False,  # the data folder is locked: nobody else has it
            **self._run_records.node_options(network),
        )

    async def addresses(self) -> tuple[str, ...]:
        """The multiaddrs by which others reach us now. A relay or another network changes them."""
        return await calls.own_addresses(self._node)

    async def leave(self) -> None:
        """Leave the swarm; does nothing outside of one."""
        node, self._node = self._node, None
        await self._latencies.close()
        if node is not None:
            await calls.shut_down(node)

    async def peers(self) -> tuple[PeerInfo, ...]:
        """The peers that we are connected to."""
        listed = await calls.connections(self._node.p2p)
        now = time.time()
        found = tuple(self._peer_info(peer, now) for peer in listed)
        self._latencies.look(peer.peer_id for peer in found)
        return found

    def _peer_info(self, peer: PeerConnection, now: float) -> PeerInfo:
        address = next(iter(peer.addresses), "")
        return PeerInfo(
            peer_id=peer.peer_id,
            address=address,
            last_seen=now,
            relayed="/p2p-circuit" in address,
            latency=self._latencies.of(peer.peer_id),
        )

    @property
    def dht_nodes(self) -> int:
        """How many nodes of the DHT are in our routing table."""
        return len(self._node.protocol.routing_table.uid_to_peer_id)

    async def _ping(self, peer_id: str) -> bool:
        return self._node is not None and await calls.ping(self._node, peer_id)

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to a peer at a host's name or address; returns its multiaddr.

        libp2p dials no address of a peer that it is connected to. So who answers there is asked
        here first.

        Raises `ConnectError`; its field names the argument that makes no sense, if one does.
        """
        from app.p2p.guards.handshake import check_at

        check_peer_id(peer_id)
        address = f"{_network_address(host)}/tcp/{port}"
        node = self._node
        try:
            await check_at(host, port, peer_id=peer_id)
            await calls.connect(node.p2p, peer_id, [address], seconds=CONNECT_SECONDS)
        except CallError as error:
            raise _unreachable(address, error.reason) from error
        await calls.ping(node, peer_id)  # a peer of the DHT enters our routing table
        return f"{address}/p2p/{peer_id}"

    async def meet(self, addresses: Mapping[str, Sequence[str]]) -> bool:
        """Call peers at their addresses, by id; returns whether any of them answered.

        Also calls peers that hivemind has given up because they were silent for a while.
        """
        self._node.blacklist.clear()
        met = await meet(self._node, addresses)
        if met:  # their neighbours enter our routing table
            await calls.refresh_routing(self._node)
        return bool(met)

    async def observe(self) -> Run | None:
        """The run's training by its records in the DHT; None when nobody trains."""
        if not self._run_id:
            return None
        records = self._run_records
        if self._board is None or self._board.node is not self._node:
            keys = records.progress_key, records.metrics_key, records.evaluations_key
            self._board = RunBoard(self._node, [key(self._run_id) for key in keys])
        found = await self._board.read()
        # many records take long, so not on the loop's thread
        summary = await asyncio.to_thread(records.summarize, *found)
        if summary is None:
            return None
        return Run(
            epoch=summary.epoch,
            samples=summary.samples,
            trainers=len(summary.trainers),
            trainer_ids=frozenset(summary.trainers),
            samples_per_second=summary.samples_per_second,
            loss=summary.loss,
            held_out_loss=summary.held_out_loss,
        )


_SHA256, _IDENTITY = b"\x12\x20", b"\x00"
"""The first bytes of the two kinds of peer ids: a hash of a public key, or a short key itself."""


def check_peer_id(text: str) -> None:
    """Raises `ConnectError` when a text is no peer id."""
    from hivemind.p2p import PeerID

    try:
        raw = PeerID.from_base58(text).to_bytes()
        hashed = raw[:2] == _SHA256 and len(raw) == 34
        plain = raw[:1] == _IDENTITY and len(raw) == raw[1] + 2 and len(raw) > 2
    except (ValueError, IndexError):
        hashed = plain = False
    if not hashed and not plain:
        raise ConnectError(
            _("{text!r} is no peer id.").format(text=text[:80]),
            field="peer_id",
            remedy=_("It looks like Qm… or 12D3KooW…"),
        )


def _unreachable(address: str, reason: str) -> ConnectError:
    message = _("the peer at {address} can't be reached: {reason}.")
    return ConnectError(message.format(address=address, reason=reason))


def _network_address(host: str) -> str:
    try:
        return host_part(host)
    except ValueError:
        message = _("{host!r} is neither an IP address nor a host's name.")
        raise ConnectError(message.format(host=host[:80]), field="address") from None


def _explained(error: CallError, *, network: Network, initial_peers: Sequence[str]) -> JoinError:
    """The user's error for a node that couldn't be started."""
    text = error.details
    if "address already in use" in text:
        port = network.listen[0].rpartition("/")[2]
        return JoinError(
            _("TCP port {port} is taken by another program.").format(port=port),
            field="dht_port",
            remedy=_("Choose another port in the settings, or 0 for any free one."),
        )
    if "bootstrap" in text or "none of the initial_peers" in text:
        count = len(initial_peers)
        message = ngettext(
            "the peer to enter by can't be reached.",
            "none of the {count} peers to enter by can be reached.",
            count,
        )
        return JoinError(
            message.format(count=count),
            field="initial_peers",
            remedy=_("Check your network, or ask for a new invite: the peers may be off."),
        )
    if error.timed_out:
        return JoinError(
            _("the swarm didn't answer within {seconds:.0f} s.").format(seconds=JOIN_SECONDS),
            field="initial_peers",
            remedy=_("Check your network and try again."),
        )
    log.error("joining failed", exc_info=error)
    return JoinError(
        _("the peer-to-peer node can't start: {reason}.").format(reason=error.reason),
        remedy=_("See the log for details, and try again."),
    )
