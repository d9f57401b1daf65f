"""A plain hivemind peer's state is taken within bounds of size and of time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hivemind.compression import serialize_torch_tensor
from hivemind.p2p import PeerID
from hivemind.proto.averaging_pb2 import DownloadData  # type: ignore[attr-defined]
from hivemind.proto.runtime_pb2 import Tensor  # type: ignore[attr-defined]
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.streaming import split_for_streaming

from app.p2p.calls import CallError
from app.p2p.states import download
from app.p2p.states.download import BRISK, DonorCalls, DonorError, SlowDonorError
from app.trainer.joining.layout import StateLayout
from app.trainer.joining.plain import fetch_plain

TENSORS = [torch.ones(3, 4), torch.arange(20_000.0), torch.empty(0), torch.tensor(7.0)]
LAYOUT = StateLayout.of(TENSORS, parameters=2)
PEER = PeerID(b"\x12\x20" + bytes(32))


def honest() -> list[Any]:
    """What a plain peer sends."""
    metadata = MSGPackSerializer.dumps({"epoch": 5})
    found = []
    for tensor in TENSORS:
        for part in split_for_streaming(serialize_torch_tensor(tensor)):
            found.append(DownloadData(tensor_part=part, metadata=metadata))
            metadata = b""
    return found


@dataclass
class Clock:
    """Of downloads."""

    now: float = 0.0

    def monotonic(self) -> float:
        """As `time` has it."""
        return self.now


@dataclass(kw_only=True)
class PlainDonor:
    """Sends messages, each some time after the one before."""

    messages: list[Any]
    clock: Clock
    pause: float = 0.0
    """Seconds."""

    async def rpc_download_state(self, _request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        return self._replies()

    async def _replies(self) -> AsyncIterator[Any]:
        for each in self.messages:
            self.clock.now += self.pause
            yield each


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(download, "time", clock)
    return clock


async def fetched(donor: Any) -> tuple[int, list[torch.Tensor]]:
    return await fetch_plain(DonorCalls(stub=lambda _peer: donor), PEER, LAYOUT, slowest=BRISK)


async def test_a_plain_peers_state_is_taken(clock: Clock) -> None:
    epoch, tensors = await fetched(PlainDonor(messages=honest(), clock=clock))
    assert epoch == 5
    assert all(map(torch.equal, tensors, TENSORS))


async def test_messages_with_nothing_in_them_are_refused(clock: Clock) -> None:
    first = honest()[0]
    nothing = [DownloadData(tensor_part=Tensor())] * 3
    with pytest.raises(DonorError, match="nothing in them"):
        await fetched(PlainDonor(messages=[first, *nothing], clock=clock))


async def test_who_dribbles_is_left(clock: Clock) -> None:
    first, second = honest()[:2]
    byte = DownloadData(tensor_part=Tensor(buffer=b"0"))
    second.tensor_part.buffer = b"0"
    donor = PlainDonor(messages=[first, second, *[byte] * 9], clock=clock, pause=29.0)
    with pytest.raises(SlowDonorError):
        await fetched(donor)
    assert clock.now < 2 * download.SLOWEST_SECONDS


class Unreachable:
    """Never lets itself be called."""

    async def rpc_download_state(self, _request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        return await asyncio.Future[Any]()


async def test_a_peer_that_never_answers_the_call_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.01)
    with pytest.raises(CallError) as failed:
        await fetched(Unreachable())
    assert failed.value.timed_out
