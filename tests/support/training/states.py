"""A small model's state, and donors that send one over hivemind's messages without a network."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch
from hivemind.p2p import PeerID
from hivemind.utils.nested import nested_flatten

from app.p2p.states.wire import CHUNK_BYTES, Header, StateRefusal, Wanted
from app.trainer.joining.layout import StateLayout

EPOCH = 400


class SmallState:
    """A `LocalState`: a line fitted with Adam, whose loss is the same function for all."""

    def __init__(self, *, steps: int = 0) -> None:
        """steps: how often it has learnt."""
        generator = torch.Generator().manual_seed(5)
        self._inputs = torch.randn(64, 8, generator=generator)
        self._targets = self._inputs.sum(1, keepdim=True)
        self.model = torch.nn.Linear(8, 1)
        torch.nn.init.zeros_(self.model.weight)
        torch.nn.init.zeros_(self.model.bias)
        self.step_size = 0.01
        self.exact = False
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.step_size)
        for _ in range(max(1, steps)):
            self.optimizer.zero_grad()
            self._loss().backward()
            if steps:
                self.optimizer.step()
        if not steps:
            self.trial_step()

    def _loss(self) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self.model(self._inputs), self._targets)

    @torch.no_grad()
    def loss(self) -> float:
        """On the data that it is fitted to."""
        return float(self._loss())

    def trial_step(self) -> None:
        """With a gradient of zero."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    @property
    def tensors(self) -> Sequence[torch.Tensor]:
        """The live ones."""
        found = nested_flatten(self.optimizer.state_dict())
        return [*self.model.parameters(), *(each for each in found if torch.is_tensor(each))]

    @property
    def layout(self) -> StateLayout:
        """Of `tensors`."""
        return StateLayout.of(self.tensors, parameters=2, exact=self.exact)

    def content(self) -> bytearray:
        """As it is sent."""
        return self.layout.pack(self.tensors)


@dataclass(kw_only=True)
class Donor:
    """Answers like a peer of ours."""

    content: bytes
    epoch: int = EPOCH
    size: int | None = None
    """That the header claims; None for the true one."""
    breaks_after: int | None = None
    """Bytes after which it is gone, once."""
    refusal: StateRefusal | None = None
    snapshot: Header | None = None
    """Of a door, what it says of its snapshot."""
    refuses_ranges: StateRefusal | None = None
    """Why it sends no bytes, though it shows what it has."""
    epoch_with_bytes: int | None = None
    """That it claims when it sends bytes; None for the same as otherwise."""
    is_mute: bool = False
    """It ends each call without a word."""
    extra: int = 0
    """Bytes that it sends beyond those that were asked for."""
    asked: list[Wanted] = field(default_factory=list)

    async def rpc_send_state(self, request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        wanted = Wanted.parse(request.metadata)
        self.asked.append(wanted)
        return self._replies(wanted)

    async def _replies(self, wanted: Wanted) -> AsyncIterator[Any]:
        if self.is_mute:
            return
        refusal = self.refusal or (self.refuses_ranges if wanted.ranges else None)
        if refusal is not None:
            yield refusal.pack()
            return
        size = len(self.content) if self.size is None else self.size
        shown = self.snapshot or Header(epoch=self.epoch, size=size)
        if wanted.layout and shown.layout and wanted.layout != shown.layout:
            yield StateRefusal.OTHER_MODEL.pack()
            return
        if wanted.ranges and self.epoch_with_bytes is not None:
            shown = msgspec.structs.replace(shown, epoch=self.epoch_with_bytes)
        yield shown.pack()
        for begin, end in wanted.ranges:
            sent = self.content[begin:end]
            if self.breaks_after is not None:
                yield _Reply(bytes(sent[: self.breaks_after]))
                self.breaks_after = None
                raise ConnectionResetError("the donor is gone")
            for offset in range(0, len(sent), CHUNK_BYTES):
                yield _Reply(bytes(sent[offset : offset + CHUNK_BYTES]))
        if wanted.ranges:
            yield _Reply(bytes(self.extra))


@dataclass(frozen=True)
class _Reply:
    metadata: bytes


@dataclass(kw_only=True)
class SmallSwarm:
    """A `SwarmView` of donors by peer id."""

    by_peer: dict[PeerID, Any]
    epoch: int = EPOCH
    others: int = 1
    begins: bool = False

    @classmethod
    def of(cls, *donors: Any) -> "SmallSwarm":
        """The first donor is asked first."""
        return cls(
            by_peer={PeerID(b"\x12\x20" + bytes([n]) * 32): each for n, each in enumerate(donors)}
        )

    async def donors(self) -> list[PeerID]:
        """All of them."""
        return list(self.by_peer)

    @property
    def stub(self) -> Callable[[PeerID], Any]:
        """For `DonorCalls`."""
        return lambda peer: self.by_peer[peer]
