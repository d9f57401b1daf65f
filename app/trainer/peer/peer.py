"""The trainer's peer: it enters the swarm, publishes how we train, and sees its processes die."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hivemind
import psutil
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import JoinError
from app.organiser.admission import Admission
from app.p2p import run_records
from app.p2p.plausible import RunTimes
from app.protocol import Start, Waiting
from app.spec.admission import admission_to
from app.spec.schema import SwarmSpec
from app.trainer.peer.base import BaseRecord
from app.trainer.peer.dht import open_dht
from app.trainer.peer.doors import Doors
from app.trainer.peer.others import see_others


class TrainerPeer:
    """A peer between its opening, which may take seconds, and `close`."""

    dht: hivemind.DHT
    """For the averagers of a strategy."""

    admission: Admission
    """Who may take part in the run; asked in each process that lets peers in."""

    doors: Doors
    """Who may have a snapshot of the run's state."""

    def __init__(
        self,
        order: Start,
        *,
        spec: SwarmSpec,
        identity: run_records.Identity,
        report: Callable[[Waiting], None],
        base: str = "",
    ) -> None:
        """Enter the swarm, and wait until its doors and a trainer answer.

        report: called with whom we wait for. base: the digest of the weights that we begin with,
        in a run in which all begin with the same. Raises `JoinError`, also where most of the others
        began with other weights.
        """
        self._run_id = spec.run_id
        self._identity = identity
        self._public_key = RSASignatureValidator(identity.key).local_public_key
        self.admission = admission_to(spec, Path(order.roster_file))
        self.doors = Doors.of(spec, order.initial_peers, besides=identity.peer_id)
        run_records.sign_everything_with(identity)
        self.dht = open_dht(
            order,
            run_id=spec.run_id,
            times=RunTimes.of(spec.training.averaging),
            identity=identity,
            admission=self.admission,
        )
        self._daemon = _daemon_of(self.dht)
        see_others(self.dht, doors=spec.initial_peers, run_id=spec.run_id, report=report)
        self._base: BaseRecord | None = None
        if base:
            key = self._public_key
            self._base = BaseRecord(self.dht, run_id=spec.run_id, subkey=key, digest=base)
            self._base.publish(wait=True)
            try:
                self._base.check()
            except JoinError:
                self.close()
                raise

    @property
    def peer_id(self) -> str:
        """In base58, as in multiaddrs."""
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """The multiaddrs at which this peer listens; empty in client mode."""
        if self.dht.client_mode:
            return ()
        return tuple(str(address) for address in self.dht.get_visible_maddrs())

    def publish(self, metrics: run_records.LocalMetrics) -> None:
        """Store our entries of the run's records. Returns before they are stored."""
        if self._base is not None:
            self._base.publish()
        self._store(run_records.metrics_key(self._run_id), metrics.dict())

    def publish_evaluation(self, evaluation: run_records.LocalEvaluation) -> None:
        """Store our entry of the run's evaluations. Returns before it is stored."""
        self._store(run_records.evaluations_key(self._run_id), evaluation.dict())

    def _store(self, key: str, value: dict[str, Any]) -> None:
        self.dht.store(
            key,
            subkey=self._public_key,
            value=value,
            expiration_time=get_dht_time() + run_records.METRICS_SECONDS,
            return_future=True,
        )

    def failure(self) -> str:
        """Which of this peer's processes has died, or "". hivemind notices neither."""
        if not self.dht.is_alive():
            return "the DHT process ended"
        if not _runs(self._daemon):
            return "the peer-to-peer daemon ended"
        return ""

    def close(self) -> None:
        """Leave the swarm: end the DHT process and p2pd. The averagers must have ended before."""
        self.dht.shutdown()


def _daemon_of(dht: hivemind.DHT) -> psutil.Process | None:
    children = psutil.Process(dht.pid).children(recursive=True)
    return next((child for child in children if child.name() == "p2pd"), None)


def _runs(process: psutil.Process | None) -> bool:
    """A process that was never found counts as running."""
    try:
        return process is None or process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
