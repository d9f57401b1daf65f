"""The rounds that end while the swarm's weights are downloaded, which would else be out of date.

Over a home line, the download takes as long as several rounds. So a newcomer gets what each of them
brought, though it takes no part, and then makes their outer steps itself, with the same bits as
everybody else. Each contribution says from which outer weights it starts: that tells which round is
the next one for the downloaded weights, and that they are those of most others.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch

from app.common.background import survived
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.exchange.exchange import Exchange, ExchangeError, GoneRoundError, Swap
from app.trainer.local_steps.believing import Believed, believed, most_common_base
from app.trainer.local_steps.codec import Codec

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

KEPT = 2
"""Rounds that a member has: the newest, and the one before. While the newest one runs, it says that
it is in the next epoch."""

MOST_BYTES = 2 * 2**30
"""Of blobs. With more, the oldest round is given up, and with it the download."""

LOOK_SECONDS = 0.2
"""Between two looks whether we are in step with the others."""


class DownloadedWeights(Protocol):
    """Outer weights, and the outer optimizer's statistics, of some rounds ago."""

    @property
    def digest(self) -> bytes:
        """Of the weights, as each contribution that starts from them has it."""

    def advance(self, mean: Sequence[torch.Tensor], *, epoch: int) -> None:
        """Take the outer step of a round. mean: of what its members learnt, float32, on the CPU.
        epoch: that begins."""


class Following:
    """Follows the rounds of others, as often as weights are downloaded."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        codec: Codec,
        farthest: float,
        tracker: PacedTracker,
        seconds: float,
    ) -> None:
        """farthest: as `believed` has it. seconds: the longest time of a round."""
        self._exchange = exchange
        self._judged = partial(believed, codec=codec, farthest=farthest)
        self._tracker = tracker
        self._seconds = seconds

    @contextmanager
    def begun(self, *, follows: bool) -> Iterator["FollowedRounds"]:
        """Follow the others within it. follows: there are others."""
        rounds = FollowedRounds(self._exchange, self._judged, self._tracker, self._seconds)
        if follows:
            rounds.start()
        try:
            yield rounds
        finally:
            rounds.stop()


class FollowedRounds(threading.Thread):
    """Fetches one round after the other until it is stopped, and keeps their blobs in memory."""

    def __init__(
        self,
        exchange: Exchange,
        judged: Callable[..., Believed],
        tracker: PacedTracker,
        seconds: float,
    ) -> None:
        super().__init__(name="following", daemon=True)
        self._exchange, self._judged, self._tracker = exchange, judged, tracker
        self._seconds = seconds
        self._fetched: deque[Swap] = deque()
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self._next = max(0, tracker.global_epoch - KEPT)

    def run(self) -> None:
        """In this thread."""
        with survived(log, "the others' rounds can't be followed"):
            while not self._is_over.is_set():
                if self._next > self._tracker.global_epoch:  # nobody can have had it
                    self._is_over.wait(RETRY_SECONDS)
                    continue
                try:
                    swap = self._exchange.fetch(epoch=self._next, members=self._tracker.callable)
                except ExchangeError as error:
                    self._miss(error)
                else:
                    self._keep(swap)

    def _keep(self, swap: Swap) -> None:
        with self._changed:
            self._fetched.append(swap)
            self._next += 1
            while len(self._fetched) > 1 and sum(map(_size, self._fetched)) > MOST_BYTES:
                lost = self._fetched.popleft()
                log.warning("no room for the round of epoch %d: the download is slow", lost.epoch)
            self._changed.notify_all()

    def _miss(self, error: ExchangeError) -> None:
        """Go on after a round that can't be had."""
        log.info("the round of epoch %d can't be followed: %s", self._next, error)
        newest = self._tracker.global_epoch
        if isinstance(error, GoneRoundError) and newest > self._next:
            self._next += 1
        elif newest > self._next + KEPT:  # its members have forgotten it
            self._next = newest - KEPT
        self._is_over.wait(RETRY_SECONDS)

    def is_fetching(self) -> bool:
        """A round is on its way to us, and the weights can wait: the others forget it soon."""
        return self._exchange.is_fetching

    def stop(self) -> None:
        """End it."""
        self._is_over.set()
        while self.is_alive():
            self._exchange.interrupt()
            self.join(LOOK_SECONDS)

    def catch_up(self, outer: DownloadedWeights, *, epoch: int) -> int:
        """Make the outer steps that the weights lack; the epoch to go on with.

        epoch: of the weights, as their donor says. Ends when we are in step with the others but for
        the round that runs, in which we can take part, or when a round is missing; then our next
        round shows that our weights are others.
        """
        base, until = outer.digest, time.monotonic() + self._seconds
        has_matched = False
        while self.is_alive() and time.monotonic() < until:
            swap, following = self._take()
            newest = self._tracker.global_epoch
            if swap is None:
                if newest <= max(epoch, following) or (has_matched and newest <= epoch + 1):
                    break
            elif most_common_base(swap.contributions) == base:
                epoch, has_matched = swap.epoch + 1, True
                mean = self._judged(swap.contributions, base=base).mean
                outer.advance(mean, epoch=epoch)
                base = outer.digest
                until = time.monotonic() + self._seconds
                log.info("made up for the round of epoch %d", swap.epoch)
            elif swap.epoch == epoch and not has_matched:
                epoch += 1  # the donor's epoch changes a moment after its weights
        newest = self._tracker.global_epoch
        return epoch if has_matched and newest <= epoch + 1 else max(epoch, newest)

    def _take(self) -> tuple[Swap | None, int]:
        """The oldest round that is here, if one comes soon; and the epoch that is fetched then."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._fetched), LOOK_SECONDS)
            return (self._fetched.popleft() if self._fetched else None), self._next


def _size(swap: Swap) -> int:
    return sum(len(each.blob) for each in swap.contributions)
