"""A real session whose network and trainer are the test's: nothing is reached, events are given."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app import protocol
from app.common.errors import ConnectError, JoinError
from app.common.paths import Folders
from app.organiser.admission import Admission
from app.p2p.network import Network
from app.p2p.peer import Presence
from app.p2p.plausible import RunTimes
from app.p2p.sightings import PeerInfo, Run
from app.protocol import TrainerPhase
from app.session import Session
from app.settings.settings import Settings
from app.spec.schema import SwarmSpec
from app.state.events import (
    PauseChosen,
    PauseEnded,
    PeersListed,
    TrainerGone,
    TrainingRequested,
)
from app.state.facts import Problem
from app.state.state import ContributorState
from app.state.store import Store
from app.tasks.task import Task

PEER_ID = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
OTHER_ID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


class OfflinePeer:
    """Stands for the embedded peer, which is a daemon of its own."""

    def __init__(self) -> None:
        self.joined = False
        self.alive = True
        self.node = None
        self.dht_nodes = 0
        self.entered: list[tuple[SwarmSpec | None, tuple[str, ...]]] = []
        self.failure: JoinError | None = None
        self.own: tuple[str, ...] = ()
        self.connected: tuple[PeerInfo, ...] = ()
        self.enters, self.may_enter = asyncio.Event(), asyncio.Event()
        self.may_enter.set()

    async def join(
        self,
        run_id: str,
        *,
        initial_peers: Sequence[str],
        network: Network,
        times: RunTimes,
        admission: Admission,
    ) -> Presence:
        self.enters.set()
        await self.may_enter.wait()
        if self.failure is not None:
            raise self.failure
        self.joined = True
        self.entered.append((run_id, tuple(initial_peers)))
        self.own = (f"/ip4/127.0.0.1/tcp/{network.listen[0].rpartition('/')[2]}/p2p/{PEER_ID}",)
        return Presence(PEER_ID, self.own)

    async def addresses(self) -> tuple[str, ...]:
        return self.own

    async def leave(self) -> None:
        self.joined = False

    async def peers(self) -> tuple[PeerInfo, ...]:
        return self.connected

    async def meet(self, addresses: Mapping[str, Sequence[str]]) -> bool:
        return True

    async def observe(self) -> Run | None:
        return None

    async def connect(self, peer_id: str, *, host: str, port: int) -> str:
        if host == "192.0.2.1":
            raise ConnectError("the peer can't be reached: connection refused.")
        if not peer_id.startswith(("Qm", "12D3KooW")):
            raise ConnectError(f"{peer_id!r} is no peer id.", field="peer_id")
        return f"/ip4/{host}/tcp/{port}/p2p/{peer_id}"


class OfflineTraining:
    """Stands for training, which is processes of its own. started: it was asked to start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.started = asyncio.Event()

    async def start(self) -> None:
        self._store.dispatch(TrainingRequested(device="cpu"))
        self.started.set()

    async def pause(self) -> None:
        self._store.dispatch(PauseChosen(until=None))

    async def resume(self) -> None:
        self._store.dispatch(PauseEnded())

    async def stop(self, grace: float | None = None) -> None:
        if self._store.state.phase.has_trainer:
            self._store.dispatch(TrainerGone())


class OfflineSession(Session):
    """The real session, but nothing is opened, and its trainer is what a test says."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        chosen = Settings(**{"dht_port": 0, "server_port": 0, "callback_port": 0} | settings)
        super().__init__(settings=chosen, folders=Folders.under(folder))
        self.folders.create()
        self.peer = OfflinePeer()
        self.swarm._peer = self.peer  # type: ignore[assignment]
        self.training = OfflineTraining(self.store)  # type: ignore[assignment]
        self.trains = self.training.started
        self.way_back._train = self.training.start

    # --- what a trainer would say

    def trainer_reports(self, *, epoch: int, samples: int = 0) -> None:
        self.store.dispatch(protocol.PhaseChanged(phase=TrainerPhase.TRAINING))
        self.store.dispatch(
            protocol.Progress(
                step=epoch * 10 + 1,
                epoch=epoch,
                loss=2.5,
                samples_per_second=80.0,
                tokens_per_second=5120.0,
                samples=epoch * 256,
                tokens=epoch * 256 * 64,
                compute_seconds=12.5,
                epoch_samples=samples,
                swarm_samples=samples,
                target_batch_size=256,
                eta=1.0,
                peers=1,
            )
        )

    def trainer_ends(self, problem: str = "", *, completed: bool = False) -> None:
        self.store.dispatch(
            TrainerGone(problem=Problem(message=problem) if problem else None, completed=completed)
        )

    def sees_peer(self, last_seen: float) -> None:
        peer = PeerInfo(peer_id=OTHER_ID, address="/ip4/10.0.0.7/tcp/8080", last_seen=last_seen)
        self.peer.connected = (peer,)
        self.store.dispatch(PeersListed(peers=(peer,)))


async def until_it_waits(session: OfflineSession) -> None:
    """Wait until the way back to a swarm waits for its next try."""
    waits = asyncio.Event()

    def look(state: ContributorState) -> None:
        if state.returning is not None and state.returning.retry_at is not None:
            waits.set()

    looking = session.store.subscribe(look)
    look(session.store.state)
    await waits.wait()
    looking.close()


class Volunteer:
    """Answers when the test does."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Task] = asyncio.Queue()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()

    async def agrees(self, task: Task) -> bool:
        self.asked.put_nowait(task)
        return await self.answers.get()


def train_body(**changes: Any) -> dict[str, Any]:
    """A task that makes sense; ``changes`` replace its parts."""
    return {
        "model_config": {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 32},
        "training_params": {
            "target_batch_size": 256,
            "sequence_length": 64,
            "stop": {"epochs": 4},
        },
        "dataset_info": {"source": "builtin"},
        "user_id": "alice",
        "task_id": "42",
    } | changes
