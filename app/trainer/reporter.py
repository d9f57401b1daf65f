"""Tells the app and the swarm how training does, at its own pace, whatever the loop waits for."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from app.common.i18n import _
from app.protocol import PhaseChanged, Progress, Report, TrainerPhase, TrainerProblem
from app.trainer.averaging.traffic import keep_to
from app.trainer.control import Control
from app.trainer.meter import Meter
from app.trainer.strategies.gradient_averaging import GradientAveraging

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0
SHORT_ROUND_SECONDS = 0.4
"""A round that blocks for less isn't worth a word: well scheduled ones take some 50 ms."""


class Reporter(threading.Thread):
    """A thread between `start` and `close`. It also sees when a process of hivemind's has died,
    which hivemind doesn't, and ends us then: only a fresh start mends that."""

    def __init__(
        self,
        *,
        meter: Meter,
        strategy: GradientAveraging,
        control: Control,
        send: Callable[[Report], None],
        interval: float,
    ) -> None:
        super().__init__(name="reporter", daemon=True)
        self.meter = meter
        self._strategy = strategy
        self._send = send
        self._control = control
        self._interval = interval
        self._closed = threading.Event()
        self._phase: TrainerPhase | None = None
        self._phase_guard = threading.Lock()
        self._published = time.monotonic()

    def close(self) -> None:
        """End the thread and wait for its end."""
        self._closed.set()
        self.join()

    def run(self) -> None:
        """Report until closed. A fault here ends the trainer: nobody would watch it any more."""
        try:
            self._report_until_closed()
        except Exception as error:
            log.exception("reporting failed")
            text = f"{type(error).__name__}: {error}"
            self._control.fail_at_once(TrainerProblem(message=text, expected=False))

    def _report_until_closed(self) -> None:
        while not self._closed.wait(self._interval):
            keep_to(self._control.pace)
            self.say_phase()
            self._say_how_it_goes()
            self._publish()
            if failure := self._strategy.failure():
                log.warning("%s", failure)
                self._control.fail_at_once(
                    TrainerProblem(
                        message=_("A helper process of the trainer ended unexpectedly."),
                        remedy=_("Training restarts from the last checkpoint."),
                        expected=False,
                    )
                )
                return

    def _say_how_it_goes(self) -> None:
        """Send the work first: if we are killed in between, what was shown is accounted for."""
        progress = self._progress()
        self._send(self._strategy.work())  # read later, so at least as much as the progress
        self._send(progress)

    def say_phase(self) -> None:
        """Tell the app what we are doing, if that has changed. Any thread may call."""
        with self._phase_guard:
            phase = self._current_phase()
            if phase is not self._phase:
                self._phase = phase
                self._send(PhaseChanged(phase=phase))

    def _current_phase(self) -> TrainerPhase:
        since = self._strategy.optimizer.averaging_since
        if self._control.resting:
            return TrainerPhase.PAUSED
        if self._strategy.optimizer.loading_state:
            return TrainerPhase.SYNCHRONIZING
        if since is not None and time.monotonic() - since > SHORT_ROUND_SECONDS:
            return TrainerPhase.AVERAGING
        return TrainerPhase.TRAINING

    def _progress(self) -> Progress:
        reading = self.meter.read()
        if self._control.resting:
            reading = replace(reading, samples_per_second=None, tokens_per_second=None)
        swarm = self._strategy.progress()
        return Progress(
            step=reading.step,
            epoch=swarm.epoch,
            loss=self.meter.take_loss_for_progress(),
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
        )

    def _publish(self) -> None:
        if time.monotonic() - self._published < PUBLISH_SECONDS:
            return
        self._published = time.monotonic()
        losses = self.meter.take_loss_for_swarm()
        if losses.steps:
            self._strategy.publish(self.meter.read(), losses)
