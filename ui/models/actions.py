"""The user's actions, called by buttons, menus and shortcuts."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QDesktopServices

from app.state.events import ProblemDismissed
from ui.models.session_model import SessionModel

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

Action = Callable[[], Coroutine[Any, Any, object]]


class Demo(Protocol):
    """What the window needs of the demo swarm (`app.demo.DemoSwarm`)."""

    async def start(self) -> bool:
        """Open the swarm and its second peer; False when the user left the swarm meanwhile."""

    async def close(self) -> None:
        """End the second peer."""


class Actions(QObject):
    """Runs actions on the session. Each waits until the session is open; errors become problems.

    Buttons and menus emit the ``…_wanted`` signals, and the window opens the dialog or page.

    Args:
        demo: the demo swarm, closed whenever another swarm is joined.
        opened: done when the session is open; holds the exception if it can't be opened.
    """

    waiting = Signal(bool)
    """Whether an action waits for the session: the heavy libraries load after the first paint, and
    a click may come sooner."""

    join_wanted = Signal(str)
    """Open the join dialog, with an invite's link or path, or "" to choose a swarm there."""

    start_wanted = Signal()
    """Open the dialog that starts a swarm."""

    share_wanted = Signal()
    """Open the dialog with this swarm's invite."""

    members_wanted = Signal()
    """Open the dialog with the members of a closed swarm."""

    leave_wanted = Signal()
    """Leave the swarm, after asking where this machine trains."""

    demo_wanted = Signal(bool)
    """Join the demo swarm, after asking where this machine trains in another one. Whether to start
    training at once."""

    check_wanted = Signal()
    """Open the connection check."""

    offers_wanted = Signal()
    """Open the join dialog at the swarms that the CoTrain backend offers."""

    first_steps_wanted = Signal()
    """Open the first steps."""

    terms_wanted = Signal()
    """Show the settings page, which holds the terms."""

    account_wanted = Signal()
    """Open the dialog to sign in or out."""

    about_wanted = Signal()
    """Open the dialog with version and licences."""

    diagnostics_wanted = Signal()
    """Open the dialog that collects diagnostics."""

    export_wanted = Signal()
    """Open the dialog that takes a model out of its run."""

    achievement_wanted = Signal()
    """Open the dialog with a picture of what this machine achieved."""

    def __init__(self, model: SessionModel, *, demo: Demo, opened: "asyncio.Future[None]") -> None:
        super().__init__(model)
        self._model = model
        self._session = model.session
        self._demo = demo
        self._opened = opened

    # --- the swarm

    def join(
        self,
        swarm: "SwarmSpec | str",
        *,
        train: bool = False,
        share: bool = False,
        trust: bool = False,
        organiser: tuple[str, bool] | None = None,
    ) -> None:
        """Join a swarm, given by its spec or by an invite's link or path.

        Args:
            swarm: the spec, or the link or path of an invite.
            train: start training at once.
            share: show the invite for others once we are in.
            trust: the user accepts that another organiser than before has signed the invite.
            organiser: sign the spec first, by this name, and whether the swarm is closed.
        """
        self._run(
            lambda: self._join(swarm, train=train, share=share, trust=trust, organiser=organiser)
        )

    async def _join(
        self,
        swarm: "SwarmSpec | str",
        *,
        train: bool,
        share: bool,
        trust: bool,
        organiser: tuple[str, bool] | None,
    ) -> None:
        recents = self._session.recents
        spec = await recents.read_invite(swarm) if isinstance(swarm, str) else swarm
        if organiser is not None:
            name, closed = organiser
            spec = await self._session.organisation.organise(spec, name=name, closed=closed)
        await self._demo.close()
        if trust:
            await self._session.organisation.trust(spec)
        if not await self._session.swarm.join(spec):
            return
        if share:
            self.share_wanted.emit()
        if train:
            await self._session.training.start()

    def try_demo(self, *, train: bool = False) -> None:
        """Join the demo swarm, which runs on this machine alone. train: start training at once."""
        self._run(lambda: self._try_demo(train=train))

    async def _try_demo(self, *, train: bool) -> None:
        await self._demo.close()
        joined = await self._demo.start()
        if joined and train:
            await self._session.training.start()

    def go_back(self) -> None:
        """Enter the swarm of the app's last run, and train if this machine did."""
        self._run(self._session.way_back.go_back)

    def leave(self) -> None:
        """Stop training and leave the swarm."""

        async def leave() -> None:
            await self._session.swarm.leave()
            await self._demo.close()

        self._run(leave)

    # --- training

    def start(self) -> None:
        """Start training, or start it again after a failure."""
        self._run(self._session.training.start)

    def stop(self) -> None:
        """Stop training, stay in the swarm."""
        self._run(self._session.training.stop)

    def pause(self, seconds: float | None = None) -> None:
        """Pause training until it is resumed, or for some seconds."""
        self._run(lambda: self._session.training.pause(seconds))

    def train_anyway(self, seconds: float) -> None:
        """Train for some seconds although terms that can be lifted forbid it."""
        self._run(lambda: self._session.lift_terms(seconds))

    def resume(self) -> None:
        """Resume paused training."""
        self._run(self._session.training.resume)

    def cancel_restart(self) -> None:
        """Cancel the automatic restart of the failed trainer."""
        self._model.call(self._session.training.cancel_restart)

    def choose_device(self, device: str, *others: str) -> None:
        """Choose the device, and any others, that the next training runs on. By device id."""
        self._model.call(lambda: self._session.choose_device(device, *others))

    def look_for_devices(self) -> None:
        """Search again for devices that can train."""
        self._run(self._session.look_for_devices)

    # --- the rest

    def dismiss_problem(self) -> None:
        """Hide the problem banner."""
        self._session.store.dispatch(ProblemDismissed())

    def open_log_folder(self) -> None:
        """Show the log files in the desktop's file manager."""
        open_folder(self._session.folders.logs)

    def _run(self, action: Action) -> None:
        self._model.run(self._once_open(action))

    async def _once_open(self, action: Action) -> None:
        if not self._opened.done():
            self.waiting.emit(True)
        try:
            await asyncio.shield(self._opened)  # raises the exception that opening raised
        finally:
            self.waiting.emit(False)
        await action()


def open_folder(folder: Path) -> None:
    """Show a folder in the desktop's file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
