"""The embedded peer: a Hivemind `DHTNode` on the running asyncio loop.

It enters the swarm, lists who is connected and reads the run's progress, whether or not we
train. hivemind is imported on first use, in a thread, since it pulls in torch.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.errors import ConnectError, JoinError
from app.common.i18n import _
from app.p2p.latency import Latencies
from app.p2p.meeting import meet
from app.p2p.network import Network, host_part
from app.p2p.sightings import PeerInfo, Run

if TYPE_CHECKING:
    from types import ModuleType

    import psutil


log = logging.getLogger(__name__)

JOIN_SECONDS = 60.0
CONNECT_SECONDS = 10.0
READ_SECONDS = 5.0
"""Every await on the DHT has a deadline: a lost reply must not stop the app."""


@dataclass(frozen=True)
class Presence:
    """How the swarm sees us. addresses: multiaddrs with the peer id, to enter by."""

    peer_id: str
    addresses: tuple[str, ...]


async def load_hivemind() -> "ModuleType":
    """Import hivemind off the loop's thread; later calls cost nothing."""
    return await asyncio.to_thread(_import_swarm)


def _import_swarm() -> "ModuleType":
    import hivemind.dht.node  # noqa: F401  (part of the cost, so paid here as well)

    from app.p2p import run_records

    return run_records


class EmbeddedPeer:
    """Our node in the DHT. Join and leave as often as wanted; one swarm at a time."""

    def __init__(self, identity_file: Path) -> None:
        self._identity_file = identity_file
        self._node: Any = None
        self._run_id = ""
        self._swarm: Any = None
        self._latencies = Latencies(self._ping)

    @property
    def node(self) -> Any:
        """The `DHTNode` that we are, None outside of a swarm."""
        return self._node

    @property
    def joined(self) -> bool:
        """In a swarm, as far as we know."""
        return self._node is not None

    @property
    def alive(self) -> bool:
        """The peer-to-peer daemon under us runs."""
        # hivemind tells nobody when its daemon dies
        return self._node is not None and self._node.p2p._child.returncode is None  # noqa: SLF001

    async def join(
        self, run_id: str, *, initial_peers: Sequence[str], network: Network
    ) -> Presence:
        """Enter the swarm of a run, or, with run id "", only the network of the initial peers.

        Raises `JoinError` with the reason in words.
        """
        self._swarm = await load_hivemind()
        _note_unasked_errors(asyncio.get_running_loop())
        before = await asyncio.to_thread(_daemons)
        try:
            identity = await asyncio.to_thread(self._swarm.load_identity, self._identity_file)
            create = self._create(
                identity, run_id=run_id, initial_peers=initial_peers, network=network
            )
            async with asyncio.timeout(JOIN_SECONDS):
                node = await create
            addresses = await _addresses_of(node)
        except BaseException as error:  # a cancel as well
            _kill(_daemons() - before)
            if isinstance(error, Exception):  # hivemind raises what its daemon printed
                raise _explained(error, network=network, initial_peers=initial_peers) from error
            raise
        self._node, self._run_id = node, run_id
        return Presence(identity.peer_id, addresses)

    async def _create(
        self, identity: Any, *, run_id: str, initial_peers: Sequence[str], network: Network
    ) -> Any:
        from hivemind.dht.node import DHTNode
        from hivemind.dht.validation import CompositeValidator

        return await DHTNode.create(
            initial_peers=list(initial_peers),
            record_validator=CompositeValidator(self._swarm.validators(run_id, identity.key)),
            identity_path=str(self._identity_file),
            check_if_identity_free=False,  # the data folder is locked: nobody else has it
            startup_timeout=JOIN_SECONDS,
            **self._swarm.node_options(network),
        )

    async def addresses(self) -> tuple[str, ...]:
        """By which others reach us now: they change, with a relay or another network."""
        async with asyncio.timeout(READ_SECONDS):
            return await _addresses_of(self._node)

    async def leave(self) -> None:
        """Leave the swarm; nothing happens when we are in none."""
        alive, node, self._node = self.alive, self._node, None
        await self._latencies.close()
        if node is None:
            return
        # WORKAROUND (hivemind 1.1.12): a node first asks its daemon to forget our handlers, and
        # waits for the answer of one that is gone
        ways = (node.shutdown, node.p2p.shutdown) if alive else (node.p2p.shutdown,)
        for shut_down in ways:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READ_SECONDS):
                    await shut_down()
                return

    async def peers(self) -> tuple[PeerInfo, ...]:
        """Who we are connected to."""
        async with asyncio.timeout(READ_SECONDS):
            listed = await self._node.p2p.list_peers()
        now = time.time()
        found = tuple(self._peer_info(peer, now) for peer in listed)
        self._latencies.look(peer.peer_id for peer in found)
        return found

    def _peer_info(self, peer: Any, now: float) -> PeerInfo:
        peer_id = peer.peer_id.to_base58()
        address = str(peer.addrs[0]) if peer.addrs else ""
        return PeerInfo(
            peer_id=peer_id,
            address=address,
            last_seen=now,
            relayed="/p2p-circuit" in address,
            latency=self._latencies.of(peer_id),
        )

    @property
    def dht_nodes(self) -> int:
        """How many nodes of the DHT we know to ask."""
        return len(self._node.protocol.routing_table.uid_to_peer_id)

    async def _ping(self, peer_id: str) -> bool:
        from hivemind.p2p import PeerID

        node = self._node
        if node is None:
            return False
        return await node.protocol.call_ping(PeerID.from_base58(peer_id)) is not None

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        """Connect to a peer at a host's name or address; returns its multiaddr.

        Raises `ConnectError`, with a field when what was asked for makes no sense.
        """
        from hivemind.utils.multiaddr import Multiaddr

        peer = peer_id_of(peer_id)
        address = f"{_network_address(host)}/tcp/{port}"
        connecting = self._node.p2p._client.connect(peer, [Multiaddr(address)])  # noqa: SLF001
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connecting
        except Exception as error:  # hivemind raises what its daemon said
            raise _unreachable(error, address) from error
        await self._node.protocol.call_ping(peer)  # a peer of the DHT enters our routing table
        return f"{address}/p2p/{peer_id}"

    async def meet(self, addresses: Mapping[str, Sequence[str]]) -> bool:
        """Call on peers, by id; whether anybody answered. The node has given up those that were
        silent for a while, and takes them up again."""
        self._node.blacklist.clear()
        met = await meet(self._node, addresses)
        if met:  # on the way to what nobody has, we find those who know these
            looking = self._node.get(secrets.token_hex(16), latest=True)
            async with asyncio.timeout(READ_SECONDS):
                await looking
        return bool(met)

    async def observe(self) -> Run | None:
        """The run's training as its records in the DHT tell; None when nobody trains."""
        if not self._run_id:
            return None
        keys = [self._swarm.progress_key(self._run_id), self._swarm.metrics_key(self._run_id)]
        reading = self._node.get_many(keys, sufficient_expiration_time=float("inf"))
        async with asyncio.timeout(READ_SECONDS):
            found = await reading
        progress, metrics = (found[key].value if found.get(key) else None for key in keys)
        summary = self._swarm.summarize(progress, metrics)
        if summary is None:
            return None
        return Run(
            epoch=summary.epoch,
            samples=summary.samples,
            trainers=len(summary.trainers),
            trainer_ids=frozenset(summary.trainers),
            samples_per_second=summary.samples_per_second,
            loss=summary.loss,
        )


async def _addresses_of(node: Any) -> tuple[str, ...]:
    try:
        return tuple(str(address) for address in await node.get_visible_maddrs(latest=True))
    except ValueError:  # there are none
        return ()


_SHA256, _IDENTITY = b"\x12\x20", b"\x00"
"""How the two kinds of peer ids begin: the hash of a public key, or a short key itself."""


def peer_id_of(text: str) -> Any:
    """A peer id as hivemind has it. Raises `ConnectError` for what is none."""
    from hivemind.p2p import PeerID

    try:
        peer = PeerID.from_base58(text)
        raw = peer.to_bytes()
        hashed = raw[:2] == _SHA256 and len(raw) == 34
        plain = raw[:1] == _IDENTITY and len(raw) == raw[1] + 2 and len(raw) > 2
    except (ValueError, IndexError):
        hashed = plain = False
    if hashed or plain:
        return peer
    raise ConnectError(
        _("{text!r} is no peer id.").format(text=text[:80]),
        field="peer_id",
        remedy=_("It looks like Qm… or 12D3KooW…"),
    )


def _network_address(host: str) -> str:
    try:
        return host_part(host)
    except ValueError:
        message = _("{host!r} is neither an IP address nor a host's name.")
        raise ConnectError(message.format(host=host[:80]), field="address") from None


def _unreachable(error: Exception, address: str) -> ConnectError:
    lines = str(error).splitlines()
    reason = _("no answer within {seconds:.0f} s").format(seconds=CONNECT_SECONDS)
    if not isinstance(error, TimeoutError):
        reason = lines[0] if lines else repr(error)
    message = _("the peer at {address} can't be reached: {reason}.")
    return ConnectError(message.format(address=address, reason=reason))


def _daemons() -> "set[psutil.Process]":
    """The p2pd that are children of this process."""
    import psutil

    return {child for child in psutil.Process().children() if child.name() == "p2pd"}


def _kill(daemons: "set[psutil.Process]") -> None:
    """WORKAROUND (hivemind 1.1.12): a join that fails or is cancelled leaves its daemon running,
    with our identity and our port."""
    import psutil

    for daemon in daemons:
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.kill()


def _note_unasked_errors(loop: asyncio.AbstractEventLoop) -> None:
    """WORKAROUND (hivemind 1.1.12): it never asks how the tasks of its connection to p2pd
    ended, so asyncio would print a traceback for each daemon that is gone."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        future = context.get("future") or context.get("task")
        if "p2p_daemon_bindings" in repr(future):
            log.debug("hivemind's connection to its daemon: %r", context.get("exception"))
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


def _explained(error: Exception, *, network: Network, initial_peers: Sequence[str]) -> JoinError:
    text = str(error)
    if "address already in use" in text:
        port = network.listen[0].rpartition("/")[2]
        return JoinError(
            _("TCP port {port} is taken by another program.").format(port=port),
            field="dht_port",
            remedy=_("Choose another port in the settings, or 0 for any free one."),
        )
    if "bootstrap" in text or "none of the initial_peers" in text:
        message = _("none of the {count} peers to enter by can be reached.")
        return JoinError(
            message.format(count=len(initial_peers)),
            field="initial_peers",
            remedy=_("Check your network, or ask for a new invite: the peers may be off."),
        )
    if isinstance(error, TimeoutError):
        return JoinError(
            _("the swarm didn't answer within {seconds:.0f} s.").format(seconds=JOIN_SECONDS),
            field="initial_peers",
            remedy=_("Check your network and try again."),
        )
    log.error("joining failed", exc_info=error)
    reason = text.splitlines()[0] if text else repr(error)
    return JoinError(
        _("the peer-to-peer node can't start: {reason}.").format(reason=reason),
        remedy=_("See the log for details, and try again."),
    )
