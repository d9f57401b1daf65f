"""Fixtures of the window's tests; what they are made of is in ``tests/support/windows.py``."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from qasync import QEventLoop
from windows import Bench, RecordingDemo, RecordingNotifier, RecordingSession

from app import autostart, i18n
from app.logs import RingBuffer
from app.paths import RESOURCES
from ui.actions import Actions
from ui.application import Application
from ui.main_window import MainWindow
from ui.preferences import Preferences
from ui.session_model import SessionModel
from ui.theme import Theme


@pytest.fixture(scope="session")
def qapp_cls() -> type[Application]:
    """Of the application that pytest-qt makes: ours."""
    return Application


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[QEventLoop]:
    """An asyncio loop on the Qt loop that pytest-qt spins."""
    made = QEventLoop(qapp, already_running=True)
    yield made
    asyncio.events._set_running_loop(None)
    # WORKAROUND: `stop` would call `QApplication.exit`, after which no nested loop runs any more
    made._QEventLoop__is_running = False
    made.close()
    # WORKAROUND: qasync lets timers run on, of cancelled calls as well; when the garbage collector
    # happens to take them in another thread, Qt can't stop them there and calls what is gone
    for timer in tuple(made._timer._SimpleTimer__callbacks):
        made._timer.killTimer(timer)


@pytest.fixture
def theme(qapp: QApplication) -> Theme:
    return Theme(qapp, "dark")


@pytest.fixture
def ring() -> RingBuffer:
    made = RingBuffer()
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


@pytest.fixture
def notifier() -> RecordingNotifier:
    return RecordingNotifier()


@pytest.fixture
def make_bench(
    loop: QEventLoop, qtbot: QtBot, theme: Theme, ring: RingBuffer, tmp_path: Path
) -> Iterator[Callable[[], Bench]]:
    """Makes a window, so that a test can choose the language first."""
    made: list[Bench] = []

    def make(*, opened: bool = True, origins: dict[str, str] | None = None) -> Bench:
        session = RecordingSession(tmp_path / "data")
        session.folders.create()
        opening = loop.create_future()
        if opened:
            opening.set_result(None)
        model = SessionModel(session)
        actions = Actions(model, demo=RecordingDemo(session), opened=opening)
        preferences = Preferences(
            model, theme, autostart=autostart.of_this_system(), origins=origins or {}
        )
        window = MainWindow(model, actions, theme, ring, preferences=preferences)
        qtbot.addWidget(window)
        made.append(Bench(session, model, actions, theme, ring, window, preferences))
        window.show()
        qtbot.waitExposed(window)
        return made[-1]

    yield make
    for bench in made:
        bench.window.close_now()
        closing = asyncio.gather(
            bench.model.close(), bench.session.offers.close(), bench.session.devices.close()
        )
        qtbot.waitUntil(closing.done)
    i18n.install("en", RESOURCES / "translations")


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()
