"""Fetches a state from peers of our kind.

A download that broke off goes on where it was, from another donor if need be.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import torch
from hivemind.p2p import PeerID

from app.common.errors import CoTrainError
from app.common.i18n import _
from app.common.rate import Rate
from app.p2p.calls import CallError, hivemind_errors
from app.trainer.joining.layout import StateLayout
from app.trainer.joining.wire import CHUNK_BYTES, Header, StateRefusal, Wanted
from app.trainer.peer.bandwidth import DOWNLOAD
from app.trainer.peer.traffic import Traffic

ANSWER_SECONDS = 60.0
"""Until a donor's first reply: it may have to copy its state before."""

SILENCE_SECONDS = 30.0
"""Between two replies; the next donor is asked after it."""

SLOWEST = 2048.0
"""Bytes a second. A donor below it, over `SLOWEST_SECONDS`, is left for another one."""

SLOWEST_SECONDS = 60.0


class DonorError(CoTrainError):
    """A donor doesn't send what it was asked for. Its text says why."""


class OtherModelError(DonorError):
    """A donor holds a state of another layout."""


@dataclass(kw_only=True)
class Download:
    """A state as far as it has arrived."""

    layout: StateLayout

    content: bytearray = field(init=False)

    received: int = 0
    """Bytes from the beginning that are there."""

    givers: set[PeerID] = field(default_factory=set)
    """The donors that a part is from."""

    epoch: int = -1
    """Of the newest snapshot that a part is from; -1 for none."""

    rate: float | None = None
    """Bytes a second, of late; None at first."""

    def __post_init__(self) -> None:
        self.content = bytearray(self.layout.size)

    @property
    def is_complete(self) -> bool:
        """All bytes are there."""
        return self.received >= self.layout.size

    def tensors(self) -> list[torch.Tensor]:
        """What has arrived, without a copy."""
        return self.layout.unpack(self.content)


@dataclass(frozen=True, kw_only=True)
class DonorCalls:
    """How other peers are called."""

    stub: Callable[[PeerID], Any]
    """From a peer to what calls it."""

    traffic: Traffic
    """Counts what arrives."""

    async def fetch(self, peer: PeerID, download: Download, changed: Callable[[], None]) -> None:
        """Fetch what is missing of a download.

        changed: called after each part. Raises `DonorError` or `CallError`; what has arrived by
        then stays.
        """
        wanted = Wanted(
            layout=download.layout.digest, ranges=((download.received, download.layout.size),)
        )
        pace = _Pace()
        async with aclosing(self._replies(peer, wanted)) as replies:
            header = await anext(replies)
            download.epoch = max(download.epoch, _checked(header, download.layout))
            async for part in replies:
                end = download.received + len(part)
                if end > download.layout.size:
                    raise DonorError(_("it sends more than was asked for"))
                download.content[download.received : end] = part
                download.received = end
                download.givers.add(peer)
                download.rate = pace.after(len(part))
                changed()
        if not download.is_complete:
            raise DonorError(_("it stopped halfway"))

    async def sample(
        self, peer: PeerID, layout: StateLayout, ranges: Sequence[tuple[int, int]]
    ) -> tuple[int, bytes]:
        """A donor's epoch, and some of the bytes of its state. Raises `DonorError`, `CallError`."""
        size = sum(end - begin for begin, end in ranges)
        content = bytearray()
        wanted = Wanted(layout=layout.digest, ranges=tuple(ranges))
        async with aclosing(self._replies(peer, wanted)) as replies:
            epoch = _checked(await anext(replies), layout)
            async for part in replies:
                content += part
                if len(content) > size:
                    raise DonorError(_("it sends more than was asked for"))
        if len(content) != size:
            raise DonorError(_("it stopped halfway"))
        return epoch, bytes(content)

    async def _replies(self, peer: PeerID, wanted: Wanted) -> AsyncGenerator[Any, None]:
        """The bytes of a donor's replies, the header first."""
        with hivemind_errors(peer_id=peer.to_base58()):
            seconds = ANSWER_SECONDS
            async with asyncio.timeout(seconds):
                stream = await self.stub(peer).rpc_send_state(wanted.pack())
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
                part = reply.metadata
                if len(part) > CHUNK_BYTES:
                    raise DonorError(_("it sends more than was asked for"))
                self.traffic.count_received(len(part))
                await DOWNLOAD.wait(len(part))
                yield part


class _Pace:
    """The rate of a download, from the times at which its parts arrive."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._began = time.monotonic()
        self._total = 0

    def after(self, size: int) -> float | None:
        """Bytes a second, of late; None when it is too early to say.

        Raises `DonorError` when the donor is slower than any line.
        """
        elapsed = time.monotonic() - self._began
        self._total += size
        if elapsed > SLOWEST_SECONDS and self._total < SLOWEST * elapsed:
            raise DonorError(_("it is slower than any line"))
        return self._rate.after(self._total)


def _checked(packed: bytes, layout: StateLayout) -> int:
    """The epoch in a donor's header. Raises `DonorError`."""
    try:
        header = Header.parse(packed)
    except ValueError as error:
        raise DonorError(_("its answer can't be read")) from error
    is_other_size = not header.refusal and header.size != layout.size
    if is_other_size or header.refusal == StateRefusal.OTHER_MODEL:
        raise OtherModelError(_("it trains another model, or with another optimizer"))
    if header.refusal:
        raise DonorError(_("it sends nothing now: {reason}").format(reason=repr(header.refusal)))
    return header.epoch


def is_unknown_call(error: CallError) -> bool:
    """Whether a peer doesn't know our way to send a state, as plain hivemind doesn't."""
    return "protocol" in error.details and "not supported" in error.details
