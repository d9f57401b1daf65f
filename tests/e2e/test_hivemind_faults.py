"""The faults of hivemind that we mend, each seen in the library and mended in ours.

When one of the "library" cases fails after an update, the workaround can go.
"""

from collections.abc import Iterator

import hivemind
import pytest
import torch
from hivemind.optim.grad_averager import GradientAverager

from app.trainer.optimizer import KeepingGradientAverager

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def dht() -> Iterator[hivemind.DHT]:
    dht = hivemind.DHT(start=True)
    yield dht
    dht.shutdown()


def gradients_after_failed_round(kind: type[GradientAverager], dht: hivemind.DHT) -> torch.Tensor:
    """Accumulate a gradient of 2, fail to find a group, fall back as `hivemind.Optimizer` does."""
    weight = torch.nn.Parameter(torch.ones(4))
    averager = kind(
        [weight],
        dht=dht,
        prefix=kind.__name__,
        min_matchmaking_time=0.5,
        request_timeout=0.2,
        start=True,
    )
    try:
        weight.grad = torch.full((4,), 2.0)
        averager.accumulate_grads_(batch_size=8)
        control = averager.step(timeout=1.0, wait=False)
        with pytest.raises(Exception, match=r".*"):
            control.result(timeout=30)
        averager.load_accumulators_into_averager_()
        with averager.get_tensors() as averaged:
            return averaged[0].clone()
    finally:
        averager.shutdown()


def test_library_forgets_our_gradients_when_a_round_fails(dht: hivemind.DHT) -> None:
    assert gradients_after_failed_round(GradientAverager, dht).tolist() == [0, 0, 0, 0]


def test_ours_keeps_them(dht: hivemind.DHT) -> None:
    assert gradients_after_failed_round(KeepingGradientAverager, dht).tolist() == [2, 2, 2, 2]
