"""Calling a swarm's peers as a stranger does, to see what is wrong with them, or with us."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from app.p2p import autonat, calls
from app.p2p.board import Board, RunBoard
from app.p2p.calls import CallError
from app.p2p.machine_records import Inspection, Inspector, MachineRecord
from app.p2p.peer import load_hivemind

CONNECT_SECONDS = 10.0
START_SECONDS = 30.0
CALL_BACK_SECONDS = 20.0


class CallOutcome(Enum):
    """Who answered a call to a peer."""

    PEER = auto()
    SOMEBODY_ELSE = auto()  # another peer is at its address
    NO_NODE = auto()  # libp2p answers, but no node of a DHT that we understand
    NOBODY = auto()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call to a peer."""

    answer: CallOutcome
    latency: float = 0.0
    """The round-trip time in seconds; 0 unless the answer is `CallOutcome.PEER`."""

    clock: float = 0.0
    """Seconds by which the peer's clock is ahead of ours, exact to half of the latency; 0 unless
    the answer is `CallOutcome.PEER`."""


class Scout:
    """A node of its own that other peers can't call: it sees the same whether or not the embedded
    peer is in the swarm. It lives as long as the ``async with`` block, which raises `CallError`
    when no node can be started."""

    def __init__(self, run_id: str, entries: Sequence[str] = ()) -> None:
        """entries: multiaddrs of peers to enter the network by; without any, it is in none."""
        self._run_id = run_id
        self._entries = entries
        self._node: Any = None
        self._inspector = Inspector(run_id)

    @property
    def node(self) -> Any:
        """Our `DHTNode`."""
        return self._node

    async def __aenter__(self) -> Self:
        self._run_records = await load_hivemind()
        from hivemind.dht.validation import CompositeValidator
        from hivemind.utils.crypto import RSAPrivateKey

        key = await asyncio.to_thread(RSAPrivateKey)
        self._node = await calls.start_node(
            seconds=START_SECONDS,
            initial_peers=list(self._entries),
            record_validator=CompositeValidator(self._run_records.validators(self._run_id, key)),
            client_mode=True,
            no_listen=True,
            host_maddrs=[],
            auto_nat=False,
            nat_port_map=False,
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        await calls.shut_down(self._node)

    async def call(self, peer_id: str, addresses: Sequence[str]) -> Call:
        """Call a peer at its addresses, and ask it as a node of the DHT."""
        try:
            await calls.connect(self._node.p2p, peer_id, addresses, seconds=CONNECT_SECONDS)
        except CallError as error:
            somebody = CallOutcome.SOMEBODY_ELSE if error.other_peer else CallOutcome.NOBODY
            return Call(answer=somebody)
        began, clock = time.monotonic(), time.time()
        try:
            theirs = await calls.clock_of(self._node, peer_id)
        except CallError:
            return Call(answer=CallOutcome.NO_NODE)
        took = time.monotonic() - began
        await calls.ping(self._node, peer_id)
        # hivemind enters it into the routing table, by which records are found, in another task
        await asyncio.sleep(0)
        return Call(answer=CallOutcome.PEER, latency=took, clock=theirs - clock - took / 2)

    async def trainers(self) -> int:
        """How many train in the run, by the records of the peers that answered; 0 as well when
        they don't know the run. Raises `CallError`."""
        key = self._run_records.progress_key(self._run_id)
        (progress,) = await RunBoard(self._node, [key]).read()
        summary = await asyncio.to_thread(self._run_records.summarize, progress, None)
        return 0 if summary is None else len(summary.trainers)

    async def machines(self) -> dict[str, MachineRecord]:
        """The sound records of the run's machines, by public key, that are newer than those of the
        call before. Raises `CallError`."""
        found: dict[str, MachineRecord] = {}

        async def take(inspection: Inspection) -> None:
            found.update(inspection.records)

        await Board(self._node, self._run_id).read(self._inspector, take)
        return found


async def called_back(node: Any, peer_ids: Iterable[str]) -> bool | None:
    """Whether peers that the node is connected to can reach it on a connection of their own.

    None when none of them would try, as in a local network.
    """
    tries = await asyncio.gather(*(_called_back(node, peer_id) for peer_id in peer_ids))
    if autonat.Status.OK in tries:
        return True
    return False if autonat.Status.DIAL_ERROR in tries else None


async def _called_back(node: Any, peer_id: str) -> autonat.Status | None:
    """What a peer tells of its try; None for a peer that doesn't know AutoNAT."""
    with contextlib.suppress(CallError, ValueError):
        own = await calls.own_addresses(node)
        if not own:
            return None
        direct = calls.packed_addresses(one for one in own if "/p2p-circuit" not in one)
        reply = await calls.exchange(
            node.p2p,
            peer_id,
            protocol=autonat.PROTOCOL,
            message=autonat.question(node.peer_id.to_bytes(), direct),
            seconds=CALL_BACK_SECONDS,
        )
        return autonat.answer(reply)
    return None
