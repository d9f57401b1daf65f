"""Fixtures of the window's tests; what they are made of is in ``tests/support/windows.py``."""

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

PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def qapp_cls() -> type[Application]:
    """Of the application that pytest-qt makes: ours."""
    return Application


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test's widgets end up in circles. Whichever thread collects these deletes them, and Qt
    crashes unless it is its own: so no other may, and ours does it once the test is forgotten."""
    if not item.path.is_relative_to(Path(__file__).parent):
        return (yield)
    gc.freeze()  # nothing from before need be looked at
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.enable()


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
        closing = asyncio.ensure_future(_close(bench))
        qtbot.waitUntil(closing.done)
    i18n.install("en", RESOURCES / "translations")


async def _close(bench: Bench) -> None:
    await bench.model.close()
    await bench.session.reporting.close()
    await bench.session.contributions.close()
    await bench.session.devices.close()


@pytest.fixture
def until_done(loop: QEventLoop, qtbot: QtBot) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = loop.create_task(coroutine)
        qtbot.waitUntil(task.done)
        return task.result()

    return run


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()
