"""What `diloco` and `sparseloco` share: steps of one's own, then an exchange of what was learnt.

Each peer takes inner steps on a copy of the swarm's ("outer") weights. When all peers' samples
together fill the target batch, each sends how far it got, and all make the same outer step with
the mean. The round runs beside computing: what the inner steps did meanwhile is kept.

A round that fails loses nothing: how far a peer got is measured from the outer weights, which then
have not moved, and so is part of the next round.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from hivemind.utils.timed_storage import get_dht_time

from app.common.i18n import _
from app.protocol import MemberAtFault, RoundEnded, SampleDiscarded, Work
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.takeover import OptimizerState, OptimizerSwarm, take_over
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.exchange.exchange import Exchange, ExchangeError
from app.trainer.joining.newcomer import Newcomer
from app.trainer.local_steps.codec import Codec
from app.trainer.local_steps.outer import outer_optimizer, step
from app.trainer.model.optimizers import optimizer_for, scheduler_for
from app.trainer.strategies.protocols import StrategyPlace, SwarmProgress
from app.trainer.strategies.round import Outcome, Recipe, Round, Sent, donor_of, on_cpu

log = logging.getLogger(__name__)

MOST_AHEAD = 1
"""Epochs that the others may be ahead before their state is downloaded. One is the time in which
the end of an epoch gets about."""

STEPS_AN_EPOCH = 100
"""Inner steps between two rounds, at most, when a foreign state is held against ours."""


class LocalSteps:
    """A `Strategy` and a `SwarmMember`. One round at a time runs, in a thread of its own."""

    def __init__(
        self,
        place: StrategyPlace,
        *,
        recipe: Callable[[Sequence[torch.Size]], Recipe],
        exchange: Callable[[Codec], Exchange],
    ) -> None:
        """Start what gives our state to newcomers, and publish our progress.

        recipe: called with the shapes of the parameters. exchange: called with what reads blobs.
        """
        spec, peer, model = place.spec, place.peer, place.model
        options = spec.training.local_steps
        assert options is not None
        self._report, self._work = place.report, place.work
        self._local_batch_size = options.local_batch_size
        self._max_grad_norm = options.max_grad_norm
        self._parameters = list(model.parameters())
        self._recipe = recipe([each.shape for each in self._parameters])
        self._outer = [torch.nn.Parameter(on_cpu(each)) for each in self._parameters]
        outer = partial(
            outer_optimizer,
            rate=options.outer_learning_rate,
            momentum=self._recipe.outer_momentum,
        )
        self._averager = donor_of(spec, peer, self._outer, outer)
        self._tracker = PacedTracker(
            dht=peer.dht,
            prefix=spec.run_id,
            target_batch_size=spec.training.target_batch_size,
            client_mode=peer.dht.client_mode,
            metadata_expiration=spec.training.averaging.record_seconds,
            start=True,
        )
        self._inner = optimizer_for(spec)(self._parameters)
        schedule = scheduler_for(spec)
        self._scheduler = schedule(self._inner) if schedule is not None else None
        self._scaler = torch.amp.GradScaler() if place.needs_scaler else None
        place.work.time_steps_of(self._inner)
        self._dht = peer.dht
        self._newcomer = Newcomer(
            state=OptimizerState(
                self._averager.optimizer,
                judge=self._judged(place.judge),
                step_size=STEPS_AN_EPOCH * spec.training.optimizer.learning_rate,
            ),
            swarm=OptimizerSwarm(peer.dht, averager=self._averager, tracker=self._tracker),
            report=place.report,
        )
        self._exchange = exchange(self._recipe.codec)
        self._round: Round | None = None
        self._accumulated = 0  # samples in the gradient of the inner step
        self._own = 0  # samples of this epoch
        self._carried = 0  # samples that failed rounds have left
        self.epoch = 0
        self.taken_over = 0
        self.loading_state = False

    @property
    def averaging_since(self) -> float | None:
        """None: computing never waits for a round."""
        return None

    @property
    def torch_optimizer(self) -> torch.optim.Optimizer:
        """The inner one, whose state lies in the memory of the device."""
        return self._inner

    # --- computing

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch to that of the inner step.

        loss: scalar, mean over the micro-batch. Raises `torch.OutOfMemoryError`; the gradient of
        the inner step is given up then.
        """
        weighted = loss * (samples / self._local_batch_size)
        try:
            (weighted if self._scaler is None else self._scaler.scale(weighted)).backward()
        except torch.OutOfMemoryError:
            self.forget("the memory ran out halfway in a gradient")
            raise

    def step(self, samples: int) -> None:
        """Count a micro-batch; take an inner step, begin a round or end one if it is time."""
        self._accumulated += samples
        self._own += samples
        if self._accumulated >= self._local_batch_size:
            self._take_inner_step()
        self._tracker.report_local_progress(self._sending_epoch, self._own)
        if self._round is not None and self._round.is_over:
            self._end_round(self._round)
        if self._tracker.global_epoch > self._sending_epoch + MOST_AHEAD:
            self._take_over()
        elif self._round is None and self._tracker.ready_to_update_epoch:
            self._begin_round()

    @property
    def _sending_epoch(self) -> int:
        """The epoch whose samples we count: one more than the model's while a round runs."""
        return self.epoch + (self._round is not None)

    def _take_inner_step(self) -> None:
        if self._scaler is not None:
            self._scaler.unscale_(self._inner)
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(self._local_batch_size / self._accumulated)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        if self._scaler is not None:
            self._scaler.step(self._inner)
            self._scaler.update()
        elif bool(torch.isfinite(norm)):
            self._inner.step()
        else:
            self._discard("our gradient was not finite", self._accumulated)
        self._inner.zero_grad()
        self._accumulated = 0

    def _discard(self, reason: str, samples: int) -> None:
        self._report(SampleDiscarded(epoch=self.epoch, samples=samples, reason=reason))

    def forget(self, reason: str) -> None:
        """Give up the gradient of the inner step."""
        self._inner.zero_grad()
        self._discard(reason, self._accumulated)
        self._own -= self._accumulated
        self._accumulated = 0

    # --- a round

    def _begin_round(self) -> None:
        sent = Sent(
            epoch=self.epoch,
            weights=[on_cpu(each) for each in self._parameters],
            samples=self._own + self._carried,
            everybody=self._swarm_samples(),
            expected=self._tracker.others,
            began=time.monotonic(),
        )
        self._round = Round(sent, self._outer, recipe=self._recipe, exchange=self._exchange)
        self._own = self._carried = 0
        self._work.send()
        with self._tracker.pause_updates():
            self._tracker.update_epoch(self.epoch + 1)
        self._round.start()

    def _swarm_samples(self) -> int:
        seen = self._tracker.global_progress
        heard = seen.samples_accumulated if seen.epoch == self.epoch else 0
        return int(max(self._own, heard, seen.target_batch_size))

    def _end_round(self, ended: Round) -> None:
        self._round, sent = None, ended.sent
        try:
            outcome = ended.outcome()
        except ExchangeError as error:
            self._give_back(sent, str(error))
            return
        for peer_id, fault in outcome.faults.items():
            self._report(
                MemberAtFault(peer_id=peer_id, fault=fault, epoch=sent.epoch, time=time.time())
            )
        if not outcome.agrees:
            self._give_back(sent, _("our weights differ from those of most others"))
            self._take_over()
            return
        self._apply(sent, outcome)

    def _give_back(self, sent: Sent, failure: str) -> None:
        """The round has failed: the epoch is over, and the next one carries its samples as well."""
        self._work.sent_back()
        self._carried += sent.samples
        self.epoch = self._averager.local_epoch = sent.epoch + 1
        self._follow_schedule()
        self._say(sent, peers=1, samples=0, failure=failure)

    @torch.no_grad()
    def _apply(self, sent: Sent, outcome: Outcome) -> None:
        """Make the outer step, and keep what the inner steps did since the weights were sent."""
        before = [each.clone() for each in self._outer]
        with self._averager.lock_averaged_tensors:
            step(self._averager.optimizer, outcome.mean)
            self.epoch = self._averager.local_epoch = sent.epoch + 1
        keeps_own = self._recipe.residual is None and not outcome.swap.included
        since = before if keeps_own else sent.weights  # then our own part waits for the next round
        for mine, new, old in zip(self._parameters, self._outer, since, strict=True):
            mine.add_((new - old).to(mine.device, mine.dtype))
        self._offer()
        self._follow_schedule()
        samples = sent.samples if outcome.swap.included else 0
        if outcome.swap.included:
            self._work.sent_entered(sent.everybody)
        else:
            self._work.sent_back()
            self._carried += sent.samples
        self._say(sent, peers=len(outcome.swap.contributions), samples=samples, failure="")

    def _offer(self) -> None:
        """Offer our state to newcomers as that of our epoch."""
        if not self._tracker.client_mode:
            self._averager.state_sharing_priority = self.epoch

    def _follow_schedule(self) -> None:
        if self._scheduler is not None:
            self._scheduler.last_epoch = self.epoch - 1
            self._scheduler.step()

    def _say(self, sent: Sent, *, peers: int, samples: int, failure: str) -> None:
        self._report(
            RoundEnded(
                epoch=sent.epoch,
                peers=peers,
                seconds=time.monotonic() - sent.began,
                samples=samples,
                failure=failure,
            )
        )

    # --- the swarm's state

    def synchronize(self) -> None:
        """Before the first step: load the state of a swarm that is ahead of us."""
        self._tracker.fetched_global_progress_this_epoch.wait(timeout=10.0)
        if self._tracker.global_epoch > self.epoch:
            self._take_over()

    def _take_over(self) -> None:
        """Go on from the outer weights of a peer that can be believed. What we learnt since the
        last round is lost."""
        self.loading_state = True
        self._drop_round()
        self._tracker.report_local_progress(self.epoch, samples_accumulated=0)
        try:
            epoch = asyncio.run(take_over(self._newcomer, self._dht, self._averager))
        finally:
            self.loading_state = False
            self._work.lost()
            self._own = self._carried = self._accumulated = 0
            self._inner.zero_grad()
        if epoch is None:
            return
        self.taken_over += 1
        self.epoch = self._averager.local_epoch = epoch
        self._begin_from_outer()
        self._tracker.report_local_progress(epoch, samples_accumulated=0)
        self._offer()
        self._follow_schedule()

    def _drop_round(self) -> None:
        if self._round is not None:
            self._exchange.interrupt()
            self._round.join()
            self._round = None

    @torch.no_grad()
    def _begin_from_outer(self) -> None:
        for mine, outer in zip(self._parameters, self._outer, strict=True):
            mine.copy_(outer)

    def _judged(self, judge: Callable[[], float]) -> Callable[[], float]:
        def loss() -> float:
            with self.swarm_weights():
                return judge()

        return loss

    @contextmanager
    def swarm_weights(self) -> Iterator[None]:
        """Within it, the model has the outer weights."""
        own = [each.detach().clone() for each in self._parameters]
        self._begin_from_outer()
        try:
            yield
        finally:
            with torch.no_grad():
                for mine, kept in zip(self._parameters, own, strict=True):
                    mine.copy_(kept)

    # --- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers, what was not sent yet, and the epoch."""
        residual = self._recipe.residual
        return {
            "epoch": self.epoch,
            "outer": self._averager.optimizer.state_dict(),
            "inner": self._inner.state_dict(),
            "residual": residual.state_dict() if residual is not None else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state_dict`; the model has the outer weights already."""
        self._load(state)
        self.epoch = self._averager.local_epoch = int(state["epoch"])
        self._offer()
        self._follow_schedule()
        self._tracker.report_local_progress(self.epoch, samples_accumulated=0)

    @torch.no_grad()
    def _load(self, state: dict[str, Any]) -> None:
        for outer, mine in zip(self._outer, self._parameters, strict=True):
            outer.copy_(mine)
        self._averager.optimizer.load_state_dict(state["outer"])
        self._inner.load_state_dict(state["inner"])
        if self._recipe.residual is not None:
            self._recipe.residual.load_state_dict(state["residual"])

    def undo(self, state: dict[str, Any], restore_model: Callable[[], object]) -> None:
        """Go back to a checkpoint's `state_dict`, but stay in the swarm's epoch."""
        self._drop_round()
        self._work.lost()
        self._inner.zero_grad()
        self._own = self._carried = self._accumulated = 0
        restore_model()
        self._load(state)

    # --- the rest of a member

    def progress(self) -> SwarmProgress:
        """The run as our progress tracker last saw it. Any thread may ask."""
        seen = self._tracker.global_progress
        eta = seen.eta_next_epoch - get_dht_time()
        return SwarmProgress(
            epoch=max(self.epoch, seen.epoch),
            own_samples=self._tracker.local_progress.samples_accumulated,
            swarm_samples=min(seen.samples_accumulated, seen.target_batch_size),
            target_batch_size=seen.target_batch_size,
            peers=max(1, seen.num_peers),
            eta=max(0.0, eta) if eta < 10**7 else None,
        )

    def work(self) -> Work:
        """What this trainer did for the run. Any thread may ask, also after `close`."""
        state, rounds = CountingStateAverager.traffic, self._exchange
        return self._work.read(
            bytes_sent=state.sent + rounds.bytes_sent,
            bytes_sent_in_rounds=rounds.bytes_sent,
            bytes_received=state.received + rounds.bytes_received,
        )

    def failure(self) -> str:
        """Which of our processes has died, or ""."""
        return "" if self._averager.is_alive() else "the process that gives our state away ended"

    def rest(self) -> None:
        """Before a pause: publish that we compute nothing for now."""
        self._tracker.rest()

    def interrupt(self) -> None:
        """From another thread, when we leave: end a round that waits for others."""
        self._exchange.interrupt()

    def close(self) -> None:
        """Leave the run."""
        self._drop_round()
        self._exchange.close()
        self._tracker.shutdown()
        self._averager.shutdown()
