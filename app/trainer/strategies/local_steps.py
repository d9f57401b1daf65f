"""What `diloco` and `sparseloco` share: steps of one's own, then an exchange of what was learnt.

Each peer takes inner steps on a copy of the swarm's ("outer") weights. When all peers' samples
together fill the target batch, each sends how far it got, and all make the same outer step with
the mean. The round runs beside computing: what the inner steps did meanwhile is kept.

A round that fails loses nothing: how far a peer got is measured from the outer weights, which then
have not moved, and so is part of the next round. Its epoch is over all the same: epochs number the
rounds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from app.common.i18n import _
from app.protocol import SampleDiscarded, Work
from app.spec.costs import rounds
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.seen import SwarmProgress
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.exchange.exchange import ExchangeError
from app.trainer.local_steps.inner import InnerSteps
from app.trainer.model.optimizers import optimizer_for, own_settings, scheduler_for
from app.trainer.strategies.following import Following
from app.trainer.strategies.outer_weights import OuterWeights
from app.trainer.strategies.protocols import StrategyPlace
from app.trainer.strategies.round import (
    Exchanged,
    LocalRound,
    MakeExchange,
    Recipe,
    Sent,
    farthest,
    most_weight,
)

MOST_AHEAD = 1
"""Epochs that the others may be ahead before their state is downloaded. One is the time in which
the end of an epoch gets about."""


class LocalSteps:
    """A `Strategy` and a `SwarmMember`. One round at a time runs, in a thread of its own."""

    averaging_since = None
    """Computing never waits for a round."""

    def __init__(
        self,
        place: StrategyPlace,
        *,
        recipe: Callable[[Sequence[torch.Size]], Recipe],
        exchange: MakeExchange,
    ) -> None:
        """Start what gives our state to newcomers, and publish our progress.

        recipe: called with the shapes of the parameters.
        """
        spec, parameters = place.spec, place.parameters
        options = spec.training.local_steps
        assert options is not None
        self._report, self._work, self._peer_id = place.report, place.work, place.peer.peer_id
        self._most_weight = most_weight(spec)
        self._recipe = recipe([each.shape for each in parameters])
        values = sum(each.numel() for each in parameters)
        self._farthest = farthest(spec, parameters=values)
        self._tracker = PacedTracker(
            dht=place.peer.dht,
            prefix=spec.run_id,
            target_batch_size=spec.training.target_batch_size,
            client_mode=place.peer.dht.client_mode,
            metadata_expiration=spec.training.averaging.record_seconds,
            start=True,
        )
        self._outer = OuterWeights(
            place,
            tracker=self._tracker,
            rate=options.outer_learning_rate,
            momentum=self._recipe.outer_momentum,
        )
        self._inner = InnerSteps(
            parameters,
            optimizer=optimizer_for(spec, place.model)(parameters),
            schedule=scheduler_for(spec),
            batch_size=options.local_batch_size,
            max_norm=options.max_grad_norm,
            needs_scaler=place.needs_scaler,
        )
        self.torch_optimizer = self._inner.optimizer
        place.work.time_steps_of(self.torch_optimizer)
        self._exchange = exchange(self._recipe.codec, self._tracker)
        self._following = Following(
            self._exchange,
            codec=self._recipe.codec,
            farthest=self._farthest,
            tracker=self._tracker,
            seconds=rounds.round_seconds(spec, parameters=values),
        )
        self.swarm_weights = self._outer.shown
        self.rest, self.interrupt = self._tracker.rest, self._exchange.interrupt
        self._round: LocalRound | None = None
        self._own = self._carried = 0  # samples: of this epoch, and left by failed rounds
        self._taken_before = 0  # inner steps, when a round began
        self.epoch = 0
        self.taken_over = 0
        self.snapshot_epoch: int | None = None
        self.loading_state = False

    # --- computing

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch to that of the inner step.

        loss: scalar, mean over the micro-batch. Raises `torch.OutOfMemoryError`; the gradient of
        the inner step is given up then.
        """
        try:
            self._inner.backward(loss, samples)
        except torch.OutOfMemoryError:
            self.forget("the memory ran out halfway in a gradient")
            raise

    def step(self, samples: int) -> None:
        """Count a micro-batch; take an inner step, begin a round or end one if it is time."""
        self._own += samples
        if lost := self._inner.count(samples):
            self.forget("our gradient was not finite", lost=lost)
        if self._round is not None and self._round.is_over:
            with self._work.waiting():
                self._end_round(self._round)
        # while a round runs, we compute for the epoch after it
        epoch = self.epoch + (self._round is not None)
        self._tracker.report_local_progress(epoch, self._own)
        if self._tracker.global_epoch > epoch + MOST_AHEAD:
            self._take_over()
        elif self._round is None and self._tracker.ready_to_update_epoch:
            with self._work.waiting():
                self._begin_round()

    def forget(self, reason: str, *, lost: int = 0) -> None:
        """Give up the gradient of the inner step. lost: samples of one that is given up already."""
        samples = lost or self._inner.forget()
        self._own = max(0, self._own - samples)
        self._work.forgotten(samples)
        self._report(SampleDiscarded(epoch=self.epoch, samples=samples, reason=reason))

    # --- a round

    def _begin_round(self) -> None:
        samples = self._own + self._carried
        sent = Sent(
            epoch=self.epoch,
            weights=self._outer.snapshot(),
            samples=samples,
            weight=min(float(samples), self._most_weight),
            everybody=self._tracker.swarm_samples(self._own),
            expected=self._tracker.others,
            callable=self._tracker.callable,
            began=time.monotonic(),
        )
        self._round = LocalRound(
            sent,
            self._outer.tensors,
            peer_id=self._peer_id,
            recipe=self._recipe,
            exchange=self._exchange,
            farthest=self._farthest,
        )
        self._own = self._carried = 0
        self._taken_before = self._inner.taken
        self._work.send()
        with self._tracker.pause_updates():
            self._tracker.update_epoch(self.epoch + 1)
        self._round.start()

    def _end_round(self, ended: LocalRound) -> None:
        self._round, sent = None, ended.sent
        try:
            brought = ended.brought()
        except ExchangeError as error:
            self._give_back(sent, str(error))
            return
        if brought.agrees:
            self._apply(sent, brought)
        else:
            self._give_back(sent, _("our weights differ from those of most others"))
            self._take_over()

    def _give_back(self, sent: Sent, failure: str) -> None:
        """The round has failed: the next one carries its samples as well."""
        self._work.sent_back()
        self._carried += sent.samples
        self._enter(sent.epoch + 1, offer=False)
        self._report(
            sent.ended(
                peers=1,
                samples=0,
                failure=failure,
                bytes_sent=self._work.sent_since_the_last_round(self._exchange.bytes_sent),
            )
        )

    def _apply(self, sent: Sent, brought: Exchanged) -> None:
        """Make the outer step, and keep what the inner steps did since the weights were sent."""
        # without a residual, what doesn't count stays in the model, for the next round
        keeps_all = self._recipe.residual is None and not brought.counts
        since = None if keeps_all else sent.weights
        self._outer.move(brought.mean, epoch=sent.epoch + 1, since=since)
        self._enter(sent.epoch + 1, offer=True)
        if brought.counts:
            self._work.sent_entered(sent.everybody)
        else:
            self._work.sent_back()
            self._carried += sent.samples
        samples = sent.samples if brought.counts else 0
        self._report(
            sent.ended(
                peers=brought.members,
                samples=samples,
                failure="",
                bytes_sent=self._work.sent_since_the_last_round(self._exchange.bytes_sent),
            )
        )

    def _enter(self, epoch: int, *, offer: bool) -> None:
        self.epoch = epoch
        self._outer.enter(epoch, offer=offer)
        self._inner.follow(epoch)

    # --- the swarm's state

    def synchronize(self) -> None:
        """Before the first step: load the state of a swarm that is ahead of us, or of a door."""
        self._tracker.fetched_global_progress_this_epoch.wait(timeout=10.0)
        behind = self._tracker.global_epoch > self.epoch
        if behind or self._outer.doors_may_have_more:
            self._take_over(first=True, behind=behind)
        self.snapshot_epoch = self._outer.snapshot_epoch

    def _take_over(self, *, first: bool = False, behind: bool = True) -> None:
        """Go on from the outer weights of a peer that can be believed. What we learnt since the
        last round is lost, and what was not sent yet: a checkpoint's residual may hold a round's
        update that these weights hold as well. first, behind: as `OuterWeights.take_over` has
        them."""
        self.loading_state = True
        self._drop_round()
        self._tracker.report_local_progress(self.epoch, samples_accumulated=0)
        try:
            with self._work.waiting(), self._following.begun(follows=behind) as followed:
                epoch = self._outer.take_over(
                    yields=followed.is_fetching, first=first, behind=behind
                )
                if epoch is not None:
                    epoch = followed.catch_up(self._outer, epoch=epoch)
        finally:
            self.loading_state = False
        if epoch is None:
            return
        self._outer.begin()
        self.taken_over += 1
        if self._recipe.residual is not None:
            self._recipe.residual.clear()
        self._enter(epoch, offer=False)  # not before a round has shown that others have the same
        self._tracker.report_local_progress(epoch, samples_accumulated=0)

    def _drop_round(self) -> None:
        """End the round that runs, and forget all that was computed since the last one."""
        if self._round is not None:
            self._round.stop()
            self._round = None
        self._inner.forget()
        self._own = self._carried = 0
        self._work.lost()

    # --- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers, what was not sent yet, and the epoch."""
        residual = self._recipe.residual
        return {
            "epoch": self.epoch,
            "outer": self._outer.state_dict(),
            "inner": self.torch_optimizer.state_dict(),
            "residual": residual.state_dict() if residual is not None else {},
        }

    def restore(self, state: dict[str, Any], *, offer: bool = True) -> None:
        """Go on from a checkpoint's `state_dict`; the model has the outer weights already. offer:
        newcomers may have them."""
        self._outer.take_from_model()
        self._outer.load_state_dict(state["outer"])
        with own_settings(self.torch_optimizer):
            self.torch_optimizer.load_state_dict(state["inner"])
        if self._recipe.residual is not None:
            self._recipe.residual.load_state_dict(state["residual"])
        self._enter(int(state["epoch"]), offer=offer)
        self._tracker.report_local_progress(self.epoch, samples_accumulated=0)

    def undo(self, state: dict[str, Any], restore_model: Callable[[], object]) -> None:
        """Go back to a checkpoint's `state_dict`, but stay in the swarm's epoch."""
        self._drop_round()
        restore_model()
        self.restore(state | {"epoch": self.epoch}, offer=False)  # the others have newer ones

    # --- the rest of a member

    def progress(self) -> SwarmProgress:
        """The run as our progress tracker last saw it. Any thread may ask."""
        seen = self._tracker.seen(epoch=self.epoch)
        own_steps = max(0, self._inner.taken - self._taken_before)
        return replace(seen, own_steps=own_steps, exchanging=self._round is not None)

    def work(self) -> Work:
        """What this trainer did for the run. Any thread may ask, also after `close`."""
        state, rounds = CountingStateAverager.traffic, self._exchange
        return self._work.read(
            bytes_sent=state.sent + rounds.bytes_sent,
            bytes_sent_in_rounds=rounds.bytes_sent_in_rounds,
            bytes_received=state.received + rounds.bytes_received,
        )

    def failure(self) -> str:
        """Which of our processes has died, or ""."""
        return "" if self._outer.is_alive else "the process that gives our state away ended"

    def close(self) -> None:
        """Leave the run."""
        if self._round is not None:
            self._round.stop()
        self._exchange.close()
        self._tracker.shutdown()
        self._outer.close()
