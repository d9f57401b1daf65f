"""The window's process: creates all parts in order, and closes them in order."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QLibraryInfo, QTranslator, Signal
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication, QMessageBox, QSystemTrayIcon
from qasync import QEventLoop
from typing_extensions import override

from app.cli import Arguments
from app.common import i18n, logs
from app.common.background import end
from app.common.errors import BusyError, FolderError, SettingsError
from app.common.paths import RESOURCES, Folders
from app.desktop import autostart
from app.lifecycle.handover import Request, hand_over
from app.lifecycle.start_guard import StartGuard
from app.session import Session
from app.settings import loading
from app.settings.settings import Settings
from ui.main_window import MainWindow
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.served import LazyCallback, LazyLab, Served
from ui.style.plain import message_box
from ui.style.theme import Theme
from ui.texts import states as texts

if TYPE_CHECKING:
    from app.demo import DemoSwarm

log = logging.getLogger(__name__)

PAINT_SECONDS = 5.0
"""How long to wait for the first paint. A minimised window may never be painted."""

SWITCH_SECONDS = 0.0005
"""Where another thread computes, the loop waits this long for its turn after each system call:
Python's own 5 ms made 70 ms of a few calls."""

CLOSE_SECONDS = 15.0
"""Limit for the whole shutdown; longer than a trainer may take for its last checkpoint."""


def run(arguments: Arguments) -> int:
    """Show the window until the user closes it; returns the exit status.

    If another window is open with the same data folder, hand it our arguments and return at once.
    """
    folders = Folders.under(arguments.data_dir) if arguments.data_dir else Folders.default()
    if shown_by_another(folders, arguments):
        return 0
    chosen, wrong = load_settings(folders, arguments)
    language = i18n.install(chosen.language, RESOURCES / "translations")
    application = make_application(language)
    try:
        folders.create()
    except FolderError as error:
        message_box(QMessageBox.Icon.Critical, texts.PRODUCT, texts.error_text(error)).exec()
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    guard = StartGuard(folders.start_file)
    if guard.begin() and wants_safe_start():
        chosen, wrong = load_settings(folders, replace(arguments, safe=True))
    logging_ = logs.start(folders.logs, debug=chosen.debug)
    session = Session(settings=chosen, folders=folders)
    session.bindings.give(arguments.data)
    try:
        with asyncio.Runner(loop_factory=lambda: QEventLoop(application)) as runner:
            runner.run(
                _contribute(
                    application, arguments, session, logging_.ring, wrong=wrong, guard=guard
                )
            )
        guard.succeed()
    finally:
        logging_.close()
    return 0


def shown_by_another(folders: Folders, arguments: Arguments) -> bool:
    """Hand our arguments to the window that is open with this data folder, if there is one."""
    answer = hand_over(folders.door_file, _request(arguments))
    return answer is not None and answer.window


def _request(arguments: Arguments) -> Request:
    given = arguments.invite or arguments.swarm
    is_path = bool(given) and not given.lower().startswith("cotrain:")
    return Request(
        show=not arguments.minimized,
        invite=str(Path(given).absolute()) if is_path else given,
        data=arguments.data,
        activation=os.environ.get("XDG_ACTIVATION_TOKEN", ""),
    )


def load_settings(folders: Folders, arguments: Arguments) -> tuple[Settings, SettingsError | None]:
    """The user's settings and None, or the default settings and what is wrong with the user's."""
    file = None if arguments.safe else folders.settings_file
    try:
        return loading.load_or_mend(file, arguments.overrides)
    except SettingsError as error:
        return Settings.model_construct(), error  # neither reads a source nor validates


def wants_safe_start() -> bool:
    """Ask whether to start with default settings, since the last starts failed."""
    from ui.dialogs.safe_start import wants_default_settings

    return wants_default_settings()


class Application(QApplication):
    """Emits ``opened`` with a file or link that macOS asks the app to open.

    macOS sends such a request as an event, not as a command-line argument.
    """

    opened = Signal(str)

    @override
    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FileOpen and isinstance(event, QFileOpenEvent):
            self.opened.emit(event.file() or event.url().toString())
            return True
        return super().event(event)


def make_application(language: str) -> Application:
    """The Qt application, with our name and with Qt's own texts in our language."""
    application = Application(sys.argv[:1])
    application.setApplicationName("cotrain-contributor")
    application.setApplicationDisplayName(f"{texts.PRODUCT} {texts.PRODUCT_KIND}")
    application.setDesktopFileName("cotrain-contributor")
    # we close everything in order first: under qasync the loop would stop with the last window
    application.setQuitOnLastWindowClosed(False)
    translator = QTranslator(application)
    folder = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    if translator.load(f"qtbase_{language}", folder):
        application.installTranslator(translator)
    return application


class LazyDemo:
    """The demo swarm; its module is imported at the first `start`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._demo: DemoSwarm | None = None

    async def start(self) -> bool:
        """Open the swarm and its second peer; False when the user left meanwhile."""
        from app.demo import DemoSwarm

        self._demo = DemoSwarm(self._session)
        return await self._demo.start()

    async def close(self) -> None:
        """End the second peer. May be called twice."""
        demo, self._demo = self._demo, None
        if demo is not None:
            await demo.close()


async def _contribute(
    application: Application,
    arguments: Arguments,
    session: Session,
    ring: logs.RingBuffer,
    *,
    wrong: SettingsError | None,
    guard: StartGuard,
) -> None:
    """Run the window, from its first paint until everything is closed."""
    opened = asyncio.get_running_loop().create_future()
    # also after a failure: the window is there and tells the user what is wrong
    opened.add_done_callback(lambda _opened: guard.succeed())
    model, demo = SessionModel(session), LazyDemo(session)
    actions = Actions(model, demo=demo, opened=opened)
    theme = Theme(application, session.store.settings.theme)
    preferences = Preferences(
        model,
        theme,
        autostart=autostart.of_this_system(arguments.data_dir),
        origins=loading.origins(arguments.overrides),
    )
    window = MainWindow(model, actions, theme, ring, preferences=preferences)
    application.opened.connect(window.dialogs.join)
    stop = _stop_event(window)
    if wrong is not None:
        model.raise_problem(wrong)
    await _first_paint(window, minimized=arguments.minimized)
    from ui.presence import DesktopPresence  # not needed for the first paint

    presence = DesktopPresence.of(window, model, actions, theme, preferences)
    callback = LazyCallback(model, window, presence.notifier, ring=ring)
    lab = LazyLab(session)
    window.local_api_wanted.connect(callback.show)
    served = Served(callback, lab, presence)
    opening = asyncio.create_task(
        _open(model, opened, window=window, served=served, arguments=arguments)
    )
    _begin(arguments, actions, session.folders)
    await stop.wait()
    await _close(window, model=model, demo=demo, served=served, opening=opening)


def _stop_event(window: MainWindow) -> asyncio.Event:
    """An event that is set when the user quits, on Ctrl-C, and on SIGTERM."""
    stop = asyncio.Event()
    window.quit_wanted.connect(stop.set)
    for number in (signal.SIGINT, signal.SIGTERM):
        _on_signal(number, stop)
    return stop


def _on_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, stop.set)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


async def _first_paint(window: MainWindow, *, minimized: bool) -> None:
    if minimized:
        _start_out_of_sight(window)
        return
    painted = asyncio.Event()
    window.painted.connect(painted.set)
    window.show()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PAINT_SECONDS):
            await painted.wait()
            log.info("window painted", extra={"monotonic": time.monotonic()})


def _start_out_of_sight(window: MainWindow) -> None:
    """Show only the tray icon, or a minimised window if there is no tray.

    At login the tray may not be there yet, because the panel can start later than we do.
    """
    if not QSystemTrayIcon.isSystemTrayAvailable():
        window.showMinimized()


async def _open(
    model: SessionModel,
    opened: "asyncio.Future[None]",
    *,
    window: MainWindow,
    served: Served,
    arguments: Arguments,
) -> None:
    """Open the session, then the local API. ``opened`` is done as soon as the session is open.

    Quits if another window opened the same data folder first.
    """
    session = model.session
    try:
        await window.complete()
        await asyncio.to_thread(_import_heavy_modules)
        await session.open(receive=window.dialogs.receive)
    except Exception as error:  # noqa: BLE001  the boundary of a task: actions and the user are told
        opened.set_exception(error)
        opened.exception()  # retrieved, or asyncio complains if no action waits for it
        if isinstance(error, BusyError) and shown_by_another(session.folders, arguments):
            window.quit_wanted.emit()
        else:
            model.raise_problem(error)
        return
    finally:
        gc.enable()  # main switched it off
    opened.set_result(None)
    with model.problems_shown():
        await served.start()


def _import_heavy_modules() -> None:
    """Import in a thread what joining and the local API need; it would stall the event loop."""
    import app.callback.api
    import app.callback.http
    import app.callback.sources
    import app.demo
    import app.lab.service  # noqa: F401
    import ui.dialogs.consent  # noqa: F401

    with contextlib.suppress(ImportError):  # Linux only; notifications need it at the first one
        import jeepney.io.asyncio
        import jeepney.wrappers  # noqa: F401


def _begin(arguments: Arguments, actions: Actions, folders: Folders) -> None:
    """Do what the command line asks for; else show the first steps once, or go on as before."""
    if arguments.demo:
        actions.try_demo(train=arguments.train)
    elif arguments.swarm:
        actions.join(arguments.swarm, train=arguments.train)
    elif arguments.invite:
        actions.join_wanted.emit(arguments.invite)
    elif not arguments.minimized and folders.first_time("first-steps"):
        actions.first_steps_wanted.emit()
    elif not arguments.safe:
        actions.go_back()


async def _close(
    window: MainWindow,
    *,
    model: SessionModel,
    demo: LazyDemo,
    served: Served,
    opening: "asyncio.Task[None]",
) -> None:
    """Close everything in order within `CLOSE_SECONDS`, while the window says that it closes."""
    window.show_closing()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await end(opening)
            await served.close()
            await model.close()
            await asyncio.gather(demo.close(), model.session.close())
    except TimeoutError:
        log.error("the session took more than %.0f s to close", CLOSE_SECONDS)  # noqa: TRY400
    finally:
        window.close_now()
