"""A newcomer makes up for the rounds that ended while it downloaded the weights."""

import math
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from app.spec.training import SparseLocoSpec
from app.trainer.local_steps.believing import believed
from app.trainer.local_steps.outer import outer_optimizer, step
from app.trainer.strategies import following as module
from app.trainer.strategies.following import Following
from app.trainer.strategies.outer_weights import digest_of
from app.trainer.strategies.sparseloco import recipe_of
from tests.support.training.memory_exchange import MemoryExchange, MemoryHub

SHAPES = [torch.Size((64, 64)), torch.Size((64,))]
CODEC = recipe_of(SparseLocoSpec(), SHAPES).codec
FIRST, LAST = 4, 7
"""The epochs whose rounds end while a newcomer downloads."""


class Outer:
    """A peer's outer weights, without a network."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tensors = [
            torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES
        ]
        self._optimizer = outer_optimizer(self.tensors, rate=0.7, momentum=0.9)

    @property
    def digest(self) -> bytes:
        return digest_of(self.tensors)

    def advance(self, mean: Any, *, epoch: int = 0) -> None:
        step(self._optimizer, mean)


def after(means: list[Any]) -> Outer:
    outer = Outer()
    for mean in means:
        outer.advance(mean)
    return outer


def history() -> tuple[MemoryHub, list[Outer]]:
    """Rounds of a peer that trains alone, and its weights at the begin of each epoch."""
    hub = MemoryHub()
    means: list[Any] = []
    exchange = MemoryExchange(hub, "alone")
    for epoch in range(LAST + 1):
        generator = torch.Generator().manual_seed(epoch + 1)
        learnt = [torch.randn(shape, generator=generator) for shape in SHAPES]
        base = after(means).digest
        blob = base + CODEC.encode(learnt).blob
        swap = exchange.swap(epoch=epoch, blob=blob, weight=1.0, expected=())
        means.append(believed(swap.contributions, codec=CODEC, base=base, farthest=math.inf).mean)
    return hub, [after(means[:count]) for count in range(LAST + 2)]


def following(hub: MemoryHub, *, begun: int) -> tuple[Following, SimpleNamespace]:
    """begun: the swarm's epoch when the download began."""
    tracker = SimpleNamespace(global_epoch=begun, callable=frozenset({"alone"}))
    made = Following(
        MemoryExchange(hub, "newcomer"),
        codec=CODEC,
        farthest=math.inf,
        tracker=cast("Any", tracker),
        seconds=60.0,
    )
    return made, tracker


@pytest.mark.parametrize("state", [FIRST, FIRST + 2, LAST + 1])
@pytest.mark.parametrize("label", [0, -1])
def test_weights_are_those_of_the_others_to_the_bit(state: int, label: int) -> None:
    """label: the donor's epoch changes a moment after its weights."""
    hub, weights = history()
    made, tracker = following(hub, begun=FIRST)
    outer = weights[state]
    with made.begun(follows=True) as followed:
        tracker.global_epoch = LAST + 1
        epoch = followed.catch_up(outer, epoch=state + label)
    assert epoch == LAST + 1
    assert outer.digest == weights[LAST + 1].digest


def test_a_round_that_runs_is_waited_for() -> None:
    hub, weights = history()
    last = hub.fixed.pop(LAST)
    made, tracker = following(hub, begun=LAST)
    with made.begun(follows=True) as followed:
        tracker.global_epoch = LAST + 1  # its members say so while it runs

        def end() -> None:
            with hub.changed:
                hub.fixed[LAST] = last
                hub.changed.notify_all()

        ending = threading.Thread(target=end)
        ending.start()
        epoch = followed.catch_up(weights[LAST], epoch=LAST)
        ending.join()
    assert (epoch, weights[LAST].digest) == (LAST + 1, weights[LAST + 1].digest)


def test_weights_that_nobody_has_stay_as_they_are() -> None:
    hub, weights = history()
    made, tracker = following(hub, begun=FIRST)
    outer = weights[FIRST]
    outer.advance([torch.ones(shape) for shape in SHAPES])
    before = outer.digest
    with made.begun(follows=True) as followed:
        tracker.global_epoch = LAST + 1
        assert followed.catch_up(outer, epoch=FIRST) == LAST + 1
    assert outer.digest == before


def test_without_others_there_is_nothing_to_follow() -> None:
    made, _tracker = following(MemoryHub(), begun=0)
    with made.begun(follows=False) as followed:
        assert followed.catch_up(Outer(), epoch=9) == 9


def test_more_rounds_than_there_is_room_for_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    hub, weights = history()
    made, tracker = following(hub, begun=FIRST)
    with made.begun(follows=True) as followed:
        tracker.global_epoch = LAST + 1
        with followed._changed:
            assert followed._changed.wait_for(lambda: followed._next == LAST + 1, 60.0)
        assert [each.epoch for each in followed._fetched] == [LAST]
        assert followed.catch_up(weights[LAST], epoch=LAST) == LAST + 1
    assert weights[LAST].digest == weights[LAST + 1].digest
