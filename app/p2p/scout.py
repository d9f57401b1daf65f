"""Calling on a swarm's peers as a stranger does, to see what is wrong with them, or with us."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from app.p2p import autonat
from app.p2p.peer import READ_SECONDS, load_hivemind

CALL_SECONDS = 10.0
START_SECONDS = 30.0
CALL_BACK_SECONDS = 20.0


class CallOutcome(Enum):
    """Who answered a call on a peer."""

    PEER = auto()
    SOMEBODY_ELSE = auto()  # another peer is at its address
    NO_NODE = auto()  # libp2p is there, but no node of a DHT that we understand
    NOBODY = auto()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call on a peer. latency: seconds there and back; clock: seconds that theirs is ahead of
    ours, as exact as half of the latency; both 0 without an answer of its own."""

    answer: CallOutcome
    latency: float = 0.0
    clock: float = 0.0


class Scout:
    """A node that nobody calls on, and of its own: it sees the same whether or not we are in the
    swarm already. As long as the ``async with`` lasts, which raises what hivemind raises when no
    node can be started."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._node: Any = None

    async def __aenter__(self) -> Self:
        self._swarm = await load_hivemind()
        from hivemind.dht.node import DHTNode
        from hivemind.dht.validation import CompositeValidator
        from hivemind.utils.crypto import RSAPrivateKey

        key = await asyncio.to_thread(RSAPrivateKey)
        self._node = await DHTNode.create(
            record_validator=CompositeValidator(self._swarm.validators(self._run_id, key)),
            client_mode=True,
            no_listen=True,
            host_maddrs=[],
            auto_nat=False,
            nat_port_map=False,
            startup_timeout=START_SECONDS,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                await self._node.shutdown()

    async def call(self, peer_id: str, addresses: Sequence[str]) -> Call:
        """Call on a peer at its addresses, and ask what it is."""
        from hivemind.p2p import PeerID
        from hivemind.utils.multiaddr import Multiaddr

        peer = PeerID.from_base58(peer_id)
        places = [Multiaddr(address.rpartition("/p2p/")[0]) for address in addresses]
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._node.p2p._client.connect(peer, places)  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  hivemind raises what its daemon said
            other = "peer id mismatch" in str(error)
            return Call(answer=CallOutcome.SOMEBODY_ELSE if other else CallOutcome.NOBODY)
        return await self._ask(peer)

    async def _ask(self, peer: Any) -> Call:
        from hivemind.proto import dht_pb2

        protocol = self._node.protocol
        request = dht_pb2.PingRequest(peer=protocol.node_info)  # type: ignore[attr-defined]
        began, clock = time.monotonic(), time.time()
        try:
            async with asyncio.timeout(READ_SECONDS):
                reply = await protocol.get_stub(peer).rpc_ping(request)
        except Exception:  # noqa: BLE001  as above
            return Call(answer=CallOutcome.NO_NODE)
        took = time.monotonic() - began
        await protocol.call_ping(peer)  # enters the routing table, for `trainers`
        return Call(answer=CallOutcome.PEER, latency=took, clock=reply.dht_time - clock - took / 2)

    async def trainers(self) -> int:
        """How many train in the run, as those who answered know; 0 as well where they don't know
        the run."""
        key = self._swarm.progress_key(self._run_id)
        reading = self._node.get(key, sufficient_expiration_time=float("inf"))
        async with asyncio.timeout(READ_SECONDS):
            found = await reading
        summary = self._swarm.summarize(found.value if found else None, None)
        return 0 if summary is None else len(summary.trainers)


async def called_back(node: Any, peer_ids: Iterable[str]) -> bool | None:
    """Whether peers that the node is connected to can reach it, on a connection of their own.

    None where none of them would try, as in a local network.
    """
    tries = await asyncio.gather(*(_called_back(node, peer_id) for peer_id in peer_ids))
    if autonat.Status.OK in tries:
        return True
    return False if autonat.Status.DIAL_ERROR in tries else None


async def _called_back(node: Any, peer_id: str) -> autonat.Status | None:
    from hivemind.p2p import PeerID
    from hivemind.utils.multiaddr import Multiaddr

    try:
        own = [str(address) for address in await node.get_visible_maddrs(latest=True)]
        direct = [one.rpartition("/p2p/")[0] for one in own if "/p2p-circuit" not in one]
        places = [Multiaddr(one).to_bytes() for one in direct]
        async with asyncio.timeout(CALL_BACK_SECONDS):
            _info, reader, writer = await node.p2p._client.stream_open(  # noqa: SLF001
                PeerID.from_base58(peer_id), [autonat.PROTOCOL]
            )
            with contextlib.closing(writer):
                writer.write(autonat.question(node.peer_id.to_bytes(), places))
                return autonat.answer(await reader.read())
    except Exception:  # noqa: BLE001  a peer that doesn't know how, hivemind's own errors
        return None
