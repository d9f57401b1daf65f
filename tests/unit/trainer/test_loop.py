"""A step of the training loop on a device whose memory is too small for it."""

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.common.errors import DeviceError, UserFacingError
from app.protocol import MicroBatchHalved, Report, SampleDiscarded
from app.spec.training import StopSpec
from app.trainer.averaging.averagers import KeepingGradientAverager
from app.trainer.averaging.optimizer import CitizenOptimizer
from app.trainer.loop import step
from app.trainer.memory import DeviceMemory
from app.trainer.meter import Meter
from app.trainer.run import MOST_DISCARDED, NOT_FINITE, TrainingRun
from app.trainer.step.waiting import MOST_AHEAD
from app.trainer.strategies.gradient_averaging import GradientAveraging

LENGTH = 4
NOBODY = -1
"""Whose process hivemind's destructors would otherwise want to end."""


class Numbers:
    """Every sample once, in order: sample n is all n."""

    def __init__(self) -> None:
        self.given = 0

    def next(self, count: int) -> torch.Tensor:
        first, self.given = self.given, self.given + count
        numbers = torch.arange(first, self.given, dtype=torch.int64)
        return numbers.unsqueeze(1).expand(count, LENGTH + 1).contiguous()


class SmallDevice(torch.nn.Module):
    """Raises as an allocator does when a forward pass has more samples than there is room for, or
    in the middle of so many backward passes as are to fail."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.failing = 0
        self.weight, self.bias = (torch.nn.Parameter(torch.ones(())) for _ in range(2))
        self.learnt: list[int] = []

    def loss(self, tokens: torch.Tensor) -> torch.Tensor:
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        later = 0 * self.bias  # made first, so that backward comes to it last
        later.register_hook(self._maybe_fail)
        self.learnt += tokens[:, 0].tolist()
        return (self.weight * tokens[:, 0].float()).mean() + later

    def _maybe_fail(self, gradient: torch.Tensor) -> torch.Tensor:
        if self.failing:
            self.failing -= 1
            assert self.weight.grad is not None  # a part is there already
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        return gradient


class Averager(KeepingGradientAverager):
    """The real arithmetic of gradients, without a network."""

    _parent_pid = NOBODY

    def __init__(self, model: SmallDevice) -> None:
        self.parameters = (model.weight, model.bias)
        self.reuse_grad_buffers, self.warn = True, True
        self.local_samples_accumulated = self.local_times_accumulated = 0
        self._anchor_batch_size = self._local_accumulators = None
        self._accumulators_used_in_step = self._new_averaged_grads = False


class Optimizer(CitizenOptimizer):
    """Ours around it, in epoch 3."""

    _parent_pid = NOBODY

    def __init__(self, model: SmallDevice, meter: Meter, report: Any, tracked: Any) -> None:
        self.grad_averager = Averager(model)
        self.state_averager = SimpleNamespace(local_epoch=3)
        self.tracker = SimpleNamespace(report_local_progress=tracked)
        self._report, self._work = report, meter.work


class Alone(GradientAveraging):
    """The real strategy around both; its epoch never ends."""

    def __init__(self, model: SmallDevice, meter: Meter, report: Any) -> None:
        self._optimizer, self._scaler = Optimizer(model, meter, report, self._note), None
        self.averager = self._optimizer.grad_averager
        self.counted: list[int] = []

    def _note(self, _epoch: int, samples_accumulated: int) -> None:
        assert samples_accumulated == 0
        self.counted.clear()

    def step(self, samples: int) -> None:
        self.averager.accumulate_grads_(samples)
        self.counted.append(samples)

    def mean(self) -> float:
        self.averager.take_mean_()
        return float(next(self.averager._grad_accumulators()))


@pytest.fixture
def reports() -> list[Report]:
    return []


def keeper(ways_back: list[bool]) -> Any:
    """One that writes nothing."""
    return SimpleNamespace(keep=lambda: None, rescue=lambda: bool(ways_back) and ways_back.pop(0))


def run_of(reports: list[Report], *, room: int, micro_batch: int = 8) -> TrainingRun:
    model, meter, device = SmallDevice(room), Meter(), torch.device("cpu")
    optimizer = torch.optim.SGD(model.parameters())
    return TrainingRun(
        model=model,
        batches=Numbers(),
        strategy=Alone(model, meter, reports.append),
        loss=model.loss,
        autocast=nullcontext,
        device=device,
        memory=DeviceMemory(device, model=model, optimizer=optimizer),
        micro_batch_size=micro_batch,
        stop=StopSpec(),
        meter=meter,
        report=reports.append,
        say_phase=lambda: None,
        keeper=keeper([]),
    )


@pytest.mark.parametrize(("unimproved", "complete"), [(0, False), (2, False), (3, True)])
def test_a_run_that_no_longer_improves_is_complete(
    reports: list[Report], unimproved: int, complete: bool
) -> None:
    run = run_of(reports, room=8)
    evaluator: Any = SimpleNamespace(unimproved=unimproved)
    run.evaluator, run.stop = evaluator, StopSpec(unimproved_evaluations=3)
    assert run.complete == complete


def test_step_that_fits_is_one(reports: list[Report]) -> None:
    run = run_of(reports, room=8)
    step(run)
    assert run.strategy.counted == [8]  # type: ignore[attr-defined]
    assert reports == []


@pytest.mark.parametrize("micro_batch", [8, 7])
def test_too_large_a_step_is_halved_and_no_sample_is_lost(
    reports: list[Report], micro_batch: int
) -> None:
    run = run_of(reports, room=2, micro_batch=micro_batch)
    step(run)
    step(run)
    strategy: Any = run.strategy
    learnt = strategy.averager.local_samples_accumulated
    assert run.model.learnt == list(range(learnt))
    assert sum(strategy.counted) == learnt == run.batches.given  # type: ignore[attr-defined]
    assert reports == [MicroBatchHalved(micro_batch_size=4), MicroBatchHalved(micro_batch_size=2)]
    assert run.micro_batch_size == 2
    # the gradient is the mean over all samples, however they were divided
    assert strategy.mean() == pytest.approx(sum(range(learnt)) / learnt)


def test_sizes_may_change_within_an_epoch(reports: list[Report]) -> None:
    run = run_of(reports, room=8)
    step(run)
    run.model.room = 3
    step(run)
    step(run)
    strategy: Any = run.strategy
    assert strategy.counted == [8, 2, 2, 2, 2, 2]
    assert strategy.averager.local_times_accumulated == pytest.approx(18 / 8)
    assert strategy.mean() == pytest.approx(sum(range(18)) / 18)


def test_memory_that_runs_out_in_the_backward_pass(reports: list[Report]) -> None:
    run = run_of(reports, room=8)
    step(run)
    strategy: Any = run.strategy
    run.model.failing = 1
    step(run)
    reason = "the memory ran out halfway in a gradient"
    assert reports == [
        SampleDiscarded(epoch=3, samples=8, reason=reason),
        MicroBatchHalved(micro_batch_size=4),
    ]
    assert strategy.counted == [4, 4]  # the second batch, anew
    assert strategy.mean() == pytest.approx(sum(range(8, 16)) / 8)
    work = run.meter.work.read(bytes_sent=0, bytes_sent_in_rounds=0, bytes_received=0)
    assert (work.samples_computed, work.samples_pending) == (16, 8)


def test_a_single_sample_that_does_not_fit_ends_it(reports: list[Report]) -> None:
    with pytest.raises(DeviceError, match="even with one sample") as caught:
        step(run_of(reports, room=0))
    assert caught.value.field == "device"


def test_a_single_sample_may_fit_when_its_activations_are_computed_twice(
    reports: list[Report],
) -> None:
    run = run_of(reports, room=0, micro_batch=1)
    model: Any = run.model
    model.supports_gradient_checkpointing = True
    model.activation_checkpointing_enable = lambda: setattr(model, "room", 1)
    step(run)
    assert run.model.learnt == [0]
    model.room = 0
    with pytest.raises(DeviceError, match="even with one sample"):
        step(run)


# --- losses that aren't finite


def spoil(run: TrainingRun, losses: list[float]) -> None:
    """Give the next steps these losses instead of their own."""
    own, model = iter(losses), run.model
    loss: Any = model.loss
    run.loss = lambda tokens: loss(tokens) * next(own, 1.0)


def test_a_loss_that_is_not_finite_changes_no_gradient(reports: list[Report]) -> None:
    run = run_of(reports, room=8)
    spoil(run, [1.0, math.nan, 1.0])
    for _step in range(3):
        step(run)
    strategy: Any = run.strategy
    assert reports == [SampleDiscarded(epoch=3, samples=8, reason=NOT_FINITE)]
    assert strategy.counted == [8, 8]
    assert strategy.averager.is_finite
    assert run.discarded == 0


def test_on_a_gpu_the_gradient_is_given_up_once_it_is_known(
    reports: list[Report], late_device: list[Any]
) -> None:
    run = run_of(reports, room=8)
    spoil(run, [1.0, math.nan, 1.0])
    strategy: Any = run.strategy
    for _step in range(3):
        step(run)
    assert reports == []
    assert not strategy.averager.is_finite  # so it would be discarded at the end of the epoch
    step(run)
    assert reports == [SampleDiscarded(epoch=3, samples=32, reason=NOT_FINITE)]
    assert strategy.counted == []
    step(run)
    assert strategy.counted == [8]
    assert strategy.averager.is_finite
    assert run.meter.take_loss_for_swarm().steps == 2
    assert len(late_device) == 3


@pytest.mark.parametrize("late", [False, True])
def test_a_model_that_diverges_ends_the_run(
    reports: list[Report], request: pytest.FixtureRequest, late: bool
) -> None:
    if late:
        request.getfixturevalue("late_device")
    run = run_of(reports, room=8)
    spoil(run, [math.nan] * 100)
    for _step in range(MOST_DISCARDED + (MOST_AHEAD if late else 0) - 1):
        step(run)
    with pytest.raises(UserFacingError, match="diverged"):
        step(run)


def test_the_last_checkpoint_comes_before_giving_up(reports: list[Report]) -> None:
    run = run_of(reports, room=8)
    spoil(run, [math.nan] * 100)
    ways_back = [True, False]
    run.keeper = keeper(ways_back)
    for _step in range(2 * MOST_DISCARDED - 1):
        step(run)
    with pytest.raises(UserFacingError, match="diverged"):
        step(run)
    assert not ways_back
