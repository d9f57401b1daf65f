"""Counts which of this trainer's samples entered an averaging round, and what they cost."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from app.protocol import Work


@dataclass(kw_only=True)
class _Sum:
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, other: "_Sum") -> None:
        self.samples += other.samples
        self.tokens += other.tokens
        self.seconds += other.seconds

    def without(self, samples: int) -> "_Sum":
        """The same without some of the samples, all of which are equally long."""
        kept = max(0, self.samples - samples)
        share = kept / self.samples if self.samples else 0.0
        return _Sum(samples=kept, tokens=round(self.tokens * share), seconds=self.seconds * share)


class WorkMeter:
    """The counters of `protocol.Work`. The training thread writes, the reporter's thread reads.

    A sample is pending from its backward pass to the end of its epoch. At that point either all
    pending samples have entered the round, or all are lost. Where a round runs beside computing,
    `send` says which of them it carries.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._computed = 0
        self._pending = _Sum()
        self._sent = _Sum()
        self._entered = _Sum()
        self._epochs = self._swarm_samples = 0
        self._training_seconds = 0.0
        self._resumed_at: float | None = None
        self._step_began = 0.0
        self._waiting_seconds = 0.0
        self._waiting_since: float | None = None
        self._sent_before = 0

    def computed(self, *, samples: int, tokens: int, seconds: float) -> None:
        """Count samples after forward and backward. seconds: what both took."""
        with self._guard:
            self._computed += samples
            self._pending.add(_Sum(samples=samples, tokens=tokens, seconds=seconds))

    def discarded(self, samples: int) -> None:
        """Count samples whose loss was not finite: only forward ran."""
        with self._guard:
            self._computed += samples

    def entered(self, swarm_samples: int) -> None:
        """A round has finished with all pending samples in it. swarm_samples: of all peers."""
        with self._guard:
            self._enter(self._pending, swarm_samples)
            self._pending = _Sum()

    def _enter(self, samples: _Sum, swarm_samples: int) -> None:
        self._entered.add(samples)
        self._epochs += 1
        self._swarm_samples += swarm_samples

    def send(self) -> None:
        """A round has begun that carries the pending samples; those computed from now on wait for
        the next one."""
        with self._guard:
            self._sent.add(self._pending)
            self._pending = _Sum()

    def sent_entered(self, swarm_samples: int) -> None:
        """What `send` gave to the round has entered it. swarm_samples: of all peers."""
        with self._guard:
            self._enter(self._sent, swarm_samples)
            self._sent = _Sum()

    def sent_back(self) -> None:
        """The round has failed: what `send` gave to it is pending again."""
        with self._guard:
            self._pending.add(self._sent)
            self._sent = _Sum()

    def lost(self) -> None:
        """The pending samples will enter no round, nor those that a round carries."""
        with self._guard:
            self._pending, self._sent = _Sum(), _Sum()

    def forgotten(self, samples: int) -> None:
        """Some of the pending samples were given up: they will enter no round."""
        with self._guard:
            self._pending = self._pending.without(samples)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it, the training thread computes nothing because of the swarm. Optimizer steps
        within it count as computing."""
        if self._waiting_since is not None:
            yield
            return
        self._wait(begin=True)
        try:
            yield
        finally:
            self._wait(begin=False)

    def _wait(self, *, begin: bool) -> None:
        with self._guard:
            self._waiting_seconds = self._waited()
            is_training = self._resumed_at is not None
            self._waiting_since = time.monotonic() if begin and is_training else None

    def _waited(self) -> float:
        since = 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since
        return self._waiting_seconds + since

    def sent_since_the_last_round(self, sent_in_rounds: int) -> int:
        """Bytes sent since the last call. sent_in_rounds: all of them."""
        sent, self._sent_before = sent_in_rounds - self._sent_before, sent_in_rounds
        return sent

    def time_steps_of(self, optimizer: torch.optim.Optimizer) -> None:
        """Count the seconds of an optimizer's steps, whichever thread takes them."""

        is_within = False

        def begin(*_: Any) -> None:
            nonlocal is_within
            is_within = self._waiting_since is not None
            if is_within:
                self._wait(begin=False)
            self._step_began = time.perf_counter()

        def end(*_: Any) -> None:
            with self._guard:
                self._pending.seconds += time.perf_counter() - self._step_began
            if is_within:
                self._wait(begin=True)

        optimizer.register_step_pre_hook(begin)
        optimizer.register_step_post_hook(end)

    def resume(self) -> None:
        """Training begins or goes on: its time counts from now."""
        with self._guard:
            self._resumed_at = time.monotonic()

    def pause(self) -> None:
        """Training pauses or ends: its time counts no more."""
        with self._guard:
            self._training_seconds, self._resumed_at = self._trained(), None

    def _trained(self) -> float:
        since = 0.0 if self._resumed_at is None else time.monotonic() - self._resumed_at
        return self._training_seconds + since

    def read(self, *, bytes_sent: int, bytes_sent_in_rounds: int, bytes_received: int) -> Work:
        """The counters now, with seconds rounded to milliseconds. bytes: as in `Work`."""
        with self._guard:
            return Work(
                samples_computed=self._computed,
                samples_pending=self._pending.samples + self._sent.samples,
                samples_entered=self._entered.samples,
                tokens_entered=self._entered.tokens,
                compute_seconds=round(self._entered.seconds, 3),
                epochs=self._epochs,
                swarm_samples=self._swarm_samples,
                bytes_sent=bytes_sent,
                bytes_sent_in_rounds=bytes_sent_in_rounds,
                bytes_received=bytes_received,
                training_seconds=round(self._trained(), 3),
                waiting_seconds=round(self._waited(), 3),
            )
