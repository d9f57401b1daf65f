"""The faults of hivemind that we mend, each seen in the library and mended in ours.

When one of the "library" cases fails after an update, the workaround can go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hivemind
import pytest
import torch
from hivemind.optim.grad_averager import GradientAverager

from app.trainer.optimizer import KeepingGradientAverager

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def dht() -> Iterator[hivemind.DHT]:
    dht = hivemind.DHT(start=True)
    yield dht
    dht.shutdown()


@contextmanager
def averager_of(
    kind: type[GradientAverager], weight: torch.nn.Parameter, dht: hivemind.DHT, **options: Any
) -> Iterator[GradientAverager]:
    averager = kind(
        [weight],
        dht=dht,
        prefix=kind.__name__,
        min_matchmaking_time=0.5,
        request_timeout=0.2,
        start=True,
        **options,
    )
    try:
        yield averager
    finally:
        averager.shutdown()


def gradients_after_failed_round(kind: type[GradientAverager], dht: hivemind.DHT) -> torch.Tensor:
    """Accumulate a gradient of 2, fail to find a group, fall back as `hivemind.Optimizer` does."""
    weight = torch.nn.Parameter(torch.ones(4))
    with averager_of(kind, weight, dht) as averager:
        weight.grad = torch.full((4,), 2.0)
        averager.accumulate_grads_(batch_size=8)
        control = averager.step(timeout=1.0, wait=False)
        with pytest.raises(Exception, match=r".*"):
            control.result(timeout=30)
        averager.load_accumulators_into_averager_()
        with averager.get_tensors() as averaged:
            return averaged[0].clone()


def mean_of_unequal_batches(kind: type[GradientAverager], dht: hivemind.DHT) -> float:
    """Sum the gradients of 3 samples, each 1, and of one, 5, in the optimizer's own buffers."""
    weight = torch.nn.Parameter(torch.ones(1))
    with averager_of(kind, weight, dht, reuse_grad_buffers=True) as averager:
        for samples, gradient in ((3, 1.0), (1, 5.0)):
            loss = weight.sum() * gradient
            if isinstance(averager, KeepingGradientAverager):
                loss = averager.weighted(loss, samples)
            loss.backward()
            averager.accumulate_grads_(batch_size=samples)
        averager.load_accumulators_into_averager_()
        with averager.get_tensors() as averaged:
            return float(averaged[0])


def test_library_forgets_our_gradients_when_a_round_fails(dht: hivemind.DHT) -> None:
    assert gradients_after_failed_round(GradientAverager, dht).tolist() == [0, 0, 0, 0]


def test_ours_keeps_them(dht: hivemind.DHT) -> None:
    assert gradients_after_failed_round(KeepingGradientAverager, dht).tolist() == [2, 2, 2, 2]


def test_library_takes_all_micro_batches_for_equal(dht: hivemind.DHT) -> None:
    assert mean_of_unequal_batches(GradientAverager, dht) == 3.0


def test_ours_counts_their_samples(dht: hivemind.DHT) -> None:
    assert mean_of_unequal_batches(KeepingGradientAverager, dht) == 2.0
