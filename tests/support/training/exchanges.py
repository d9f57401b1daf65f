"""Members of an exchange in one process, each with a p2pd of its own."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hivemind.p2p import P2P

from app.organiser.admission import OPEN, Admission
from app.p2p.run_records import Identity, load_identity
from app.p2p.sightings import PartFault
from app.trainer.exchange.election import order
from app.trainer.exchange.exchange import BlobExchange, ExchangeDaemon, Swap
from app.trainer.exchange.rules import Waits
from app.trainer.exchange.streams import Line, Stream

RUN = "run"
MOST_BYTES = 4 * 2**20
PATIENCE = 60.0
"""Seconds for which a busy machine isn't silent."""

SILENCE = 2.0
"""The same, where somebody is silent on purpose."""

BAD = b"bad"
"""How a blob begins that can't be read."""


@dataclass(kw_only=True, eq=False)
class Peer:
    """A member, and what it said and saw."""

    identity: Identity
    exchange: BlobExchange
    faults: list[tuple[str, PartFault]]
    checked: list[bytes]
    """Blobs that it looked at."""

    has_checked: threading.Semaphore
    """One more for each."""

    @property
    def peer_id(self) -> str:
        return self.identity.peer_id

    def lose_patience(self) -> None:
        """Take others for silent after `SILENCE` from now on, those whom it waits for now too."""
        object.__setattr__(self.exchange._rules.waits, "silence", SILENCE)


@dataclass
class Swarm:
    """Members that know each other's addresses."""

    folder: Path
    peers: list[Peer] = field(default_factory=list)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32))
    addresses: list[Any] = field(default_factory=list)
    """Of the first one."""

    files: dict[str, Path] = field(default_factory=dict)
    """The key of each, by peer id."""

    def identity(self) -> Identity:
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"{len(self.files)}.key"
        made = load_identity(file)
        self.files[made.peer_id] = file
        return made

    async def daemon(self, identity: Identity, *, client_mode: bool = False) -> P2P:
        """A p2pd that knows the others."""
        options: dict[str, Any] = {"no_listen": True, "dht_mode": "client"} if client_mode else {}
        p2p = await P2P.create(
            initial_peers=self.addresses,
            identity_path=str(self.files[identity.peer_id]),
            check_if_identity_free=False,
            auto_nat=False,
            nat_port_map=False,
            startup_timeout=PATIENCE,
            **options,
        )
        self.addresses = self.addresses or await p2p.get_visible_maddrs()
        return p2p

    def add(
        self,
        *,
        client_mode: bool = False,
        admission: Admission = OPEN,
        gather_seconds: float = 60.0,
        round_seconds: float = 240.0,
        identity: Identity | None = None,
    ) -> Peer:
        identity = identity or self.identity()
        faults: list[tuple[str, PartFault]] = []
        checked: list[bytes] = []
        has_checked = threading.Semaphore(0)

        def check(blob: bytes) -> None:
            checked.append(blob)
            has_checked.release()
            if blob.startswith(BAD):
                raise ValueError("bad")

        exchange = BlobExchange(
            dht=ExchangeDaemon(
                open=lambda: self.daemon(identity, client_mode=client_mode),
                client_mode=client_mode,
                key=identity.key,
            ),
            run_id=RUN,
            admission=admission,
            check=check,
            most_bytes=MOST_BYTES,
            most_weight=1000.0,
            on_fault=lambda _epoch, offence: faults.append((offence.peer_id, offence.fault)),
            gather_seconds=gather_seconds,
            round_seconds=round_seconds,
            waits=Waits(answer=PATIENCE, silence=PATIENCE, word=0.2, doubling=0.5),
        )
        peer = Peer(
            identity=identity,
            exchange=exchange,
            faults=faults,
            checked=checked,
            has_checked=has_checked,
        )
        self.peers.append(peer)
        return peer

    def in_order(self, epoch: int, peers: Iterable[Peer]) -> list[Peer]:
        """The one that should lead first."""
        by_id = {peer.peer_id: peer for peer in peers}
        return [by_id[each] for each in order(RUN, epoch, by_id)]

    def swap(
        self,
        peer: Peer,
        blob: bytes,
        *,
        epoch: int = 1,
        others: Iterable[Peer | str] | None = None,
        weight: float = 1.0,
    ) -> "Future[Swap]":
        """In a thread. others: whom it expects; all, if it isn't said."""
        others = self.peers if others is None else others
        ids = {each if isinstance(each, str) else each.peer_id for each in others}
        return self.pool.submit(
            peer.exchange.swap,
            epoch=epoch,
            blob=blob,
            weight=weight,
            expected=ids - {peer.peer_id},
        )

    def close(self) -> None:
        closing = [self.pool.submit(peer.exchange.close) for peer in self.peers]
        for each in closing:
            each.result()
        self.pool.shutdown()


def epoch_led_by(leader: str, others: Iterable[str], *, after: int = 0) -> int:
    """The first epoch after one in whose order a peer is the first."""
    ids = {leader, *others}
    epoch = after + 1
    while order(RUN, epoch, ids)[0] != leader:
        epoch += 1
    return epoch


Spoil = Callable[[bytes], bytes]


@asynccontextmanager
async def served(
    serve: Callable[[Stream], Coroutine[Any, Any, None]], *, peers: tuple[str, str], silence: float
) -> AsyncIterator[Stream]:
    """One end of a stream whose other end is served, without p2pd, and then closed. peers: whom the
    served end speaks with, and whom the given one."""
    ends = []
    for end, peer_id in zip(socket.socketpair(), peers, strict=True):
        reader, writer = await asyncio.open_connection(sock=end)
        ends.append(Stream(reader, writer, peer_id=peer_id, line=Line(), silence=silence))

    async def handle() -> None:
        try:
            await serve(ends[0])
        finally:
            ends[0].close()

    serving = asyncio.create_task(handle())
    try:
        yield ends[1]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        for each in ends:
            each.close()
