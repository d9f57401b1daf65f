"""Fixtures of the window's tests; their parts are in ``tests/support/gui/windows.py``."""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot
from qasync import QEventLoop

from app.common import i18n
from app.common.logs import RingBuffer
from app.common.paths import RESOURCES
from app.desktop import autostart
from tests.support.gui.windows import Bench, RecordingDemo, RecordingNotifier, RecordingSession
from ui.application import Application
from ui.main_window import MainWindow
from ui.models import paced_reader
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme

PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def qapp_cls() -> type[Application]:
    """Lets pytest-qt create our own application class."""
    return Application


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Collect garbage only between the tests, in Qt's own thread.

    The widgets of a test end up in reference cycles. The thread that collects a cycle deletes its
    widgets, and Qt crashes if that isn't its own thread.
    """
    if not item.path.is_relative_to(Path(__file__).parent):
        return (yield)
    gc.freeze()  # objects from before the test needn't be searched
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.enable()


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[QEventLoop]:
    """An asyncio loop on top of the Qt loop that pytest-qt runs."""
    made = QEventLoop(qapp, already_running=True)
    yield made
    asyncio.events._set_running_loop(None)
    # WORKAROUND: `stop` would call `QApplication.exit`, and no nested loop runs after that
    made._QEventLoop__is_running = False
    made.close()
    # WORKAROUND: qasync doesn't stop the timers of cancelled calls. If the garbage collector
    # deletes them in another thread, Qt can't stop them there and calls deleted objects.
    for timer in tuple(made._timer._SimpleTimer__callbacks):
        made._timer.killTimer(timer)


class PatientBot(QtBot):
    """Waits for events as long as a busy machine may need; pytest-qt gives up after 5 s."""

    def waitUntil(self, callback: Callable[[], bool | None], *, timeout: int = PATIENCE_MS) -> None:
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, signal: Any, *, timeout: int = PATIENCE_MS, **options: Any) -> Any:
        return super().waitSignal(signal, timeout=timeout, **options)

    def waitExposed(self, widget: QWidget, *, timeout: int = PATIENCE_MS) -> Any:
        return super().waitExposed(widget, timeout=timeout)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    return PatientBot(request)


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
    loop: QEventLoop,
    qtbot: QtBot,
    theme: Theme,
    ring: RingBuffer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Bench]]:
    """A function that makes a window, for tests that choose the language first."""
    made: list[Bench] = []
    monkeypatch.setattr(paced_reader, "REST_MS", 0)  # sums are shown at once

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
        window.resize(1280, 800)  # the screen without a display is smaller
        qtbot.addWidget(window)
        made.append(Bench(session, model, actions, theme, ring, window, preferences))
        window.show()
        qtbot.waitExposed(window)
        return made[-1]

    yield make
    for bench in made:
        bench.window.close_now()
        closing = asyncio.ensure_future(_close(bench))
        qtbot.waitUntil(closing.done)
    i18n.install("en", RESOURCES / "translations")


async def _close(bench: Bench) -> None:
    await bench.model.close()
    await bench.session.account.close()
    await bench.session.contributions.close()
    await bench.session.curves.close()
    await bench.session.devices.close()


@pytest.fixture
def until_done(loop: QEventLoop, qtbot: QtBot) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """A function that runs a coroutine to its end and returns its result."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = loop.create_task(coroutine)
        qtbot.waitUntil(task.done)
        return task.result()

    return run


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()
