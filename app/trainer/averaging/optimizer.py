"""`hivemind.Optimizer` that reports its averaging rounds, with some of its faults mended.

On the network it behaves as `hivemind.Optimizer` does, so that both can train in one swarm.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import hivemind
from hivemind.averaging.control import AveragingStage, StepControl

from app.common.i18n import _
from app.organiser.admission import Admission
from app.protocol import Report, RoundEnded, SampleDiscarded
from app.trainer.averaging.averagers import CountingStateAverager, KeepingGradientAverager
from app.trainer.averaging.gathering import Mates, gave_up, searches
from app.trainer.averaging.guarded_averager import RoundGuard
from app.trainer.averaging.offences import Naming
from app.trainer.averaging.searches import cancel_in_order, keep_searches
from app.trainer.averaging.takeover import OptimizerState, OptimizerSwarm, take_over
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.joining.newcomer import Newcomer
from app.trainer.peer.doors import Doors
from app.trainer.work import WorkMeter

log = logging.getLogger(__name__)

GOODBYE_SECONDS = 3.0
"""How long the last round of averaging the state may take when we leave: its other members may
have left as well."""

NEVER = 2**62
"""A number of epochs between two rounds of averaging the state that no run reaches."""


class CitizenOptimizer(hivemind.Optimizer):
    """Reports how each averaging round ended, and keeps values that aren't finite out of it."""

    grad_averager: KeepingGradientAverager

    state_averager: CountingStateAverager

    tracker: PacedTracker

    averaging_since: float | None
    """Monotonic time since when the training thread waits for a round, or None."""

    loading_state: bool
    """The training thread downloads the swarm's state."""

    newcomer: Newcomer
    """Takes the swarm's state over."""

    taken_over: int
    """How often another peer's state has taken the place of ours."""

    def __init__(
        self,
        *,
        report: Callable[[Report], None],
        work: WorkMeter,
        gradient_guard: RoundGuard,
        state_guard: RoundGuard,
        judge: Callable[[], float],
        step_size: float,
        admission: Admission,
        **options: Any,
    ) -> None:
        """Start the averagers and the tracker.

        report: called with `RoundEnded`, `MemberAtFault`, `SampleDiscarded` and `StateDownload`,
        on the training thread.
        work: told which of the computed samples entered a round and which were lost.
        gradient_guard, state_guard: what is believed in rounds of averaging.
        judge, step_size: see `OptimizerState`.
        admission: who may take part in them.
        options: of `hivemind.Optimizer`.
        """
        self._report = report
        self._work = work
        self._peers = 1
        self._failure = ""
        self._entering = 0
        self._mates = Mates()
        self.averaging_since = None
        self.loading_state = False
        self.taken_over = 0
        self._guards = {"gradients": gradient_guard, "parameters": state_guard}
        self._admission = admission
        self._naming = Naming(report)
        keep_searches()
        cancel_in_order()
        super().__init__(**options)
        work.time_steps_of(self.opt)
        self.newcomer = Newcomer(
            state=OptimizerState(self.opt, judge=judge, step_size=step_size),
            swarm=OptimizerSwarm(self.dht, averager=self.state_averager, tracker=self.tracker),
            report=report,
        )

    def _make_state_averager(self, **options: Any) -> CountingStateAverager:
        return CountingStateAverager(
            guard=self._guards["parameters"],
            admission=self._admission,
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

    def _make_gradient_averager(self, factory: Any, **options: Any) -> Any:
        made = functools.partial(
            factory, guard=self._guards["gradients"], admission=self._admission
        )
        return super()._make_gradient_averager(made, **options)

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
        everybody = self.tracker.swarm_samples(self._entering)
        self._peers, self._failure = 1, ""
        self.averaging_since = time.monotonic()
        self.state_averager.end_search()
        try:
            with self._work.waiting():
                super()._update_global_epoch(grad_scaler)
        finally:
            seconds, self.averaging_since = time.monotonic() - self.averaging_since, None
        self._name_offenders(epoch)
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
                arrived=self.grad_averager.arrived if self._peers > 1 else 1.0,
                bytes_sent=self._work.sent_since_the_last_round(
                    self.grad_averager.traffic.sent_in_rounds
                    + self.state_averager.traffic.sent_in_rounds
                ),
            )
        )

    def _maybe_schedule_gradient_averaging(self) -> None:
        if self._mates.expect(self.tracker.mates, others=self.tracker.others):
            self.grad_averager.await_members(self._mates.awaited)
            self.state_averager.await_members(self._mates.awaited)
        self.grad_averager.epoch = self.local_epoch
        super()._maybe_schedule_gradient_averaging()

    def _name_offenders(self, epoch: int) -> None:
        for what, guard in self._guards.items():
            for offence in guard.offences.take():
                # the averager of the parameters evicts for itself, and has no samples
                if offence.evicted_until is not None and what == "gradients":
                    self.tracker.leave_out(offence.peer_id, until=offence.evicted_until)
                self._naming.name(offence, what=what, epoch=epoch)

    def _begin_averaging_gradients(self, grad_scaler: Any) -> bool:
        if not self.grad_averager.is_finite:
            self._discard("our gradient was not finite")
        scheduled = self.scheduled_grads
        is_left_behind = self.tracker.global_epoch > self.local_epoch
        if scheduled is not None and is_left_behind and searches(scheduled):
            scheduled.cancel()  # only the next epoch's groups form yet
        began = bool(super()._begin_averaging_gradients(grad_scaler))
        # A peer that is alone has no round, and that is no failure.
        if not began and self.tracker.global_progress.num_peers > 1:
            found = "" if scheduled is None else _outcome(scheduled)[1]
            self._failure = _left_behind() if is_left_behind else found or _("no round could begin")
        # WORKAROUND (hivemind 1.1.12): when no round began, hivemind's optimizer steps with the
        # sum of the micro-batches' gradients instead of their mean.
        if not began and not self.grad_averager.is_mean:
            self._load_local_gradients_into_optimizer()
        return began

    def _load_local_gradients_into_optimizer(self) -> None:
        """As hivemind's, without a copy to the averager's memory and back."""
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
            reason = _("our gradient overflowed float16, its scale is lowered")
            self._work.lost()
            self._report(SampleDiscarded(epoch=self.local_epoch, samples=samples, reason=reason))
        return valid

    def _discard(self, reason: str) -> None:
        """Reset our gradient and enter the round with weight zero: one NaN spoils an average."""
        samples, self._entering = self.grad_averager.local_samples_accumulated, 0
        self.grad_averager.reset_accumulated_grads_()
        if samples:
            self._report(SampleDiscarded(epoch=self.local_epoch, samples=samples, reason=reason))

    def forget(self, reason: str) -> None:
        """Reset the gradient and our progress in this epoch. reason: for the report."""
        self._discard(reason)
        self._work.lost()
        self.tracker.report_local_progress(self.local_epoch, samples_accumulated=0)

    def _average_gradients_and_load_into_optimizer(self, maybe_step_control: Any) -> None:
        if maybe_step_control is not None:
            in_vain = gave_up(
                maybe_step_control,
                lambda: self.tracker.look() > self.local_epoch,
                every=self.matchmaking_time or 0.0,
                most=self.averaging_timeout or 0.0,
            )
            self._failure = _left_behind() if in_vain else self._failure
        super()._average_gradients_and_load_into_optimizer(maybe_step_control)
        if maybe_step_control is not None:
            self._peers, failure = _outcome(maybe_step_control)
            self._failure = self._failure or failure
            members = [] if failure else maybe_step_control.result()
            self._mates.came(peer.to_base58() for peer in members)
            if len(members) > 1 and not self.grad_averager.arrived:
                self._failure = _("none of the others' parts arrived")

    def _load_averaged_gradients_into_optimizer_(self) -> None:
        super()._load_averaged_gradients_into_optimizer_()
        # The optimizer's buffers, which hold the average now, are the accumulators.
        if not self.grad_averager.is_finite:
            self._failure = "the swarm's average was not finite"
            self.grad_averager.zero_()

    def load_state_from_peers(
        self, *, doors: Doors | None = None, behind: bool = True, **_options: Any
    ) -> None:
        """Download parameters and optimizer statistics from a peer that can be believed.

        Goes on until there is one, or no other peer any more: nobody trains beside his swarm. The
        samples of this epoch are lost. doors, behind: see `take_over`.
        """
        self.loading_state = True
        if self.scheduled_grads is not None and not self.scheduled_grads.done():
            # Others may wait for our part already: to cancel it would stall all of them.
            self._tag_along_with_zero_weight(self.scheduled_grads)
            self.scheduled_grads = None
        self.state_averager.step(wait_for_delayed_updates=True)
        self.grad_averager.reset_accumulated_grads_()
        self.tracker.report_local_progress(self.local_epoch, samples_accumulated=0)
        try:
            with self._work.waiting():
                taking = take_over(
                    self.newcomer, self.dht, self.state_averager, doors=doors, behind=behind
                )
                epoch = asyncio.run(taking)
        finally:
            self.loading_state = False
            self._work.lost()
        if epoch is None:
            return
        self.taken_over += 1
        with self.tracker.pause_updates():
            self.state_averager.local_epoch = epoch
            self.state_averager._update_scheduler()  # noqa: SLF001  (as hivemind does)
            self.state_averager._load_local_tensors_into_averager_()
            self.grad_averager.reset_accumulated_grads_()
            self.tracker.report_local_progress(epoch, samples_accumulated=0)
            if epoch > self.tracker.global_epoch:  # a door's: else we would take us for astray
                self.tracker.update_epoch(epoch)
            if not self.client_mode:
                self.state_averager.state_sharing_priority = epoch

    def rest(self) -> None:
        """Before a pause: leave the round that is being prepared, and publish a rate of zero."""
        for control in (self.scheduled_grads, self.scheduled_state):
            if control is not None and not control.done():
                self._let_go(control)
        self.scheduled_grads = self.scheduled_state = None
        self.tracker.rest()

    def _let_go(self, control: StepControl) -> None:
        if control.stage == AveragingStage.LOOKING_FOR_GROUP:
            control.cancel()
        else:  # a group has formed and waits for our part
            self._tag_along_with_zero_weight(control)

    def stop_waiting(self) -> None:
        """Before leaving: end the search for a group, and start no other. Any thread may call."""
        self.average_state_every = NEVER
        for control in (self.scheduled_grads, self.scheduled_state):
            if control is not None and control.stage == AveragingStage.LOOKING_FOR_GROUP:
                control.cancel()

    def shutdown(self) -> None:
        """Leave the run, with at most `GOODBYE_SECONDS` for the last round of the state."""
        # hivemind waits as long as any round may take.
        self.state_averager._allreduce_timeout = GOODBYE_SECONDS  # noqa: SLF001
        super().shutdown()
        for guard in self._guards.values():
            guard.offences.close()


def _left_behind() -> str:
    return _("the others ended this epoch without us")


def _outcome(control: StepControl) -> tuple[int, str]:
    """The size of a round's group (1 when the round failed), and the reason of the failure."""
    if control.cancelled():
        return 1, _("the round was cancelled")
    if not control.done():
        return 1, _("no group was found in time")
    error = control.exception()
    if error is not None and "could not find a group" in str(error):
        return 1, _("no group was found in time")
    if error is not None:
        return 1, str(error) or type(error).__name__
    group = control.result()
    return (len(group), "") if group is not None else (1, _("no group was found"))
