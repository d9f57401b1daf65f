"""A round of the strategies in which each peer tells all others what it learnt, as bytes."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import hivemind
from hivemind.dht import DHT
from hivemind.p2p import P2P
from hivemind.utils.crypto import RSAPrivateKey

from app.common.i18n import _
from app.organiser.admission import Admission
from app.p2p.calls import quiet_lost_connections, within
from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import Offence
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.member import (
    LINGER_SECONDS,
    ExchangeError,
    ExchangeMember,
    GoneRoundError,
)
from app.trainer.exchange.offers import OwnKey
from app.trainer.exchange.rules import ExchangeRules, Waits

__all__ = [
    "BlobExchange",
    "Exchange",
    "ExchangeDaemon",
    "ExchangeError",
    "GoneRoundError",
    "InterruptedRoundError",
    "PeerBlob",
    "Swap",
]

Result = TypeVar("Result")

OPEN_SECONDS = 30.0
CLOSE_SECONDS = LINGER_SECONDS + 5.0


class InterruptedRoundError(ExchangeError):
    """We left the round."""


@dataclass(frozen=True, kw_only=True)
class PeerBlob:
    """What a peer brought to a round."""

    peer_id: str
    """In base58."""

    weight: float
    """In samples."""

    blob: bytes


@dataclass(frozen=True, kw_only=True)
class Swap:
    """What a round brought: the same at all its members."""

    contributions: tuple[PeerBlob, ...]
    """In the order of the peer ids as text; ours among them if it counts."""

    epoch: int


class Exchange(Protocol):
    """Exchanges blobs with the other trainers of a run, one round for each epoch."""

    def swap(self, *, epoch: int, blob: bytes, weight: float, expected: Collection[str]) -> Swap:
        """Take part in the round of an epoch, and wait until it is over.

        Called in a background thread, once for an epoch, with ascending epochs. expected: the peer
        ids of the run's other trainers; without any, our own blob comes back at once. Raises
        `ExchangeError`: then nothing of the round may be used.
        """

    def fetch(self, *, epoch: int, members: Collection[str], seconds: float | None = None) -> Swap:
        """What a round brought in which we took no part, or from which we were cut off.

        Called in a background thread. members: peer ids of the run's other trainers. seconds: how
        long its list may take, if the round isn't over yet; None for as long as a round. Raises
        `ExchangeError`, and `GoneRoundError` where it's no use to ask again.
        """

    def judge(self, swap: Swap, faults: Mapping[str, PartFault]) -> None:
        """After a swap: why what some of its members brought did not count, or only in part.

        faults: by peer id. Whoever goes on like this is evicted. In any thread.
        """

    def interrupt(self) -> None:
        """From any thread: whoever waits for a round gets an `InterruptedRoundError` soon."""

    def close(self) -> None:
        """End it. May be called twice."""

    @property
    def is_fetching(self) -> bool:
        """Blobs are on their way to us. Any thread may ask."""

    @property
    def bytes_sent(self) -> int:
        """Of blobs, to other peers."""

    @property
    def bytes_sent_in_rounds(self) -> int:
        """Of these, to members of their rounds."""

    @property
    def bytes_received(self) -> int:
        """Of blobs, from other peers."""


@dataclass(frozen=True, kw_only=True)
class ExchangeDaemon:
    """The p2pd by which others are called."""

    open: Callable[[], Awaitable[P2P]]
    """Connects to it, in the exchange's event loop."""

    client_mode: bool
    """Nobody can call us there."""

    key: RSAPrivateKey
    """The identity of our peer."""

    @classmethod
    def of(cls, dht: hivemind.DHT) -> "ExchangeDaemon":
        """That of a DHT, whose identity is hivemind's process-wide key."""

        async def connect() -> P2P:
            maddr: Any = await asyncio.to_thread(
                dht.run_coroutine,
                DHT._get_p2p_daemon_listen_maddr,  # noqa: SLF001
            )
            return await P2P.replicate(maddr)

        return cls(open=connect, client_mode=dht.client_mode, key=RSAPrivateKey.process_wide())


class BlobExchange:
    """An `Exchange` over hivemind's p2pd, in a thread of its own.

    hivemind's averagers, which are forked, must have been started before.
    """

    def __init__(  # noqa: PLR0913  all that differs between runs
        self,
        *,
        dht: hivemind.DHT | ExchangeDaemon,
        run_id: str,
        admission: Admission,
        check: Callable[[bytes], None],
        most_bytes: int,
        most_weight: float,
        on_fault: Callable[[int, Offence], None],
        gather_seconds: float,
        round_seconds: float,
        waits: Waits = Waits(),  # noqa: B008  it is frozen
    ) -> None:
        """check: raises `ValueError` for a blob that can't be read; called in a thread.
        most_bytes: of a blob. most_weight: of a peer. on_fault: called in any thread with the epoch
        and what a peer did. gather_seconds: how long a leader waits for
        offers. round_seconds: the longest time of a round. Raises `CallError`.
        """
        daemon = dht if isinstance(dht, ExchangeDaemon) else ExchangeDaemon.of(dht)
        self._rules = ExchangeRules(
            run_id=run_id,
            admission=admission,
            check=check,
            most_bytes=most_bytes,
            most_weight=most_weight,
            gather_seconds=gather_seconds,
            round_seconds=round_seconds,
            waits=waits,
        )
        self._faults = Faults(on_fault)
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        quiet_lost_connections(self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchange", daemon=True)
        self._thread.start()
        with contextlib.ExitStack() as unless_it_opens:
            unless_it_opens.callback(self._end_loop)
            self._p2p, self._member = self._call(self._open(daemon))
            unless_it_opens.pop_all()

    async def _open(self, daemon: ExchangeDaemon) -> tuple[P2P, ExchangeMember]:
        async with within(OPEN_SECONDS):
            p2p = await daemon.open()
            member = ExchangeMember(
                p2p,
                key=OwnKey(daemon.key),
                client_mode=daemon.client_mode,
                rules=self._rules,
                faults=self._faults,
            )
            await member.open()
        return p2p, member

    def swap(self, *, epoch: int, blob: bytes, weight: float, expected: Collection[str]) -> Swap:
        """As `Exchange.swap`."""
        return self._brought(
            epoch,
            self._member.swap(epoch=epoch, blob=blob, weight=weight, expected=expected),
        )

    def fetch(self, *, epoch: int, members: Collection[str], seconds: float | None = None) -> Swap:
        """As `Exchange.fetch`."""
        return self._brought(
            epoch, self._member.fetch(epoch=epoch, members=members, seconds=seconds)
        )

    def _brought(
        self, epoch: int, call: Coroutine[Any, Any, list[tuple[str, float, bytes]]]
    ) -> Swap:
        try:
            parts = self._call(call)
        except concurrent.futures.CancelledError:
            raise InterruptedRoundError(_("the round was interrupted")) from None
        blobs = (PeerBlob(peer_id=each, weight=w, blob=content) for each, w, content in parts)
        return Swap(contributions=tuple(blobs), epoch=epoch)

    def judge(self, swap: Swap, faults: Mapping[str, PartFault]) -> None:
        """As `Exchange.judge`."""
        members = [each.peer_id for each in swap.contributions]
        self._faults.judge(swap.epoch, members, faults)

    def _call(self, call: Coroutine[Any, Any, Result]) -> Result:
        if self._is_closed:
            call.close()
            raise InterruptedRoundError(_("the round was interrupted"))
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        self._waiting.add(future)
        try:
            return future.result()
        finally:
            self._waiting.discard(future)

    def interrupt(self) -> None:
        """As `Exchange.interrupt`."""
        for each in list(self._waiting):
            each.cancel()

    def close(self) -> None:
        """Leave all rounds, and end the thread. May be called twice.

        Others get what we have of the last round before, for some seconds.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self.interrupt()
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        concurrent.futures.wait([closing], timeout=CLOSE_SECONDS)
        self._end_loop()

    async def _close(self) -> None:
        async with within(CLOSE_SECONDS):
            await self._member.close()
        await self._p2p.shutdown()

    def _end_loop(self) -> None:
        ending = asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop)
        concurrent.futures.wait([ending], timeout=CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    @property
    def is_fetching(self) -> bool:
        """As `Exchange.is_fetching`."""
        return self._member.fetches > 0

    @property
    def bytes_sent(self) -> int:
        """As `Exchange.bytes_sent`."""
        return self._member.line.sent

    @property
    def bytes_sent_in_rounds(self) -> int:
        """As `Exchange.bytes_sent_in_rounds`."""
        return self._member.line.sent_to_members

    @property
    def bytes_received(self) -> int:
        """As `Exchange.bytes_received`."""
        return self._member.line.received


async def _end_tasks() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
    await asyncio.sleep(0)  # transports that were closed by then end
