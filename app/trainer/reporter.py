"""Tells the app and the swarm how training goes, from a thread that waits for nothing else."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from app.common.i18n import _
from app.evaluation_messages import Evaluated
from app.p2p.run_records import LocalEvaluation, LocalMetrics
from app.protocol import PhaseChanged, Progress, Report, TrainerPhase, TrainerProblem
from app.trainer.control import Control
from app.trainer.meter import Meter
from app.trainer.peer.bandwidth import keep_to
from app.trainer.peer.peer import TrainerPeer
from app.trainer.strategies.protocols import SwarmMember

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0
"""The time between two of our entries in the run's metrics record."""

PUBLISH_EVALUATION_SECONDS = 20.0
"""The time between two of our entries in the run's evaluations, unless there is a new one."""

SHORT_ROUND_SECONDS = 0.4
"""A round that blocks for less isn't reported as a phase; a well scheduled one takes 50 ms."""


class Reporter(threading.Thread):
    """Reports between `start` and `close`.

    It also ends this process when one of hivemind's processes has died: hivemind doesn't notice
    that, and only a new start of the trainer mends it.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        strategy: SwarmMember,
        peer: TrainerPeer,
        control: Control,
        send: Callable[[Report], None],
        evaluation: Callable[[], Evaluated | None],
        interval: float,
    ) -> None:
        """interval: seconds between two reports. send: called with them, on any thread.

        evaluation: returns our newest one, None before the first.
        """
        super().__init__(name="reporter", daemon=True)
        self._meter = meter
        self._strategy = strategy
        self._peer = peer
        self._send = send
        self._control = control
        self._evaluation = evaluation
        self._interval = interval
        self._closed = threading.Event()
        self._phase: TrainerPhase | None = None
        self._phase_guard = threading.Lock()
        self._published = time.monotonic()
        self._told: Evaluated | None = None
        self._told_at = 0.0

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        self._closed.set()
        self.join()

    def run(self) -> None:
        """Report until closed. An error ends the trainer, since nothing would watch it any more."""
        try:
            self._report_until_closed()
        except Exception as error:  # the boundary of this thread
            log.exception("reporting failed")
            text = f"{type(error).__name__}: {error}"
            self._control.fail_at_once(TrainerProblem(message=text, expected=False))

    def _report_until_closed(self) -> None:
        while not self._closed.wait(self._interval):
            keep_to(self._control.pace)
            self.say_phase()
            self._report_progress()
            self._publish()
            if failure := self._peer.failure() or self._strategy.failure():
                log.warning("%s", failure)
                self._control.fail_at_once(
                    TrainerProblem(
                        message=_("A helper process of the trainer ended unexpectedly."),
                        remedy=_("Training restarts from the last checkpoint."),
                        expected=False,
                    )
                )
                return

    def _report_progress(self) -> None:
        """Send the work, then the progress: if we are killed between both, all that is shown was
        counted."""
        progress = self._progress()
        self._send(self._strategy.work())  # read after the progress, so never less
        self._send(progress)

    def say_phase(self) -> None:
        """Report the phase if it has changed. Any thread may call."""
        with self._phase_guard:
            phase = self._current_phase()
            if phase is not self._phase:
                self._phase = phase
                self._send(PhaseChanged(phase=phase))

    def _current_phase(self) -> TrainerPhase:
        since = self._strategy.averaging_since
        if self._control.resting:
            return TrainerPhase.PAUSED
        if self._strategy.loading_state:
            return TrainerPhase.SYNCHRONIZING
        if since is not None and time.monotonic() - since > SHORT_ROUND_SECONDS:
            return TrainerPhase.AVERAGING
        return TrainerPhase.TRAINING

    def _progress(self) -> Progress:
        reading = self._meter.read()
        if self._control.resting:
            reading = replace(reading, samples_per_second=None, tokens_per_second=None)
        swarm = self._strategy.progress()
        return Progress(
            step=reading.step,
            epoch=swarm.epoch,
            loss=self._meter.take_loss_for_progress(),
            samples_per_second=reading.samples_per_second,
            tokens_per_second=reading.tokens_per_second,
            samples=reading.samples,
            tokens=reading.tokens,
            compute_seconds=reading.compute_seconds,
            epoch_samples=swarm.own_samples,
            swarm_samples=swarm.swarm_samples,
            target_batch_size=swarm.target_batch_size,
            eta=swarm.eta,
            peers=swarm.peers,
            own_steps=swarm.own_steps,
            exchanging=swarm.exchanging,
        )

    def _publish(self) -> None:
        if time.monotonic() - self._published < PUBLISH_SECONDS:
            return
        self._published = time.monotonic()
        losses = self._meter.take_loss_for_swarm()
        if not losses.steps:
            return
        reading = self._meter.read()
        self._peer.publish(
            LocalMetrics(
                step=self._strategy.epoch,
                samples_per_second=float(reading.samples_per_second or 0.0),
                samples_accumulated=reading.samples,
                loss=losses.total,
                mini_steps=losses.steps,
            )
        )
        self._publish_evaluation()

    def _publish_evaluation(self) -> None:
        newest = self._evaluation()
        is_old = time.monotonic() - self._told_at >= PUBLISH_EVALUATION_SECONDS
        if newest is None or (newest is self._told and not is_old):
            return
        self._told, self._told_at = newest, time.monotonic()
        self._peer.publish_evaluation(
            LocalEvaluation(
                epoch=newest.epoch,
                loss=newest.loss,
                bits_per_byte=newest.bits_per_byte,
                tokens=newest.tokens,
            )
        )
