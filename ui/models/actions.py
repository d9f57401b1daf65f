"""What a user can do, for buttons, menus and shortcuts alike."""

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

Action = Callable[[], Coroutine[Any, Any, None]]


class Demo(Protocol):
    """The demo swarm, as far as the window needs it (`app.demo.DemoSwarm`)."""

    async def start(self) -> bool:
        """Open the swarm and its second peer; False when the user left meanwhile."""

    async def close(self) -> None:
        """End the second peer."""


class Actions(QObject):
    """Each action waits until the session is open, and shows what it was refused as a problem.

    ``waiting`` says whether an action waits for that: the heavy libraries load after the
    window is painted, and a click may come sooner. ``join_wanted`` (with an invite's link or
    path, or "" to choose one) and the other ``…_wanted`` ask for a dialog, ``offers_wanted`` for
    what the backend has, ``check_wanted`` for the connection's, ``terms_wanted`` for the settings
    page; buttons and menus emit them, and the window opens it.
    """

    waiting = Signal(bool)
    join_wanted = Signal(str)
    start_wanted = Signal()
    share_wanted = Signal()
    check_wanted = Signal()
    offers_wanted = Signal()
    first_steps_wanted = Signal()
    terms_wanted = Signal()
    account_wanted = Signal()
    about_wanted = Signal()
    diagnostics_wanted = Signal()

    def __init__(self, model: SessionModel, *, demo: Demo, opened: "asyncio.Future[None]") -> None:
        super().__init__(model)
        self._model = model
        self._session = model.session
        self._demo = demo
        self._opened = opened

    # --- the swarm

    def join(self, swarm: "SwarmSpec | str", *, train: bool = False, share: bool = False) -> None:
        """Join a swarm, by its spec or an invite's link or path.

        train: at once. share: show the invite for others.
        """
        self._run(lambda: self._join(swarm, train=train, share=share))

    async def _join(self, swarm: "SwarmSpec | str", *, train: bool, share: bool) -> None:
        spec = await asyncio.to_thread(_load, swarm) if isinstance(swarm, str) else swarm
        await self._demo.close()
        if not await self._session.swarm.join(spec):
            return
        if share:
            self.share_wanted.emit()
        if train:
            await self._session.training.start()

    def try_demo(self, *, train: bool = False) -> None:
        """Join a swarm of this machine alone."""
        self._run(lambda: self._try_demo(train=train))

    async def _try_demo(self, *, train: bool) -> None:
        await self._demo.close()
        joined = await self._demo.start()
        if joined and train:
            await self._session.training.start()

    def leave(self) -> None:
        """Stop training and leave the swarm."""
        self._run(self._leave)

    async def _leave(self) -> None:
        await self._session.swarm.leave()
        await self._demo.close()

    # --- training

    def start(self) -> None:
        """Train, or train again after a failure."""
        self._run(self._session.training.start)

    def stop(self) -> None:
        """Stop training, stay in the swarm."""
        self._run(self._session.training.stop)

    def pause(self) -> None:
        """Let the trainer rest."""
        self._run(self._session.training.pause)

    def pause_for(self, seconds: float) -> None:
        """Let the trainer rest for a while, or until it is resumed or stopped before."""
        self._run(lambda: self._session.training.pause(seconds))

    def resume(self) -> None:
        """Let the trainer go on."""
        self._run(self._session.training.resume)

    def cancel_restart(self) -> None:
        """Don't start the failed trainer again by itself."""
        self._model.call(self._session.training.cancel_restart)

    def choose_device(self, device: str, *others: str) -> None:
        """Train on this device from the next start on, and on the others as well."""
        self._model.call(lambda: self._session.choose_device(device, *others))

    def look_for_devices(self) -> None:
        """Ask once more which devices there are."""
        self._run(self._session.look_for_devices)

    # --- the rest

    def dismiss_problem(self) -> None:
        """The user has read it."""
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
            await asyncio.shield(self._opened)  # raises again what opening raised
        finally:
            self.waiting.emit(False)
        await action()


def _load(source: str) -> "SwarmSpec":
    from app.spec import invite

    return invite.load(source)


def open_folder(folder: Path) -> None:
    """Show a folder in the desktop's file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
