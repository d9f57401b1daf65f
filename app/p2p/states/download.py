"""Fetches a state from peers of our kind.

A download that broke off goes on where it was, from another donor if need be.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from hivemind.p2p import PeerID

from app.common.errors import CoTrainError
from app.common.i18n import _
from app.common.rate import Rate
from app.p2p.calls import CallError, hivemind_errors
from app.p2p.states.wire import CHUNK_BYTES, Header, StateRefusal, Wanted

ANSWER_SECONDS = 60.0
"""Until a donor's first reply: it may have to copy its state before."""

SILENCE_SECONDS = 30.0
"""Between two replies; the next donor is asked after it."""

BRISK = 32 * 1024.0
"""Bytes a second that each donor is given a trial of `SLOWEST_SECONDS` at, before one is taken that
is slower: it may pretend, to keep a newcomer waiting."""

MOST_SLOW = 2
"""When so many donors were slower, our own line is, or the limit that it was given."""

SLOWEST = 2048.0
"""Bytes a second. A donor below it, over `SLOWEST_SECONDS`, is left for another one."""

SLOWEST_SECONDS = 60.0


class DonorError(CoTrainError):
    """A donor doesn't send what it was asked for. Its text says why."""


class SlowDonorError(DonorError):
    """A donor is slower than was asked."""


class OtherModelError(DonorError):
    """A donor holds a state of another layout."""


class WireLayout(Protocol):
    """What must be known of a layout to fetch a state."""

    @property
    def digest(self) -> str:
        """Two peers that have the same may exchange states."""

    @property
    def size(self) -> int:
        """Bytes of a state."""

    @property
    def parameters_end(self) -> int:
        """Bytes of the parameters, which come first, as float32."""


@dataclass(frozen=True, kw_only=True)
class SaidLayout:
    """A `WireLayout`, as a peer says it of what it has."""

    digest: str
    size: int
    parameters_end: int

    @classmethod
    def of(cls, header: Header) -> "SaidLayout":
        """Of a donor or a door."""
        return cls(digest=header.layout, size=header.size, parameters_end=header.parameters_end)


@dataclass(kw_only=True)
class Download:
    """A state, or its beginning, as far as it has arrived."""

    layout: WireLayout

    content: bytearray | memoryview
    """As long as what is wanted; of the layout's size, or shorter."""

    exact: bool = False
    """States of two epochs don't go together, while those of two donors do in any epoch."""

    received: int = 0
    """Bytes from the beginning that are there."""

    givers: set[PeerID] = field(default_factory=set)
    """The donors that a part is from."""

    epoch: int = -1
    """Of the newest snapshot that a part is from; -1 for none."""

    rate: float | None = None
    """Bytes a second, of late; None at first."""

    @property
    def is_complete(self) -> bool:
        """All bytes that are wanted are there."""
        return self.received >= len(self.content)


class DonorTurns:
    """Donors, each with the bytes a second that it must reach. One that is too slow in its trial
    has another turn after all the others."""

    def __init__(self, donors: Iterable[PeerID]) -> None:
        self._waiting = deque(donors)
        self._slow: set[PeerID] = set()
        self._slowest = BRISK

    def __iter__(self) -> Iterator[tuple[PeerID, float]]:
        while self._waiting:
            donor = self._waiting.popleft()
            is_trial = donor not in self._slow and len(self._slow) < MOST_SLOW
            self._slowest = BRISK if is_trial else SLOWEST
            yield donor, self._slowest

    def note_failure(self, donor: PeerID, error: CoTrainError) -> None:
        """The donor whose turn it is has failed."""
        if isinstance(error, SlowDonorError) and self._slowest > SLOWEST:
            self._slow.add(donor)
            self._waiting.append(donor)


async def at_full_speed(_size: int) -> None:
    """Keeps to no rate."""


@dataclass(frozen=True, kw_only=True)
class DonorCalls:
    """How other peers are called."""

    stub: Callable[[PeerID], Any]
    """From a peer to what calls it."""

    arrived: Callable[[int], Awaitable[None]] = at_full_speed
    """Told how many bytes have arrived; may wait, to keep to a rate."""

    async def header(self, peer: PeerID) -> Header:
        """What a donor or a door has, of any layout. Raises `DonorError` or `CallError`."""
        async with aclosing(self._replies(peer, Wanted(layout="", ranges=()))) as replies:
            return _parsed(await anext(replies, b""))

    async def fetch(
        self,
        peer: PeerID,
        download: Download,
        changed: Callable[[], None],
        *,
        slowest: float = SLOWEST,
    ) -> None:
        """Fetch what is missing of a download.

        changed: called after each part. slowest: bytes a second. Raises `DonorError` or
        `CallError`; what has arrived by then stays.
        """
        while not await self._fetched(peer, download, changed, slowest):
            download.received = 0
            download.givers.clear()

    async def _fetched(
        self, peer: PeerID, download: Download, changed: Callable[[], None], slowest: float
    ) -> bool:
        """False where what has arrived doesn't go together with what the donor has."""
        wanted = Wanted(
            layout=download.layout.digest, ranges=((download.received, len(download.content)),)
        )
        pace = DownloadPace(slowest)
        async with aclosing(self._replies(peer, wanted)) as replies:
            epoch = _checked(await anext(replies, b""), download.layout)
            if download.exact and download.received and epoch != download.epoch:
                return False
            download.epoch = max(download.epoch, epoch) if download.received else epoch
            async for part in replies:
                end = download.received + len(part)
                if end > len(download.content):
                    raise DonorError(_("it sends more than was asked for"))
                download.content[download.received : end] = part
                download.received = end
                download.givers.add(peer)
                download.rate = pace.after(len(part))
                changed()
        if not download.is_complete:
            raise DonorError(_("it stopped halfway"))
        return True

    async def sample(
        self, peer: PeerID, layout: WireLayout, ranges: Sequence[tuple[int, int]]
    ) -> tuple[int, bytes]:
        """A donor's epoch, and some of the bytes of its state. Raises `DonorError`, `CallError`."""
        size = sum(end - begin for begin, end in ranges)
        content = bytearray()
        wanted = Wanted(layout=layout.digest, ranges=tuple(ranges))
        pace = DownloadPace()
        async with aclosing(self._replies(peer, wanted)) as replies:
            epoch = _checked(await anext(replies, b""), layout)
            async for part in replies:
                content += part
                if len(content) > size:
                    raise DonorError(_("it sends more than was asked for"))
                pace.after(len(part))  # nobody may keep us waiting with nothing
        if len(content) != size:
            raise DonorError(_("it stopped halfway"))
        return epoch, bytes(content)

    async def _replies(self, peer: PeerID, wanted: Wanted) -> AsyncGenerator[Any, None]:
        """The bytes of a donor's replies, the header first."""
        with hivemind_errors(peer_id=peer.to_base58(), seconds=ANSWER_SECONDS):
            opening = self.stub(peer).rpc_send_state(wanted.pack())
            async with aclosing(replies_in_time(opening)) as replies:
                async for reply in replies:
                    part = reply.metadata
                    if len(part) > CHUNK_BYTES:
                        raise DonorError(_("it sends more than was asked for"))
                    await self.arrived(len(part))
                    yield part


async def replies_in_time(opening: Awaitable[Any]) -> AsyncGenerator[Any, None]:
    """The replies of a peer that is called. opening: the call, which gives their stream.

    Raises `TimeoutError` where it can't be called, `DonorError` where it is silent.
    """
    seconds = ANSWER_SECONDS
    async with asyncio.timeout(seconds):
        stream = await opening
    async with aclosing(stream):
        while True:
            try:
                async with asyncio.timeout(seconds):
                    reply = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DonorError(
                    _("it sent nothing for {seconds} s").format(seconds=round(seconds))
                ) from None
            seconds = SILENCE_SECONDS
            yield reply


class DownloadPace:
    """The rate of a download, from the times at which its parts arrive."""

    def __init__(self, slowest: float = SLOWEST) -> None:
        self._slowest = slowest
        self._rate = Rate()
        self._began = time.monotonic()
        self._total = 0

    def after(self, size: int) -> float | None:
        """Bytes a second, of late; None when it is too early to say.

        Raises `SlowDonorError`.
        """
        elapsed = time.monotonic() - self._began
        self._total += size
        if elapsed > SLOWEST_SECONDS and self._total < self._slowest * elapsed:
            raise SlowDonorError(_("it is very slow"))
        return self._rate.after(self._total)


def _parsed(packed: bytes) -> Header:
    """A donor's header. packed: b"" of one that ended without a word.

    Raises `DonorError` for one that sends nothing.
    """
    try:
        header = Header.parse(packed)
    except ValueError as error:
        raise DonorError(_("its answer can't be read")) from error
    if header.refusal == StateRefusal.OTHER_MODEL:
        raise _other_model()
    if header.refusal:
        raise DonorError(_("it sends nothing now: {reason}").format(reason=repr(header.refusal)))
    return header


def _checked(packed: bytes, layout: WireLayout) -> int:
    """The epoch in a donor's header. Raises `DonorError`."""
    header = _parsed(packed)
    if header.size != layout.size:
        raise _other_model()
    return header.epoch


def _other_model() -> OtherModelError:
    return OtherModelError(_("it trains another model, or with another optimizer"))


def is_unknown_call(error: CallError) -> bool:
    """Whether a peer doesn't know our way to send a state, as plain hivemind doesn't."""
    return "protocol" in error.details and "not supported" in error.details
