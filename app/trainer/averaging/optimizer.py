"""`hivemind.Optimizer`, with its averaging rounds made visible and some of its faults mended.

It stays an ordinary citizen: what it puts on the network is what `hivemind.Optimizer` puts.
"""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import hivemind
import torch
from hivemind.averaging.control import AveragingStage, StepControl
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.optim.grad_averager import GradientAverager
from hivemind.optim.progress_tracker import ProgressTracker
from hivemind.optim.state_averager import TrainingStateAverager
from hivemind.utils.timed_storage import get_dht_time

from app.protocol import Report, RoundEnded, SampleDiscarded
from app.trainer.averaging.traffic import CountedTraffic
from app.trainer.work import WorkMeter

log = logging.getLogger(__name__)

PACE_SECONDS = 1.0

GOODBYE_SECONDS = 3.0
"""How long a round of the parameters may take once we leave; others may have left it as well."""

NEVER = 2**62
"""Epochs between two rounds of averaging the parameters, when we won't take part in another."""


_searches: "set[asyncio.Task[Any] | None]" = set()


def _keep_searches() -> None:
    """Hold on to each search for a group until it has ended, in averagers that start from now on.

    WORKAROUND (hivemind 1.1.12): a round that is cancelled drops its search while that still says
    goodbye. When Python then collects it halfway, its locks are held for ever, and this averager
    never finds a group again.
    """
    search = Matchmaking.look_for_group
    if hasattr(search, "__wrapped__"):
        return

    @functools.wraps(search)
    async def kept(self: Matchmaking, step: StepControl) -> Any:
        task = asyncio.current_task()
        _searches.add(task)
        try:
            return await search(self, step)
        finally:
            _searches.discard(task)

    setattr(Matchmaking, search.__name__, kept)


class CountingStateAverager(CountedTraffic, TrainingStateAverager):
    """hivemind's, with its traffic counted."""

    wire_class = TrainingStateAverager


class KeepingGradientAverager(CountedTraffic, GradientAverager):
    """Keeps our own gradients when a round fails, and uses them where they are when alone.

    WORKAROUND (hivemind 1.1.12): `GradientAverager.step` resets the accumulators when a round
    begins. When it then fails, `Optimizer` "proceeds with local gradients" by loading the
    accumulators again, which are zero by then: the epoch's samples would be lost without a word.
    The averaged tensors still hold them, so they are left alone.

    is_mean: the accumulators, which are the optimizer's own buffers, hold the mean already.
    """

    wire_class = GradientAverager
    is_mean = False

    def load_accumulators_into_averager_(self) -> None:
        """Load what was accumulated, unless that already happened for the round under way."""
        if self.is_mean or (self._new_averaged_grads and self.local_times_accumulated == 0):
            return
        super().load_accumulators_into_averager_()

    def weighted(self, loss: torch.Tensor, samples: int) -> torch.Tensor:
        """The mean loss of a micro-batch so that gradients of larger and smaller ones add up: by
        its samples, in units of the epoch's first micro-batch."""
        first: Any = self._anchor_batch_size
        return loss if first in (None, samples) else loss * (samples / first)

    def accumulate_grads_(self, batch_size: int) -> None:
        """Count a micro-batch, in those units: the library takes all to be of one size, where
        gradients are summed in the optimizer's own buffers."""
        super().accumulate_grads_(batch_size)
        first: Any = self._anchor_batch_size  # typed as the None that it begins as
        parts = self.local_samples_accumulated / first
        self.local_times_accumulated = parts  # it is only divided by

    def reset_accumulated_grads_(self) -> None:
        """Start from nothing."""
        self.is_mean = False
        super().reset_accumulated_grads_()

    @torch.no_grad()
    def take_mean_(self) -> None:
        """Turn the sum that was accumulated into its mean, ready for the optimizer."""
        for gradient in self._grad_accumulators():
            gradient.div_(self.local_times_accumulated)
        self.is_mean = True

    @torch.no_grad()
    def zero_(self) -> None:
        """Make the gradients nothing, whatever they were."""
        for gradient in self._grad_accumulators():
            gradient.zero_()

    @property
    def is_finite(self) -> bool:
        """No NaN or infinity in what was accumulated."""
        return _all_finite(list(self._grad_accumulators()))


class _PacedEvent(threading.Event):
    """An event that is set once in `PACE_SECONDS` at most, however often one asks."""

    def __init__(self, is_urgent: Callable[[], bool]) -> None:
        super().__init__()
        self._is_urgent = is_urgent
        self._set_at = 0.0

    def set(self) -> None:
        now = time.monotonic()
        if self._is_urgent() or now - self._set_at >= PACE_SECONDS:
            self._set_at = now
            super().set()


class PacedTracker(ProgressTracker):
    """Publishes our progress about once a second, and at once when a new epoch begins.

    hivemind's own signs and stores it after every micro-batch, which costs some 15 ms of CPU
    each time in the DHT process.
    """

    def __init__(self, **options: Any) -> None:
        start = options.pop("start")
        super().__init__(**options, start=False)
        self.should_report_progress = _PacedEvent(self._is_urgent)
        self.global_progress.next_fetch_time = get_dht_time()  # hivemind's first look takes 3 s
        if start:
            self.start()

    def _is_urgent(self) -> bool:
        resting = self.local_progress.samples_per_second == 0.0
        new_epoch = self.local_progress.samples_accumulated == 0
        return new_epoch or resting or self.shutdown_triggered.is_set()


class CitizenOptimizer(hivemind.Optimizer):
    """Says how each averaging round went, and keeps values that aren't finite out of it.

    report: called with `RoundEnded` and `SampleDiscarded`, on the training thread. work: told
    what became of the samples that were computed.
    averaging_since: monotonic time since when the training thread waits for a round, or None.
    """

    grad_averager: KeepingGradientAverager

    def __init__(
        self, *, report: Callable[[Report], None], work: WorkMeter, **options: Any
    ) -> None:
        self._report = report
        self._work = work
        self._peers = 1
        self._failure = ""
        self._entering = 0
        self.averaging_since: float | None = None
        self.loading_state = False
        self._leaving = False
        _keep_searches()
        super().__init__(**options)
        work.time_steps_of(self.opt)

    def _make_state_averager(self, **options: Any) -> CountingStateAverager:
        return CountingStateAverager(
            dht=self.dht,
            prefix=f"{self.run_id}_state_averager",
            min_matchmaking_time=self.matchmaking_time,
            allreduce_timeout=self.allreduce_timeout,
            shutdown_timeout=self.shutdown_timeout,
            offload_optimizer=self.offload_optimizer,
            custom_gradients=self.offload_optimizer,
            status_loglevel=self.status_loglevel,
            next_chunk_timeout=self.next_chunk_timeout,
            client_mode=self.client_mode,
            auxiliary=self.auxiliary,
            start=True,
            **options,
        )

    def _make_progress_tracker(self, target_batch_size: int, **options: Any) -> PacedTracker:
        return PacedTracker(
            dht=self.dht,
            prefix=self.run_id,
            target_batch_size=target_batch_size,
            client_mode=self.client_mode,
            status_loglevel=self.status_loglevel,
            start=True,
            **options,
        )

    def _update_global_epoch(self, grad_scaler: Any) -> None:
        epoch, self._entering = self.local_epoch, self.grad_averager.local_samples_accumulated
        everybody = self._swarm_samples(self._entering)
        self._peers, self._failure = 1, ""
        self.averaging_since = time.monotonic()
        try:
            super()._update_global_epoch(grad_scaler)
        finally:
            seconds, self.averaging_since = time.monotonic() - self.averaging_since, None
        samples = 0 if self._failure else self._entering
        if samples:
            self._work.entered(everybody)
        else:
            self._work.lost()
        self._report(
            RoundEnded(
                epoch=epoch,
                peers=self._peers,
                seconds=seconds,
                samples=samples,
                failure=self._failure,
            )
        )

    def _swarm_samples(self, own: int) -> int:
        """Everybody's samples in the epoch that ends, as far as we have heard."""
        seen = self.tracker.global_progress
        heard = seen.samples_accumulated if seen.epoch == self.local_epoch else 0
        return int(max(own, heard, seen.target_batch_size))

    def _begin_averaging_gradients(self, grad_scaler: Any) -> bool:
        if not self.grad_averager.is_finite:
            self._discard("our gradient was not finite")
        scheduled = self.scheduled_grads
        began = bool(super()._begin_averaging_gradients(grad_scaler))
        if not began and self.tracker.global_progress.num_peers > 1:  # alone, nothing is amiss
            found = "" if scheduled is None else _outcome(scheduled)[1]
            self._failure = found or "no round could begin"
        # WORKAROUND (hivemind 1.1.12): where no round began at all, the optimizer would step
        # with the sum of the micro-batches' gradients instead of their mean.
        if not began and not self.grad_averager.is_mean:
            self._load_local_gradients_into_optimizer()
        return began

    def _load_local_gradients_into_optimizer(self) -> None:
        """As the library's, without the way to the averager's memory and back."""
        if self.grad_averager.local_times_accumulated == 0:
            super()._load_local_gradients_into_optimizer()
            return
        log.info("Proceeding with local gradients")
        self.grad_averager.take_mean_()
        self.grad_averager.notify_used_averaged_gradients()

    def _check_and_accumulate_gradients(self, batch_size: int, grad_scaler: Any) -> bool:
        samples = self.grad_averager.local_samples_accumulated + batch_size
        valid = bool(super()._check_and_accumulate_gradients(batch_size, grad_scaler))
        if not valid:
            reason = "our gradient overflowed float16, its scale is lowered"
            self._work.lost()
            self._report(SampleDiscarded(epoch=self.local_epoch, samples=samples, reason=reason))
        return valid

    def _discard(self, reason: str) -> None:
        """Enter the round with weight zero: an average has no defence against a single NaN."""
        samples, self._entering = self.grad_averager.local_samples_accumulated, 0
        self.grad_averager.reset_accumulated_grads_()
        if samples:
            self._report(SampleDiscarded(epoch=self.local_epoch, samples=samples, reason=reason))

    def forget(self, reason: str) -> None:
        """Begin with the epoch's samples anew: something is wrong with their gradient."""
        self._discard(reason)
        self._work.lost()
        self.tracker.report_local_progress(self.local_epoch, samples_accumulated=0)

    def _average_gradients_and_load_into_optimizer(self, maybe_step_control: Any) -> None:
        super()._average_gradients_and_load_into_optimizer(maybe_step_control)
        if maybe_step_control is not None:
            self._peers, failure = _outcome(maybe_step_control)
            self._failure = failure or self._failure

    def _load_averaged_gradients_into_optimizer_(self) -> None:
        super()._load_averaged_gradients_into_optimizer_()
        if not self.grad_averager.is_finite:  # the optimizer's buffers are the accumulators
            self._failure = "the swarm's average was not finite"
            self.grad_averager.zero_()

    def load_state_from_peers(self, **options: Any) -> None:
        """Download model, optimizer and epoch from a peer; our gradients are of no use then."""
        self.loading_state = True
        self._work.lost()
        try:
            super().load_state_from_peers(**options)
        finally:
            self.loading_state = False

    def rest(self) -> None:
        """Before a pause: let go of the round that is being prepared, and stop being counted on.

        The progress record says samples per second, from which the others extrapolate: a
        resting peer that still claims a rate makes them end their epoch too early.
        """
        for control in (self.scheduled_grads, self.scheduled_state):
            if control is not None and not control.done():
                self._let_go(control)
        self.scheduled_grads = self.scheduled_state = None
        resting = {"samples_per_second": 0.0, "time": get_dht_time()}
        self.tracker.local_progress = self.tracker.local_progress.copy(update=resting)
        self.tracker.should_report_progress.set()

    def _let_go(self, control: StepControl) -> None:
        if control.stage == AveragingStage.LOOKING_FOR_GROUP:
            control.cancel()
        else:  # the group counts on us by now
            self._tag_along_with_zero_weight(control)

    def stop_waiting(self) -> None:
        """From another thread: we leave, so wait for no group any more."""
        self._leaving = True
        self.average_state_every = NEVER
        for control in (self.scheduled_grads, self.scheduled_state):
            if control is not None and control.stage == AveragingStage.LOOKING_FOR_GROUP:
                control.cancel()

    def shutdown(self) -> None:
        """Leave the run. The library waits for the last round as long as any may take."""
        self.state_averager._allreduce_timeout = GOODBYE_SECONDS  # noqa: SLF001
        super().shutdown()


def _outcome(control: StepControl) -> tuple[int, str]:
    """Group size of a round, 1 when it failed, and why it did."""
    if control.cancelled():
        return 1, "the round was cancelled"
    if not control.done():
        return 1, "no group was found in time"
    error = control.exception()
    if error is not None:
        return 1, str(error) or type(error).__name__
    group = control.result()
    return (len(group), "") if group is not None else (1, "no group was found")


def _all_finite(tensors: Any) -> bool:
    # One wait for a GPU in all, not one a tensor.
    largest = torch.nn.utils.get_total_norm(tensors, norm_type=float("inf"))
    return bool(torch.isfinite(largest))
