"""Fill a target batch together, average its gradient over the peers, then step once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import hivemind
import torch
from hivemind.compression import Float16Compression, NoCompression

from app.protocol import Work
from app.spec.costs import rounds
from app.spec.schema import SwarmSpec
from app.trainer.averaging.averagers import CountingStateAverager, KeepingGradientAverager
from app.trainer.averaging.guard import GradientBounds, StateBounds
from app.trainer.averaging.guarded_averager import RoundGuard
from app.trainer.averaging.offences import Offences
from app.trainer.averaging.optimizer import CitizenOptimizer
from app.trainer.averaging.seen import SwarmProgress
from app.trainer.model.optimizers import (
    clip_before_steps,
    optimizer_for,
    own_settings,
    scheduler_for,
)
from app.trainer.strategies.protocols import StrategyPlace


class GradientAveraging:
    """The strategy ``gradient-averaging``: `hivemind.Optimizer`, as a `Strategy` and a
    `SwarmMember`."""

    def __init__(self, place: StrategyPlace) -> None:
        """Start the averagers and publish our progress."""
        spec, peer, work, parameters = place.spec, place.peer, place.work, place.parameters
        # hivemind's own, for gradients that are summed over several calls of `step`.
        self._scaler = hivemind.GradScaler() if place.needs_scaler else None
        self._client_mode = peer.dht.client_mode
        self._doors = peer.doors
        self.snapshot_epoch: int | None = None
        self._work = work
        self._optimizer = CitizenOptimizer(
            report=place.report,
            work=work,
            dht=peer.dht,
            params=parameters,
            # hivemind's scaler was never tried with fused kernels, which look at the scale too
            optimizer=optimizer_for(spec, place.model, fused=not place.needs_scaler),
            scheduler=scheduler_for(spec),
            gradient_guard=RoundGuard(bounds=_gradient_bounds(spec), offences=Offences()),
            state_guard=RoundGuard(bounds=_state_bounds(spec), offences=Offences()),
            judge=place.judge,
            step_size=spec.training.optimizer.learning_rate,
            admission=peer.admission,
            client_mode=self._client_mode,  # WORKAROUND (hivemind 1.1.12): None is mistaken
            **_options(spec, parameters=sum(each.numel() for each in parameters)),
        )
        self.torch_optimizer = self._optimizer.opt
        if spec.training.max_grad_norm is not None:
            clip_before_steps(self.torch_optimizer, spec.training.max_grad_norm)

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""
        return int(self._optimizer.local_epoch)

    @property
    def averaging_since(self) -> float | None:
        """Monotonic time since when the training thread waits for a round, or None."""
        return self._optimizer.averaging_since

    @property
    def loading_state(self) -> bool:
        """The training thread downloads the swarm's state."""
        return self._optimizer.loading_state

    @property
    def taken_over(self) -> int:
        """How often another peer's state has taken the place of ours."""
        return self._optimizer.taken_over

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch to the buffers that are averaged.

        loss: scalar, mean over the micro-batch. samples: in the micro-batch.

        Raises `torch.OutOfMemoryError`. A part of the gradient may have been added by then, and
        can't be told from the rest, so the gradient of the whole epoch is given up.
        """
        weighted = self._optimizer.grad_averager.weighted(loss, samples)
        try:
            (weighted if self._scaler is None else self._scaler.scale(weighted)).backward()
        except torch.OutOfMemoryError:
            self.forget("the memory ran out halfway in a gradient")
            raise

    def swarm_weights(self) -> AbstractContextManager[None]:
        """The model always has the weights on which the swarm has agreed."""
        return nullcontext()

    def forget(self, reason: str) -> None:
        """Give up the gradient of the epoch that runs. reason: for the report."""
        self._optimizer.forget(reason)

    def step(self, samples: int) -> None:
        """Count a micro-batch; when the target batch is full, average and step.

        Returns at once, or after the seconds that the averaging takes.
        """
        if self._scaler is None:
            self._optimizer.step(batch_size=samples)
            return
        self._scaler.unscale_(self._optimizer)
        # Not `GradScaler.step`: hivemind's passes no batch size on.
        self._optimizer.step(batch_size=samples, grad_scaler=self._scaler)
        self._scaler.update()

    def synchronize(self) -> None:
        """Before the first step: load the state of a swarm that is ahead of us, or of a door."""
        optimizer, tracker = self._optimizer, self._optimizer.tracker
        tracker.fetched_global_progress_this_epoch.wait(timeout=10.0)
        behind = tracker.global_epoch > self.epoch
        if behind or (self._doors.peers and optimizer.newcomer.swarm.begins):
            optimizer.load_state_from_peers(doors=self._doors, behind=behind)
        self.snapshot_epoch = optimizer.newcomer.snapshot_epoch

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the epoch."""
        return self._optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state_dict`; the model has its weights already."""
        averager = self._optimizer.state_averager
        with own_settings(averager.optimizer):
            self._optimizer.load_state_dict(state)
        averager._update_scheduler()  # noqa: SLF001  (as load_state_from_peers does)
        if not self._client_mode:
            averager.state_sharing_priority = self.epoch
        self._optimizer.tracker.report_local_progress(self.epoch, samples_accumulated=0)

    def undo(self, state: dict[str, Any], restore_model: Callable[[], object]) -> None:
        """Go back to a checkpoint's `state_dict`, but stay in the swarm's epoch."""
        averager, epoch = self._optimizer.state_averager, self.epoch
        averager.step(wait_for_delayed_updates=True)
        self.forget("the model got worse")
        restore_model()
        with own_settings(averager.optimizer):
            self._optimizer.load_state_dict(state)
        averager.local_epoch = epoch
        averager._load_local_tensors_into_averager_()

    def progress(self) -> SwarmProgress:
        """The run as our progress tracker last saw it. Any thread may ask."""
        seen = self._optimizer.tracker.seen(epoch=self.epoch)
        return replace(seen, exchanging=self._optimizer.averaging_since is not None)

    def work(self) -> Work:
        """What this trainer did for the run. Any thread may ask, also after `close`."""
        averagers = (KeepingGradientAverager.traffic, CountingStateAverager.traffic)
        return self._work.read(
            bytes_sent=sum(traffic.sent for traffic in averagers),
            bytes_sent_in_rounds=sum(traffic.sent_in_rounds for traffic in averagers),
            bytes_received=sum(traffic.received for traffic in averagers),
        )

    def failure(self) -> str:
        """Which averaging process has died, or "". hivemind notices none and goes on alone."""
        if not self._optimizer.is_alive() or not self._optimizer.grad_averager.is_alive():
            return "an averaging process ended"
        return ""

    def rest(self) -> None:
        """Leave the round that is being prepared, and publish that we compute nothing for now."""
        self._optimizer.rest()

    def interrupt(self) -> None:
        """From another thread, when we leave: end the search for a group."""
        self._optimizer.stop_waiting()

    def close(self) -> None:
        """Leave the run, and end the averagers."""
        self._optimizer.shutdown()


def _gradient_bounds(spec: SwarmSpec) -> GradientBounds:
    # A peer goes on computing while a group gathers, and so beyond the target batch.
    return GradientBounds(most_weight=2.0 * spec.training.target_batch_size)


def _state_bounds(spec: SwarmSpec) -> StateBounds:
    # An optimizer step moves a parameter by about the learning rate.
    steps_apart = 20 * spec.training.optimizer.learning_rate
    return StateBounds(most_absolute=max(StateBounds.most_absolute, steps_apart))


def _options(spec: SwarmSpec, *, parameters: int) -> dict[str, Any]:
    """`hivemind.Optimizer`'s options that follow from the spec, or are the same for all specs."""
    averaging = spec.training.averaging
    compression = {"none": NoCompression, "float16": Float16Compression}[averaging.compression]()
    averager: dict[str, Any] = {"request_timeout": rounds.request_seconds(spec)}
    return {
        "run_id": spec.run_id,
        "target_batch_size": spec.training.target_batch_size,
        "matchmaking_time": averaging.matchmaking_seconds,
        "averaging_timeout": rounds.round_seconds(spec, parameters=parameters),
        "next_chunk_timeout": rounds.chunk_seconds(spec, parameters=parameters),
        "grad_compression": compression,
        "state_averaging_compression": compression,
        # Adam's second moments are far below the smallest number of float16.
        "load_state_compression": NoCompression(),
        "grad_averager_factory": partial(KeepingGradientAverager, **averager),
        "averager_opts": averager,
        "tracker_opts": {"metadata_expiration": averaging.record_seconds},
        # Gradients are summed in the buffers that backward writes to, without a copy a step.
        "reuse_grad_buffers": True,
        "offload_optimizer": False,
        "shutdown_timeout": 2.0,
        "verbose": True,
    }
