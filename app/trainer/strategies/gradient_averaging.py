"""How peers agree on the model: one small interface, and averaging a target batch's gradient."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import hivemind
import psutil
import torch
from hivemind.compression import Float16Compression, NoCompression
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import JoinError
from app.common.i18n import _
from app.p2p import run_records as swarm
from app.protocol import Report, Start, Work
from app.spec.schema import SwarmSpec
from app.trainer.averaging.optimizer import (
    CitizenOptimizer,
    CountingStateAverager,
    KeepingGradientAverager,
)
from app.trainer.averaging.others import see_others
from app.trainer.meter import LossSum, MeterReading
from app.trainer.model.model import optimizer_for, scheduler_for
from app.trainer.work import WorkMeter

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SwarmProgress:
    """The run as this peer sees it; units as in `protocol.Progress`."""

    epoch: int
    own_samples: int
    swarm_samples: int
    target_batch_size: int
    peers: int
    eta: float | None


class Strategy(Protocol):
    """What the training loop needs to know of how peers agree."""

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch's mean loss. Raises `torch.OutOfMemoryError`, with
        nothing of it added."""

    def step(self, samples: int) -> None:
        """Count a micro-batch; when the target batch is full, agree and update the model."""

    def rest(self) -> None:
        """Before a pause."""

    def close(self) -> None:
        """Say goodbye and end all that was started."""


class GradientAveraging:
    """Average the gradient of a target batch over the peers, then take one optimizer step.

    averaging_since, loading_state: for the reporter, what the training thread waits for.
    """

    def __init__(
        self,
        *,
        order: Start,
        spec: SwarmSpec,
        model: torch.nn.Module,
        scaler: Any,
        report: Callable[[Report], None],
        work: WorkMeter,
    ) -> None:
        self._spec = spec
        self._scaler = scaler
        self._work = work
        self.identity = swarm.load_identity(Path(order.identity_file))
        swarm.sign_everything_with(self.identity)
        self.dht = _open_dht(order, spec, self.identity)
        see_others(self.dht, doors=spec.initial_peers, run_id=spec.run_id, report=report)
        self.optimizer = CitizenOptimizer(
            report=report,
            work=work,
            dht=self.dht,
            params=list(model.parameters()),
            optimizer=optimizer_for(spec),
            scheduler=scheduler_for(spec),
            **_options(spec, self.dht, scaler),
        )
        self._public_key = RSASignatureValidator(self.identity.key).local_public_key
        self._daemon = _daemon_of(self.dht)

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""
        return int(self.optimizer.local_epoch)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this peer listens; empty in client mode."""
        if self.dht.client_mode:
            return ()
        return tuple(str(address) for address in self.dht.get_visible_maddrs())

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch's mean loss to the buffers that are averaged.

        Raises `torch.OutOfMemoryError`. Some of it was added then, so that all of the epoch's is
        given up: none can be told from the rest.
        """
        weighted = self.optimizer.grad_averager.weighted(loss, samples)
        try:
            (weighted if self._scaler is None else self._scaler.scale(weighted)).backward()
        except torch.OutOfMemoryError:
            self.forget("the memory ran out halfway in a gradient")
            raise

    def forget(self, reason: str) -> None:
        """Give up the gradient that was added up so far."""
        self.optimizer.forget(reason)

    def step(self, samples: int) -> None:
        """Count a micro-batch; when the target batch is full, average and step.

        Returns at once, or after the seconds that the averaging takes.
        """
        if self._scaler is None:
            self.optimizer.step(batch_size=samples)
            return
        self._scaler.unscale_(self.optimizer)
        # Not `scaler.step`: hivemind's passes no batch size on.
        self.optimizer.step(batch_size=samples, grad_scaler=self._scaler)
        self._scaler.update()

    def synchronize(self) -> None:
        """Catch up with a running swarm before the first step."""
        self.optimizer.tracker.fetched_global_progress_this_epoch.wait(timeout=10.0)
        if self.optimizer.tracker.global_epoch > self.epoch:
            self.optimizer.load_state_from_peers()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, with the epoch."""
        return self.optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's optimizer state; the model's weights are loaded already."""
        self.optimizer.load_state_dict(state)
        averager = self.optimizer.state_averager
        averager._update_scheduler()  # noqa: SLF001  (as load_state_from_peers does)
        if not self.dht.client_mode:
            averager.state_sharing_priority = self.epoch
        self.optimizer.tracker.report_local_progress(self.epoch, samples_accumulated=0)

    def progress(self) -> SwarmProgress:
        """The run as our progress tracker last saw it. Any thread may ask."""
        tracker = self.optimizer.tracker
        seen = tracker.global_progress
        eta = seen.eta_next_epoch - get_dht_time()
        return SwarmProgress(
            epoch=max(self.epoch, seen.epoch),
            own_samples=tracker.local_progress.samples_accumulated,
            swarm_samples=min(seen.samples_accumulated, seen.target_batch_size),
            target_batch_size=seen.target_batch_size,
            peers=max(1, seen.num_peers),
            eta=max(0.0, eta) if eta < 10**7 else None,
        )

    def work(self) -> Work:
        """What we did for the run so far. Any thread may ask, also after `close`."""
        averagers = (KeepingGradientAverager.traffic, CountingStateAverager.traffic)
        return self._work.read(
            bytes_sent=sum(traffic.sent for traffic in averagers),
            bytes_received=sum(traffic.received for traffic in averagers),
        )

    def publish(self, reading: MeterReading, losses: LossSum) -> None:
        """Tell the swarm how we do, under the run's metrics key."""
        record = swarm.LocalMetrics(
            step=self.epoch,
            samples_per_second=float(reading.samples_per_second or 0.0),
            samples_accumulated=reading.samples,
            loss=losses.total,
            mini_steps=losses.steps,
        )
        self.dht.store(
            swarm.metrics_key(self._spec.run_id),
            subkey=self._public_key,
            value=record.dict(),
            expiration_time=get_dht_time() + swarm.METRICS_SECONDS,
            return_future=True,
        )

    def failure(self) -> str:
        """What of our processes has died, or ""; hivemind notices none of it and goes on alone."""
        if not self.dht.is_alive():
            return "the DHT process ended"
        if not _runs(self._daemon):
            return "the peer-to-peer daemon ended"
        if not self.optimizer.is_alive() or not self.optimizer.grad_averager.is_alive():
            return "an averaging process ended"
        return ""

    def rest(self) -> None:
        """Leave the round that is being prepared, and say that we compute nothing for now."""
        self.optimizer.rest()

    def interrupt(self) -> None:
        """From another thread: end a wait for other peers."""
        self.optimizer.stop_waiting()

    def close(self) -> None:
        """Say goodbye to the run, then end the averagers, the DHT and p2pd."""
        self.optimizer.shutdown()
        self.dht.shutdown()


def _open_dht(order: Start, spec: SwarmSpec, identity: swarm.Identity) -> hivemind.DHT:
    try:
        return hivemind.DHT(
            start=True,
            initial_peers=list(order.initial_peers),
            record_validators=swarm.validators(spec.run_id, identity.key),
            identity_path=order.identity_file,
            check_if_identity_free=False,  # the app swept our last process, if there was any
            startup_timeout=60,
            # Where averagers ended with a question to it, it waits 3 s for each of them.
            shutdown_timeout=1,
            **swarm.node_options(order.network),
        )
    except Exception as error:  # hivemind raises what its daemon printed
        reason = (str(error) or repr(error)).splitlines()[0]
        raise JoinError(
            _("the trainer can't enter the swarm: {reason}.").format(reason=reason),
            field="initial_peers",
            remedy=_("Check your network and try again."),
        ) from error


def _options(spec: SwarmSpec, dht: hivemind.DHT, scaler: Any) -> dict[str, Any]:
    averaging = spec.training.averaging
    compression = {"none": NoCompression, "float16": Float16Compression}[averaging.compression]()
    # Must be below the matchmaking time, or groups don't form (hivemind warns of it).
    averager: dict[str, Any] = {"request_timeout": min(3.0, averaging.matchmaking_seconds / 2)}
    return {
        "run_id": spec.run_id,
        "target_batch_size": spec.training.target_batch_size,
        "matchmaking_time": averaging.matchmaking_seconds,
        "averaging_timeout": averaging.timeout_seconds,
        "grad_compression": compression,
        "state_averaging_compression": compression,
        # Adam's second moments are far below what float16 can hold.
        "load_state_compression": NoCompression(),
        "grad_averager_factory": partial(KeepingGradientAverager, **averager),
        "averager_opts": averager,
        "tracker_opts": {"metadata_expiration": averaging.record_seconds},
        # Gradients are summed where backward puts them: no copy a step.
        "reuse_grad_buffers": True,
        "offload_optimizer": False,
        "client_mode": dht.client_mode,  # WORKAROUND (hivemind 1.1.12): None is mistaken
        "load_state_timeout": 120.0,
        "shutdown_timeout": 2.0,
        "verbose": True,
    }


def _daemon_of(dht: hivemind.DHT) -> psutil.Process | None:
    children = psutil.Process(dht.pid).children(recursive=True)
    return next((child for child in children if child.name() == "p2pd"), None)


def _runs(process: psutil.Process | None) -> bool:
    try:
        return process is None or process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
