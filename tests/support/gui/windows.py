"""A window on a real session that was never opened: events drive its real state machine."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

from app import protocol
from app.common.logs import RingBuffer
from app.common.paths import Folders
from app.p2p.sightings import PeerInfo, Run
from app.protocol import Device, TrainerPhase
from app.session import Session
from app.settings.settings import Settings
from app.spec.schema import SwarmSpec
from app.state.events import (
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    PeersListed,
    RunObserved,
    TrainingRequested,
)
from app.state.facts import Swarm
from app.swarm.connection_check import Finding, Grade
from app.swarm.look import SeenFromOutside
from app.swarm.membership import Membership
from ui.main_window import MainWindow
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.widgets.labels import ElidedLabel

GPU = Device(id="cuda:0", name="NVIDIA GeForce RTX 4070", memory=12 * 2**30)
CPU = Device(id="cpu", name="AMD Ryzen 7 5800X", memory=32 * 2**30)
SWARM = Swarm(
    run_id="docs",
    title="Python's documentation",
    model_type="gpt2",
    dataset="python-docs",
    target_batch_size=4096,
)


class RecordingSession(Session):
    """The real session, but what would reach for the network is written down instead."""

    def __init__(self, folder: Path) -> None:
        super().__init__(settings=Settings(), folders=Folders.under(folder))
        self.calls: list[str] = []
        self.refusal: Exception | None = None
        self.findings: list[Finding] = []
        self.seen: list[SeenFromOutside] = []
        self.training = RecordingTraining(self)  # type: ignore[assignment]
        self.swarm = RecordingSwarm(self)

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal

    async def check_connection(self) -> AsyncIterator[Finding]:
        self.note("diagnose")
        for finding in self.findings:
            yield finding

    async def look_at(self, spec: SwarmSpec) -> AsyncIterator[SeenFromOutside]:
        self.note(f"look at {spec.run_id}")
        for each in self.seen:
            yield each
        await asyncio.sleep(3600)


class RecordingSwarm(Membership):
    """The real membership, but what would reach for the network is written down instead."""

    def __init__(self, session: RecordingSession) -> None:
        super().__init__(
            session.store,
            folders=session.folders,
            recents=session.recents,
            organisation=session.organisation,
            before_leaving=session.training.stop,
        )
        self._note = session.note

    async def join(self, spec: SwarmSpec, *, remember: bool = True, returns: bool = True) -> bool:
        self._note(f"join {spec.run_id}")
        return True

    async def leave(self) -> None:
        self._note("leave")

    def reconnect(self) -> None:
        self._note("reconnect")


class RecordingTraining:
    """Stands for training: what it is told is written down."""

    def __init__(self, session: RecordingSession) -> None:
        self._note = session.note

    async def start(self) -> None:
        self._note("start")

    async def stop(self, grace: float | None = None) -> None:
        self._note("stop")

    async def pause(self, seconds: float | None = None) -> None:
        self._note("pause" if seconds is None else f"pause {seconds}")

    async def resume(self) -> None:
        self._note("resume")

    def cancel_restart(self) -> None:
        self._note("cancel restart")


class RecordingDemo:
    """Stands for the demo swarm, which is real processes."""

    def __init__(self, session: RecordingSession) -> None:
        self._session = session

    async def start(self) -> bool:
        self._session.calls.append("demo")
        return True

    async def close(self) -> None:
        pass


class RecordingNotifier:
    """Stands for the desktop's notifications. shown: those that it still shows."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    async def show(self, title: str, text: str) -> None:
        self.shown.append((title, text))

    @asynccontextmanager
    async def showing(self, title: str, text: str) -> AsyncIterator[None]:
        await self.show(title, text)
        yield
        self.shown.remove((title, text))

    async def close(self) -> None:
        pass


@dataclass
class Bench:
    """Everything a test of the window needs."""

    session: RecordingSession
    model: SessionModel
    actions: Actions
    theme: Theme
    ring: RingBuffer
    window: MainWindow
    preferences: Preferences

    def dispatch(self, *events: Event) -> None:
        """Let events happen, and the window show them at once."""
        for event in events:
            self.session.store.dispatch(event)
        self.model.changed.emit(self.session.store.state)

    def open(self, title: str) -> None:
        """Open a page by its title, as it is in English."""
        titles = [page.title for page in self.window.pages]
        self.window.open_page(titles.index(title))

    def fill_history(self, seconds: int = 300, gap: range = range(0)) -> None:
        """Curves as a training makes them, ``gap`` left out of ours."""
        now, history = time.time(), self.session.history
        for series in vars(history).values():
            series.clear()  # points come in the order of time
        for age in range(seconds, 0, -1):
            history.swarm_loss.add(now - age, 3 + random.random())
            history.swarm_samples_per_second.add(now - age, 600 + random.random())
            if age not in gap:
                history.loss.add(now - age, 3 + random.random())
                history.samples_per_second.add(now - age, 80 + random.random())
        self.window.overview.charts.widget.redraw()


def progress(**changes: Any) -> protocol.Progress:
    """A report in the middle of an epoch."""
    values: dict[str, Any] = {
        "step": 15234,
        "epoch": 12,
        "loss": 2.214,
        "samples_per_second": 88.1,
        "tokens_per_second": 11276.8,
        "samples": 121_872,
        "tokens": 15_599_616,
        "compute_seconds": 13_263.0,
        "epoch_samples": 484,
        "swarm_samples": 3412,
        "target_batch_size": 4096,
        "eta": 5.8,
        "peers": 7,
    }
    return protocol.Progress(**values | changes)


DEVICES: tuple[Event, ...] = (
    protocol.Devices(devices=(GPU, CPU), torch_version="2.10"),
    DeviceChosen(device="cuda:0"),
)
JOINING: tuple[Event, ...] = (*DEVICES, JoinBegan(swarm=SWARM))
WATCHING: tuple[Event, ...] = (
    *JOINING,
    Joined(peer_id="12D3KooWQ8nZ9x4cZ7hW5gXvYbNkRt2LqPm1sDfG", addresses=("/ip4/10.0.0.7",)),
    PeersListed(peers=(PeerInfo(peer_id="a", address=""),)),
    RunObserved(run=Run(epoch=12, samples=2928, trainers=7, samples_per_second=642.0, loss=2.23)),
)
PREPARING: tuple[Event, ...] = (
    *WATCHING,
    TrainingRequested(device="cuda:0"),
    protocol.PhaseChanged(phase=TrainerPhase.SYNCHRONIZING),
)
TRAINING: tuple[Event, ...] = (
    *PREPARING,
    protocol.Ready(
        peer_id="b",
        addresses=(),
        device="cuda:0",
        device_name=GPU.name,
        precision="bf16",
        parameters=842_752,
        micro_batch_size=8,
        resumed_epoch=11,
    ),
    protocol.PhaseChanged(phase=TrainerPhase.TRAINING),
    progress(),
    protocol.RoundEnded(epoch=11, peers=7, seconds=2.13, samples=501, failure=""),
    protocol.CheckpointSaved(epoch=12, seconds=0.1),
)


FINDINGS = [
    Finding(check="Port", verdict=Grade.GOOD, text="Port 8080 is free."),
    Finding(
        check="Way to lab.example, port 8080",
        verdict=Grade.BAD,
        text="There is no way to that address: Network is unreachable.",
        remedy="Check this machine's network. Without IPv6 there is no way to such addresses.",
    ),
    Finding(check="Run docs", verdict=Grade.CAUTION, text="Nobody.", remedy="Ask for another."),
    Finding(check="From outside", verdict=Grade.UNKNOWN, text="No other peer could tell."),
]


# --- what holds for every window


def in_tab_order(window: QWidget) -> Iterator[QWidget]:
    """Every control that the Tab key reaches, once."""
    window.activateWindow()
    window.setFocus()
    widget = window.nextInFocusChain()
    while widget is not window:
        reachable = bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)
        if reachable and widget.isVisible() and widget.isEnabled():
            yield widget
        widget = widget.nextInFocusChain()


def name_of(widget: QWidget) -> str:
    interface = QAccessible.queryAccessibleInterface(widget)
    return interface.text(QAccessible.Text.Name)


def clipped(window: QWidget) -> list[str]:
    """Texts that are larger than their place, but for those that end in an ellipsis on purpose."""
    found = []
    for widget in window.findChildren(QWidget):
        if not isinstance(widget, QLabel | QPushButton) or not widget.isVisible():
            continue
        if isinstance(widget, ElidedLabel) or not widget.text():
            continue
        if isinstance(widget, QLabel) and widget.wordWrap():
            cut = widget.heightForWidth(widget.width()) > widget.height()
        else:
            cut = widget.sizeHint().width() > widget.width() + 1
        if cut:
            found.append(widget.text())
    return found
