"""`make pictures`: a screenshot of every page and dialog, in build/pictures/, to be looked at.

    python tests/bench/pictures.py [--only light dark chinese large small] [PAGE…]

A real window on a display of its own, light, dark, in Chinese, at 200 % on 1920×1080 and at 100 %
on 1280×720; its state is that of the window's tests (`tests/support/gui/windows.py`), its curves
and records are made up. Needs Xvfb and, for Chinese, a font (`packaging/setup.sh pictures`).
"""

import argparse
import asyncio
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from app.common import i18n  # noqa: E402
from app.common.logs import RingBuffer  # noqa: E402
from app.common.paths import RESOURCES  # noqa: E402
from app.terms.schedule import Span  # noqa: E402
from tests.bench.measuring import virtual_display  # noqa: E402

if TYPE_CHECKING:
    from app.contributions.ledger import Ledger
    from tests.support.gui.windows import Bench

FOLDER = ROOT / "build" / "pictures"
SETTLING = 0.8
"""Seconds that a page may take to be drawn, its charts included."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How the window is shown."""

    theme: str = "light"
    language: str = "en"
    scale: str = "1"
    screen: str = "1280x800"


VARIANTS = {
    "light": Variant(),
    "dark": Variant(theme="dark"),
    "chinese": Variant(language="zh_CN"),
    "large": Variant(scale="2", screen="1920x1080"),
    "small": Variant(screen="1280x720"),
}


def main() -> None:
    """Take the pictures of all variants, or of those that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--in-here", default="")
    parser.add_argument("names", nargs="*", metavar="PAGE")
    wanted = parser.parse_args()
    if wanted.in_here:
        take(wanted.in_here, wanted.names)
        return
    for name in wanted.only:
        variant = VARIANTS[name]
        with virtual_display(variant.screen) as environment:
            scale = {"QT_SCALE_FACTOR": variant.scale}
            command = (sys.executable, __file__, *wanted.names, "--in-here", name)
            subprocess.run(command, env=environment | scale, check=True)
    sys.stdout.write(f"{FOLDER}\n")


def take(name: str, wanted: list[str]) -> None:
    """Take the pictures of a variant, in this process."""
    from qasync import QEventLoop

    from ui.application import make_application

    variant = VARIANTS[name]
    language = i18n.install(variant.language, RESOURCES / "translations")
    application = make_application(language)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=lambda: QEventLoop(application)) as runner:
        runner.run(_take_all(variant, folder, wanted))
    os._exit(0)  # nothing here is to be kept, and hivemind was never loaded


async def _take_all(variant: Variant, folder: Path, wanted: list[str]) -> None:
    from PySide6.QtGui import QGuiApplication

    with tempfile.TemporaryDirectory() as data:
        studio = await _studio(variant, Path(data))
        for number, (name, prepare) in enumerate(studio.scenes()):
            if wanted and name not in wanted:
                continue
            prepare()
            await asyncio.sleep(SETTLING)
            picture = QGuiApplication.primaryScreen().grabWindow(0)
            picture.save(str(folder / f"{number:02d}-{name}.png"))


async def _studio(variant: Variant, data: Path) -> "Studio":
    from PySide6.QtWidgets import QApplication

    from app.desktop import autostart
    from tests.support.gui.windows import Bench, RecordingDemo, RecordingSession
    from ui.main_window import MainWindow
    from ui.models.actions import Actions
    from ui.models.preferences import Preferences
    from ui.models.session_model import SessionModel
    from ui.style.theme import Theme

    session = RecordingSession(data)
    session.folders.create()
    await session.contributions.open()
    await session.curves.open()
    await session.contributions.ledger.run(_give)
    session.machines._made_up_name = "amber-otter-12"
    opened = asyncio.get_running_loop().create_future()
    opened.set_result(None)
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    theme = Theme(application, variant.theme)  # type: ignore[arg-type]
    model = SessionModel(session)
    actions = Actions(model, demo=RecordingDemo(session), opened=opened)
    preferences = Preferences(model, theme, autostart=autostart.of_this_system(), origins={})
    ring = RingBuffer()
    window = MainWindow(model, actions, theme, ring, preferences=preferences)
    window.show()
    window.move(0, 0)
    await window.complete()
    return Studio(Bench(session, model, actions, theme, ring, window, preferences))


def _give(ledger: "Ledger") -> None:
    """Contributions of some days, to the swarm of the window's tests and to another one."""
    from tests.support.training.works import contribution

    now = time.time()
    for number in range(60):
        ended = now - number * 0.1 * 86400
        energy = None if number % 5 == 0 else 1.1e6
        ledger.add(
            contribution(
                number,
                run_id="poems" if number % 4 == 1 else "docs",
                started_at=ended - 5400,
                ended_at=ended,
                compute_time=4900.0,
                samples=68 + number,
                swarm_samples=900,
                epochs=4,
                energy=energy,
            )
        )


class Studio:
    """The window, and what is to be seen on each picture."""

    def __init__(self, bench: "Bench") -> None:
        self._bench = bench
        self._dialogs = bench.window.dialogs

    def scenes(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """The name of each picture, and what to do before it is taken."""
        yield "welcome", lambda: None
        yield "way-back", self._way_back
        yield "overview", self._train
        yield "overview-zoomed", self._zoom
        yield "overview-end", self._scroll_down
        yield "overview-problem", self._fail
        for index, page in enumerate(self._bench.window.pages[1:], 1):
            yield page.icon, lambda index=index: self._bench.window.open_page(index)
            if page.icon == "machines":
                yield "machines-together", self._choose_machines
        yield "settings-terms", self._show_terms
        yield "settings-end", self._scroll_settings
        yield "settings-searched", lambda: self._search("alert")
        for name, show in self._kinds().items():
            yield name, lambda show=show: self._alone(show)

    def _way_back(self) -> None:
        from app.state.events import ReturnChanged
        from app.state.facts import Returning

        reason = "none of the 2 peers to enter by can be reached."
        again = Returning(title="Poems", retry_at=time.time() + 42, reason=reason)
        self._bench.dispatch(ReturnChanged(returning=again))

    def _train(self) -> None:
        from app.state.events import ReturnChanged
        from app.timeline.timeline import HappeningKind
        from tests.support.gui.windows import TRAINING

        self._bench.dispatch(ReturnChanged(returning=None), *TRAINING)
        self._bench.fill_history(560, gap=range(200, 260))
        timeline, now = self._bench.session.timeline, time.time()
        history = self._bench.session.history
        for age in range(560, 0, -2):
            history.swarm_epoch.add(now - age, 12.7 - age / 90)
        for age in range(550, 0, -50):
            history.held_out_loss.add(now - age, 3.2 + math.exp(-(600 - age) / 200))
        settings = self._bench.session.store.settings
        priced = settings.model_copy(update={"energy_price": 0.31, "training_watts": 180.0})
        self._bench.session.store.replace_settings(priced)
        for ago, kind, why in (
            (260, HappeningKind.PAUSED, "The computer runs on battery."),
            (200, HappeningKind.RESUMED, ""),
            (90, HappeningKind.ROUND_FAILED, "epoch 11: no group was found in time"),
        ):
            timeline._clock = lambda ago=ago: now - ago
            timeline.add(kind, why)
        self._show_machines()
        self._bench.window.open_page(0)
        self._bench.window.overview.show_state(self._bench.session.store.state)

    def _show_machines(self) -> None:
        from tests.support.machine.machines import crowd, fill, new_key

        machines, now = self._bench.session.machines, time.time()
        own = new_key()
        machines.public_key = own.public_key
        records = crowd(12, now=now)
        records[own.public_key] = records.pop("key-00003")
        fill(machines.fleet, records, now=now)

    def _zoom(self) -> None:
        """The charts over epochs, smoothed, a section of them, with the keyboard's focus."""
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest

        charts = self._bench.window.overview.charts.widget
        charts.along.setCurrentIndex(1)
        charts.smoothing.setCurrentIndex(2)
        plot = charts.loss.plot.widget
        plot.setFocus()
        for key in (Qt.Key.Key_Plus, Qt.Key.Key_Left, Qt.Key.Key_Left):
            QTest.keyClick(plot, key)

    def _scroll_down(self) -> None:
        bar = self._bench.window.overview.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _choose_machines(self) -> None:
        from PySide6.QtCore import QItemSelectionModel

        page, flags = self._bench.window.machines.widget, QItemSelectionModel.SelectionFlag
        for row in range(1, 6):
            index = page.model.index(row, 0)
            page.table.selectionModel().select(index, flags.Select | flags.Rows)
        page.details.figure.setCurrentIndex(2)

    def _fail(self) -> None:
        from app.state.events import ProblemRaised
        from app.state.facts import Problem

        self._bench.dispatch(
            ProblemRaised(
                problem=Problem(
                    message="no checkpoint can be written: No space left on device.",
                    remedy="Make room on its disk; training goes on meanwhile.",
                )
            )
        )
        self._bench.window.overview.verticalScrollBar().setValue(0)

    def _search(self, words: str) -> None:
        page = self._bench.window.settings.widget
        page.search.setText(words)
        page.verticalScrollBar().setValue(0)

    def _show_terms(self) -> None:
        page = self._bench.window.settings.widget
        grid = page.terms.schedule.grid
        weekend = Span(9 * 60, 24 * 60)
        grid.dragged.emit(tuple(range(5)), Span(22 * 60, 7 * 60))
        grid.dragged.emit((5, 6), weekend)
        page.ensureWidgetVisible(page.terms.schedule, 0, 200)

    def _scroll_settings(self) -> None:
        page = self._bench.window.settings.widget
        page.advanced.setChecked(True)
        page.verticalScrollBar().setValue(page.verticalScrollBar().maximum())

    def _alone(self, show: Callable[[], object]) -> None:
        self._dialogs.close()
        self._dialogs._closed = False
        self._bench.window.open_page(0)
        show()

    def _kinds(self) -> dict[str, Callable[[], object]]:
        from PySide6.QtCore import QTimer

        from app.spec import schema
        from tests.support.training.specs import PEER, SMALLEST

        about = {
            "purpose": "A small model that knows the poems of all our libraries",
            "organiser": "The libraries of Alexandria",
            "until": "2099-03-31",
            "licence": "CC-BY-4.0",
            "contact": "poems@library.example",
        }
        said = {"title": "Poems of many languages", "initial_peers": [PEER], "about": about}
        swarm = schema.parse(SMALLEST | said)
        self._bench.session.swarm.spec = swarm
        dialogs = self._dialogs

        def preview() -> None:
            dialogs.join()
            dialogs._shown["join"].show_spec(swarm)  # type: ignore[attr-defined]

        def wrong() -> None:
            dialogs.join()
            join: Any = dialogs._shown["join"]
            join.invite.link.setText("https://example.org/an-invite")
            join.invite.view.click()

        def started(share: float, *, more: bool = False) -> None:
            dialogs.start()
            dialog: Any = dialogs._shown["start"]
            dialog.folded.more.setChecked(more)
            bar = dialog.area.verticalScrollBar()
            QTimer.singleShot(200, lambda: bar.setValue(round(share * bar.maximum())))

        def steps(page: int) -> None:
            dialogs.first_steps()
            dialogs._shown["first steps"].open_page(page)  # type: ignore[attr-defined]

        def enlarged() -> None:
            dialogs.share()
            dialogs._shown["share"].enlarge.click()  # type: ignore[attr-defined]

        return {
            "first-steps-1": lambda: steps(0),
            "first-steps-2": lambda: steps(1),
            "first-steps-3": lambda: steps(2),
            "join": dialogs.join,
            "join-wrong": wrong,
            "preview": preview,
            "start": dialogs.start,
            "start-middle": lambda: started(0.5),
            "start-end": lambda: started(1.0),
            "start-more": lambda: started(0.5, more=True),
            "share": dialogs.share,
            "qr-code": enlarged,
            "leave": dialogs.leave,
            "connection-check": dialogs.check,
            "account": dialogs.account,
            "export": dialogs.export,
            "achievement": dialogs.achievement,
            "diagnostics": dialogs.diagnostics,
            "about": dialogs.about,
        }


if __name__ == "__main__":
    main()
