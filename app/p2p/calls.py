"""The one file of the app that calls hivemind's daemon (p2pd), and the one error of a failed call.

hivemind reports failures in many ways: errors of its own, errors of its daemon as text, errors
that another peer has sent, `OSError` on the socket to the daemon, `ValueError` for addresses that
it can't parse. Each function here has a deadline and raises `CallError` for all of them.

A "node" is a `hivemind.dht.node.DHTNode`; its ``p2p`` is a `hivemind.p2p.P2P`, which owns the
connection to the daemon. Peer ids are in base58, addresses are multiaddrs as text. hivemind is
imported late, since it pulls in torch.
"""

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.errors import CoTrainError
from app.common.i18n import _

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
"""The deadline of a call that is answered at once or not at all."""

START_GRACE_SECONDS = 5.0
"""hivemind ends a daemon that misses its start-up time. Our deadline comes later: it would leave
that daemon running."""


class CallError(CoTrainError):
    """A call on our daemon, or through it on another peer, failed.

    reason: why, in words, on one line without a full stop.
    details: all that hivemind or its daemon said, "" when the time was up.
    peer_id, address: whom and where we called, "" when it was our own daemon.
    timed_out: there was no answer in time.
    """

    def __init__(
        self,
        reason: str,
        *,
        details: str = "",
        peer_id: str = "",
        address: str = "",
        timed_out: bool = False,
    ) -> None:
        self.reason = reason
        self.details = details
        self.peer_id = peer_id
        self.address = address
        self.timed_out = timed_out
        whom = " at ".join(part for part in (peer_id, address) if part)
        super().__init__(f"{whom}: {reason}" if whom else reason)

    @property
    def other_peer(self) -> bool:
        """Another peer than the one that we called is at the address."""
        return "peer id mismatch" in self.details


# --- from hivemind's errors to ours


@contextlib.asynccontextmanager
async def within(seconds: float, *, peer_id: str = "", address: str = "") -> AsyncIterator[None]:
    """Give a block of hivemind's calls so many seconds; it raises `CallError` when it fails.

    The app's own errors pass through. peer_id, address: for the error.
    """
    with hivemind_errors(peer_id=peer_id, address=address, seconds=seconds):
        async with asyncio.timeout(seconds):
            yield


@contextlib.contextmanager
def hivemind_errors(
    *, peer_id: str = "", address: str = "", seconds: float | None = None
) -> Iterator[None]:
    """Raise `CallError` for whatever hivemind raises in the block. The app's own errors pass.

    hivemind raises the exceptions of p2pd, of msgpack, of multiaddr and those that other peers or
    its DHT process have sent. They have no common base class. peer_id, address: for the error.
    seconds: the deadline that a `TimeoutError` tells of, None when it isn't known.
    """
    try:
        yield
    except CoTrainError:
        raise
    except TimeoutError as error:
        reason = repr(error)
        if seconds is not None:
            reason = _("no answer within {seconds:.0f} s").format(seconds=seconds)
        raise CallError(reason, peer_id=peer_id, address=address, timed_out=True) from error
    except Exception as error:  # the one adapter of hivemind, which raises anything
        details = str(error)
        reason = _clocks_apart(details) or next(iter(details.splitlines()), "") or repr(error)
        raise CallError(reason, details=details, peer_id=peer_id, address=address) from error


_CLOCKS = re.compile(
    r"local time must be within.*local: (?P<ours>[\d.]+), peer: (?P<theirs>[\d.]+)"
)


def _clocks_apart(details: str) -> str:
    """hivemind's refusal of a peer with another time, in words; "" for another error."""
    if (found := _CLOCKS.search(details)) is None:
        return ""
    return clocks_apart(float(found["ours"]) - float(found["theirs"]))


def clocks_apart(ahead: float) -> str:
    """That our clock is wrong, and what to do. ahead: seconds before the other peer's time."""
    text = (
        _("the clock of this machine is {time} fast: let the system set it by itself")
        if ahead > 0
        else _("the clock of this machine is {time} slow: let the system set it by itself")
    )
    return text.format(time=_length(abs(ahead)))


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def unpacked(packed: bytes, *, malformed: Any = None) -> Any:
    """The value that packed bytes from any peer stand for, in hivemind's encoding.

    malformed: returned when the bytes stand for none.
    """
    from hivemind.utils import MSGPackSerializer

    try:
        with hivemind_errors():  # msgpack's documentation: unpacking may raise any exception
            return MSGPackSerializer.loads(packed)
    except CallError:
        return malformed


# --- addresses


def split(address: str) -> tuple[str, str]:
    """The place that a peer's multiaddr names, and the peer's id, "" where it names none.

    A relayed address, ``…/p2p/RELAY/p2p-circuit/p2p/PEER``, keeps the relay in its place.
    """
    place, found, peer_id = address.rpartition("/p2p/")
    return (place, peer_id) if found and "/" not in peer_id else (address, "")


def packed_addresses(addresses: Iterable[str]) -> list[bytes]:
    """Multiaddrs as bytes, without the peers' ids."""
    with hivemind_errors():
        return [each.to_bytes() for each in _multiaddrs(addresses)]


def _multiaddrs(addresses: Iterable[str]) -> list[Any]:
    from hivemind.utils.multiaddr import Multiaddr

    return [Multiaddr(split(address)[0]) for address in addresses]


def _id_of(peer_id: str) -> Any:
    from hivemind.p2p import PeerID

    return PeerID.from_base58(peer_id)


# --- the daemon


async def start_node(*, seconds: float, **options: Any) -> Any:
    """Start a node and its daemon. options: of `DHTNode.create`."""
    from hivemind.dht.node import DHTNode

    async with within(seconds + START_GRACE_SECONDS):
        return await DHTNode.create(startup_timeout=seconds, **options)


async def shut_down(node: Any) -> None:
    """End a node and its daemon, in order if the daemon lives."""
    # WORKAROUND (hivemind 1.1.12): a node first asks its daemon to forget our handlers, and
    # waits for the answer of one that is gone
    ways = (node.shutdown, node.p2p.shutdown) if is_alive(node) else (node.p2p.shutdown,)
    for end in ways:
        try:
            async with within(CALL_SECONDS):
                await end()
            return
        except CallError as error:
            log.info("a node didn't end in order: %s", error)


def is_alive(node: Any) -> bool:
    """The daemon of a node runs. hivemind tells nobody when it has died."""
    return node.p2p._child.returncode is None  # noqa: SLF001


@contextlib.asynccontextmanager
async def client_daemon(entries: Sequence[str], *, seconds: float) -> AsyncIterator[Any]:
    """A daemon without a node, which nobody can call: gives its `P2P`, and ends it afterwards.

    entries: multiaddrs of peers by which it enters the network.
    """
    from hivemind.p2p import P2P

    async with within(seconds + START_GRACE_SECONDS):
        p2p = await P2P.create(
            initial_peers=list(entries),
            dht_mode="client",
            no_listen=True,
            auto_nat=False,
            nat_port_map=False,
            startup_timeout=seconds,
        )
    try:
        yield p2p
    finally:
        await p2p.shutdown()


async def own_addresses(node: Any) -> tuple[str, ...]:
    """The multiaddrs by which others reach a node now, with its id; () when there are none."""
    async with within(CALL_SECONDS):
        try:
            found = await node.get_visible_maddrs(latest=True)
        except ValueError:  # hivemind's way to say that there are none
            return ()
        return tuple(str(address) for address in found)


@dataclass(frozen=True)
class PeerConnection:
    """A connection to another peer."""

    peer_id: str
    addresses: tuple[str, ...]
    """Multiaddrs of the other side, without its id."""


async def connections(p2p: Any) -> list[PeerConnection]:
    """All connections of a daemon; there may be several to one peer."""
    async with within(CALL_SECONDS):
        return [
            PeerConnection(each.peer_id.to_base58(), tuple(map(str, each.addrs)))
            for each in await p2p.list_peers()
        ]


def quiet_lost_connections(loop: asyncio.AbstractEventLoop) -> None:
    """WORKAROUND (hivemind 1.1.12): it never asks how the tasks of its connection to p2pd
    ended, so asyncio would print a traceback for each daemon that is gone, and for each stream
    that another peer closes without a word."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        future = context.get("future") or context.get("task")
        error = context.get("exception")
        is_closed_stream = isinstance(error, asyncio.IncompleteReadError)
        if "p2p_daemon" in repr(future) or (is_closed_stream and future is None):
            log.debug("hivemind's connection to its daemon: %r", error)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


# --- other peers


async def connect(
    p2p: Any, peer_id: str, addresses: Iterable[str] = (), *, seconds: float = CALL_SECONDS
) -> None:
    """Connect to a peer. addresses: without any, the network is searched for the peer."""
    addresses = tuple(addresses)
    async with within(seconds, peer_id=peer_id, address=", ".join(addresses)):
        await p2p._client.connect(_id_of(peer_id), _multiaddrs(addresses))  # noqa: SLF001


async def ping(node: Any, peer_id: str) -> bool:
    """A peer answers as a node of the DHT; it then enters our routing table."""
    try:
        async with within(CALL_SECONDS, peer_id=peer_id):
            return await node.protocol.call_ping(_id_of(peer_id)) is not None
    except CallError as error:
        log.debug("no ping: %s", error)
        return False


async def clock_of(node: Any, peer_id: str) -> float:
    """A peer's time, in seconds since the epoch, as its node of the DHT tells it."""
    from hivemind.proto import dht_pb2

    wire: Any = dht_pb2  # its names are made at run time
    async with within(CALL_SECONDS, peer_id=peer_id):
        request = wire.PingRequest(peer=node.protocol.node_info)
        reply = await node.protocol.get_stub(_id_of(peer_id)).rpc_ping(request)
        return float(reply.dht_time)


async def exchange(
    p2p: Any, peer_id: str, *, protocol: str, message: bytes, seconds: float
) -> bytes:
    """Send a message to a peer on a stream of one of libp2p's own protocols, which hivemind
    doesn't speak; returns the whole reply."""
    async with within(seconds, peer_id=peer_id):
        reader, writer = await open_stream(p2p, peer_id, protocol=protocol, seconds=seconds)
        with contextlib.closing(writer):
            writer.write(message)
            return bytes(await reader.read())


async def open_stream(
    p2p: Any, peer_id: str, *, protocol: str, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream to a peer that has a handler for a protocol."""
    from hivemind.p2p.p2p_daemon_bindings import utils
    from hivemind.proto import p2pd_pb2

    wire: Any = p2pd_pb2  # its names are made at run time
    answer = wire.Response()
    # WORKAROUND (hivemind 1.1.12): its own way never closes the connection to the daemon when the
    # peer can't be reached, or when it is cancelled
    async with within(seconds, peer_id=peer_id):
        wanted = wire.StreamOpenRequest(peer=_id_of(peer_id).to_bytes(), proto=[protocol])
        reader, writer = await p2p._client.control.daemon_connector.open_connection()  # noqa: SLF001
        with contextlib.ExitStack() as unless_it_opens:
            unless_it_opens.callback(writer.close)
            request = wire.Request(type=wire.Request.STREAM_OPEN, streamOpen=wanted)
            await utils.write_pbmsg(writer, request)
            await utils.read_pbmsg_safe(reader, answer)
            utils.raise_if_failed(answer)
            unless_it_opens.pop_all()
        return reader, writer


async def offer(node: Any, protocol: str, handler: Any) -> None:
    """Answer the streams of a protocol: ``handler`` gets who calls, a reader and a writer."""
    async with within(CALL_SECONDS):
        await node.p2p.add_binary_stream_handler(protocol, handler)


async def withdraw(node: Any, protocol: str) -> None:
    """Answer the streams of a protocol no more."""
    async with within(CALL_SECONDS):
        await node.p2p.remove_binary_stream_handler(protocol)


# --- the DHT


async def read(node: Any, keys: Sequence[str]) -> dict[str, Any]:
    """The newest values under some keys that nodes of the DHT can be found to hold; None for keys
    without one."""
    async with within(CALL_SECONDS):
        found = await node.get_many(keys, sufficient_expiration_time=float("inf"))
        return {key: found[key].value if found.get(key) else None for key in keys}


async def store(node: Any, key: str, *, subkey: Any, value: Any, seconds: float) -> bool:
    """Store an entry of a key's dictionary for some seconds; False when nobody took it."""
    async with within(CALL_SECONDS):
        return bool(await node.store(key, value, time.time() + seconds, subkey=subkey))


async def refresh_routing(node: Any, *, seconds: float = CALL_SECONDS) -> None:
    """Look up a random key, which walks the DHT and refills the routing table: nodes that are
    gone fall out of it, new ones get in."""
    async with within(seconds):
        await node.get(secrets.token_hex(16), latest=True)
