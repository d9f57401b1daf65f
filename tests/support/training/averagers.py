"""What hivemind's gradient averager or ours makes of the same:

    python tests/support/training/averagers.py library|ours failed|unequal|search

Prints the gradients after a round that failed, the mean of unequal micro-batches, or whether a
search for a group keeps the next round of averaging the state from beginning, as JSON. Each in a
process of its own: an averager is forked, which is safe only before there are threads.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hivemind
import torch
from hivemind.optim.grad_averager import GradientAverager
from hivemind.optim.state_averager import TrainingStateAverager

sys.path.insert(0, str(Path(__file__).parents[3]))

from app.organiser.admission import OPEN
from app.trainer.averaging.averagers import CountingStateAverager, KeepingGradientAverager
from app.trainer.averaging.guard import GradientBounds, StateBounds
from app.trainer.averaging.guarded_averager import RoundGuard
from app.trainer.averaging.offences import Offences


@contextmanager
def averager_of(
    kind: type[GradientAverager], weight: torch.nn.Parameter, dht: hivemind.DHT, **options: Any
) -> Iterator[GradientAverager]:
    if kind is KeepingGradientAverager:
        bounds = GradientBounds(most_weight=1024.0)
        options["guard"] = RoundGuard(bounds=bounds, offences=Offences())
        options["admission"] = OPEN
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


def gradients_after_failed_round(kind: type[GradientAverager], dht: hivemind.DHT) -> list[float]:
    """Accumulate a gradient of 2, fail to find a group, fall back as `hivemind.Optimizer` does."""
    weight = torch.nn.Parameter(torch.ones(4))
    with averager_of(kind, weight, dht) as averager:
        weight.grad = torch.full((4,), 2.0)
        averager.accumulate_grads_(batch_size=8)
        control = averager.step(timeout=1.0, wait=False)
        assert control.exception(timeout=30) is not None
        averager.load_accumulators_into_averager_()
        with averager.get_tensors() as averaged:
            return list(averaged[0].tolist())


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


def blocks_the_next_round(kind: type[GradientAverager], dht: hivemind.DHT) -> bool:
    """Search for a group that nobody else enters, until the next epoch ends."""
    options: dict[str, Any] = {}
    made: type[TrainingStateAverager] = TrainingStateAverager
    if kind is KeepingGradientAverager:
        made = CountingStateAverager
        options["guard"] = RoundGuard(bounds=StateBounds(), offences=Offences())
        options["admission"] = OPEN
    averager = made(
        dht=dht,
        prefix=made.__name__,
        params=[torch.nn.Parameter(torch.ones(4))],
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        start=True,
        **options,
    )
    averager.step(averaging_round=True, delay_averaging=True, averaging_opts={"timeout": 15.0})
    while not averager.averaging_in_progress:
        time.sleep(0.01)
    if isinstance(averager, CountingStateAverager):
        averager.end_search()
    found = averager.averaging_in_progress
    for pending in averager.pending_updates:
        pending.cancel()
    averager.shutdown()
    return found


KINDS = {"library": GradientAverager, "ours": KeepingGradientAverager}
TRIALS = {
    "failed": gradients_after_failed_round,
    "unequal": mean_of_unequal_batches,
    "search": blocks_the_next_round,
}


def main() -> None:
    """Try one of them."""
    kind, trial = sys.argv[1:]
    torch.set_num_threads(1)
    dht = hivemind.DHT(start=True)
    found = TRIALS[trial](KINDS[kind], dht)
    dht.shutdown()
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
