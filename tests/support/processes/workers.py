"""Trainer processes that are told what to do as the app tells them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from app import protocol
from app.lifecycle import processes
from app.p2p.network import Network, listening
from app.protocol import Report
from app.training.supervisor import Trainer
from tests.support.processes.apps import PATIENCE, ROOT, tiny_spec

R = TypeVar("R")

HOSTILE_TRAINER = ROOT / "tests" / "support" / "training" / "hostile_trainer.py"


class Worker:
    """A trainer and all that it reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: list[Report] = []
        self._changed = asyncio.Condition()
        self.trainer: Trainer

    async def start(self, *, download: int = 0, **changes: Any) -> None:
        """Spawn it and give it the tiny spec's order; returns when it trains. download: as of
        `protocol.Pace`."""
        self.trainer = await self._spawn()
        await asyncio.gather(
            self.trainer.command(protocol.Start, **self._order() | changes),
            self.trainer.command(protocol.Pace, download=download),
        )

    async def _spawn(self) -> Trainer:
        return await Trainer.spawn(on_report=self._note)

    def _order(self) -> dict[str, Any]:
        return {
            "spec": tiny_spec(),
            "initial_peers": (),
            "identity_file": str(self.folder / "trainer.pem"),
            "checkpoint_dir": str(self.folder / "checkpoints"),
            "cache_dir": str(self.folder / "cache"),
            "device": "cpu",
            "threads": 1,
            "network": Network(listen=listening(0, local=True), local=True),
            "checkpoint_interval": 0.0,
        }

    def _note(self, report: Report) -> None:
        self.reports.append(report)
        asyncio.get_running_loop().create_task(self._tell()).add_done_callback(lambda _: None)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def all(self, kind: type[R]) -> list[R]:
        """The reports of a kind so far."""
        return [report for report in self.reports if isinstance(report, kind)]

    async def until(self, condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
        """Wait until what it reported makes ``condition`` true; so many seconds at most."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), seconds)

    def rounds_with(self, peers: int) -> int:
        """How many rounds were averaged with so many peers."""
        return sum(
            each.peers == peers and not each.failure for each in self.all(protocol.RoundEnded)
        )

    def agrees_with(self, other: "Worker", *, after: int, apart: float) -> bool:
        """Both have a checkpoint of one epoch, not before ``after``, whose weights are at most so
        far ``apart``; 0 for the same bits."""
        mine, theirs = self.checkpoints(), other.checkpoints()
        return any(
            _agree(mine[name], theirs[name], apart=apart)
            for name in mine.keys() & theirs.keys()
            if int(name.removeprefix("epoch-")) >= after
        )

    def checkpoints(self) -> dict[str, Path]:
        """Checkpoint files by the part of their name that has the epoch in it."""
        return {
            path.name[: len("epoch-123456789")]: path
            for path in (self.folder / "checkpoints").glob("*.pt")
        }


class HostileWorker(Worker):
    """A trainer of ours that lies in the exchange of blobs (``hostile_trainer.py``)."""

    def __init__(self, folder: Path, attack: str) -> None:
        super().__init__(folder)
        self._attack = attack

    async def _spawn(self) -> Trainer:
        main, processes.MAIN = processes.MAIN, HOSTILE_TRAINER
        try:
            return await Trainer.spawn(on_report=self._note, arguments=(self._attack,))
        finally:
            processes.MAIN = main


def _agree(one: Path, other: Path, *, apart: float) -> bool:
    try:
        weights, others = (torch.load(path, weights_only=True)["model"] for path in (one, other))
    except FileNotFoundError:  # a newer one has taken its place
        return False
    return all(torch.allclose(weights[name], others[name], rtol=0, atol=apart) for name in weights)
