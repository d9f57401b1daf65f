"""Fetches a state from a plain hivemind peer, in hivemind's way, within the bounds of our own.

hivemind's own download takes as many tensors of any size as the donor likes to send, and the
optimizer's settings as well. Here are only the tensors that we hold ourselves, and the epoch.
"""

from contextlib import aclosing
from typing import Any

import torch
from hivemind.compression import deserialize_torch_tensor
from hivemind.p2p import PeerID
from hivemind.proto.averaging_pb2 import DownloadRequest  # type: ignore[attr-defined]
from hivemind.utils.streaming import combine_from_streaming

from app.common.i18n import _
from app.p2p.calls import hivemind_errors, unpacked
from app.p2p.states.download import (
    ANSWER_SECONDS,
    DonorCalls,
    DonorError,
    DownloadPace,
    OtherModelError,
    replies_in_time,
)
from app.trainer.joining.layout import StateLayout

MOST_BYTES_A_VALUE = 8
"""Of a serialized tensor: float64 at most, whatever the codec."""

MOST_METADATA = 1024 * 1024
"""Bytes: it grows with the number of tensors."""


async def fetch_plain(
    calls: DonorCalls, peer: PeerID, layout: StateLayout, *, slowest: float
) -> tuple[int, list[torch.Tensor]]:
    """A donor's epoch, and its tensors in the order of the layout. slowest: bytes a second.

    Raises `DonorError` and `CallError`.
    """
    gathered, pace = _PlainState(layout), DownloadPace(slowest)
    with hivemind_errors(peer_id=peer.to_base58(), seconds=ANSWER_SECONDS):
        opening = calls.stub(peer).rpc_download_state(DownloadRequest())
        async with aclosing(replies_in_time(opening)) as messages:
            async for message in messages:
                gathered.add(message)
                pace.after(len(message.tensor_part.buffer))
        return gathered.result()


class _PlainState:
    """The tensors of a donor, from the messages that it sends."""

    def __init__(self, layout: StateLayout) -> None:
        self._layout = layout
        self._tensors: list[torch.Tensor] = []
        self._parts: list[Any] = []
        self._bytes = 0
        self._epoch = -1

    def add(self, message: Any) -> None:
        """Take a message. Raises `DonorError`."""
        if message.metadata and self._epoch < 0:
            self._epoch = _epoch_in(message.metadata)
        part = message.tensor_part
        if part.dtype and self._parts:  # a new tensor begins
            self._end_tensor()
        if not self._parts:
            self._begin_tensor(part)
        if not part.buffer and self._expected.numel():
            raise DonorError(_("it sends messages with nothing in them"))
        self._parts.append(part)
        self._bytes += len(part.buffer)
        if self._bytes > MOST_BYTES_A_VALUE * (self._expected.numel() + 1024):
            raise DonorError(_("it sends more than was asked for"))

    @property
    def _expected(self) -> torch.Size:
        return self._layout.places[len(self._tensors)].shape

    def _begin_tensor(self, part: Any) -> None:
        is_one_more = len(self._tensors) >= len(self._layout.places)
        if is_one_more or list(part.size) != list(self._expected):
            raise OtherModelError(_("it trains another model, or with another optimizer"))
        self._bytes = 0

    def _end_tensor(self) -> None:
        tensor = deserialize_torch_tensor(combine_from_streaming(self._parts))
        if tensor.shape != self._expected:
            raise OtherModelError(_("it trains another model, or with another optimizer"))
        self._tensors.append(tensor)
        self._parts = []

    def result(self) -> tuple[int, list[torch.Tensor]]:
        """The epoch and all tensors. Raises `DonorError`."""
        if self._parts:
            self._end_tensor()
        if self._epoch < 0 or len(self._tensors) != len(self._layout.places):
            raise DonorError(_("it stopped halfway"))
        return self._epoch, self._tensors


def _epoch_in(packed: bytes) -> int:
    metadata = unpacked(packed) if len(packed) <= MOST_METADATA else None
    epoch = metadata.get("epoch") if isinstance(metadata, dict) else None
    if not isinstance(epoch, int) or not 0 <= epoch < 2**62:
        raise DonorError(_("its answer can't be read"))
    return epoch
