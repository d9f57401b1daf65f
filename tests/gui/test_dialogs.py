"""Rules for every dialog: accessible names, keyboard, size of targets, no clipped texts."""

from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QAbstractButton, QAbstractScrollArea, QApplication, QDialog, QWidget
from pytestqt.qtbot import QtBot

from app.common import i18n
from app.common.paths import RESOURCES
from app.spec import schema as spec
from app.state.events import Joined
from app.swarm.recents import Recent
from tests.support.gui.windows import (
    DEVICES,
    FINDINGS,
    WATCHING,
    Bench,
    clipped,
    in_tab_order,
    name_of,
)
from tests.support.training.specs import PEER, SMALLEST
from ui.dialogs.account import AccountDialog
from ui.dialogs.connection_check import ConnectionCheckDialog
from ui.dialogs.join.dialog import RECENT, JoinDialog
from ui.dialogs.share import ShareDialog
from ui.dialogs.start.dialog import StartDialog

pytestmark = pytest.mark.gui

FILES = {"source": "files", "paths": ["~/texts/a-file-with-quite-a-long-name-of-its-own.txt"] * 3}
PATIENCE_MS = 10_000
ABOUT = {
    "purpose": "To write poems of many languages " * 12,
    "organiser": "The Society for Poems of Many Languages",
    "until": "2020-12-31",
    "licence": "For members of the society, and for all others after a year",
    "contact": f"https://poems.example/{'w' * 170}",
}
SWARM = spec.parse(
    {**SMALLEST, "title": "Poems of many languages " * 4, "dataset_info": FILES}
    | {"about": ABOUT, "initial_peers": [PEER]}
)


def make_join(bench: Bench) -> QDialog:
    bench.window.dialogs.join()
    return bench.window.dialogs._shown["join"]


def make_recent(bench: Bench) -> QDialog:
    dialog = make_join(bench)
    assert isinstance(dialog, JoinDialog)
    dialog.recent.show_recents([Recent(spec=SWARM, joined_at=1.8e9)])
    dialog.open_tab(RECENT)
    return dialog


def make_preview(bench: Bench) -> QDialog:
    dialog = make_join(bench)
    assert isinstance(dialog, JoinDialog)
    dialog.show_spec(SWARM)
    dialog.preview.why.setChecked(True)
    return dialog


def make_start(bench: Bench) -> QDialog:
    bench.window.dialogs.start()
    dialog = bench.window.dialogs._shown["start"]
    assert isinstance(dialog, StartDialog)
    for name in ("run_id", "model_config.heads", "training_params.seed"):
        dialog.fields[name].set_value("x y")
    dialog.try_to_start()
    return dialog


def make_share(bench: Bench) -> QDialog:
    bench.session.swarm.spec = SWARM
    bench.dispatch(*WATCHING, Joined(peer_id="Qm", addresses=(PEER,)))
    bench.window.dialogs.share()
    dialog = bench.window.dialogs._shown["share"]
    assert isinstance(dialog, ShareDialog)
    return dialog


def make_account(bench: Bench) -> QDialog:
    bench.window.dialogs.account()
    dialog = bench.window.dialogs._shown["account"]
    assert isinstance(dialog, AccountDialog)
    dialog.form.new.setChecked(True)
    return dialog


def make_check(bench: Bench) -> QDialog:
    bench.session.findings = FINDINGS
    bench.window.dialogs.check()
    dialog = bench.window.dialogs._shown["check"]
    assert isinstance(dialog, ConnectionCheckDialog)
    assert QSignalSpy(dialog.checked).wait(PATIENCE_MS)
    return dialog


def opened(name: str) -> Callable[[Bench], QDialog]:
    """Opens a dialog that needs nothing."""

    def make(bench: Bench) -> QDialog:
        getattr(bench.window.dialogs, name)()
        return bench.window.findChildren(QDialog)[-1]

    return make


each_dialog = pytest.mark.parametrize(
    "make",
    [make_join, make_recent, make_preview, make_start, make_share, make_account, make_check],
)
Make = Callable[[Bench], QDialog]


def reached(dialog: QDialog) -> list[QWidget]:
    """The widgets that Tab reaches, except areas that only scroll."""
    return [
        widget
        for widget in in_tab_order(dialog)
        if type(widget) is not QWidget and widget.objectName() != "page"
    ]


@each_dialog
def test_every_control_is_reached_by_tab_and_has_a_name(bench: Bench, make: Make) -> None:
    bench.dispatch(*DEVICES)
    dialog = make(bench)
    found = reached(dialog)
    unnamed = [each for each in found if not name_of(each)]
    assert [each for each in unnamed if not isinstance(each, QAbstractScrollArea)] == []
    buttons = [
        each
        for each in dialog.findChildren(QAbstractButton)
        if each.isVisible() and each.isEnabled() and each.focusPolicy()
    ]
    assert [name_of(each) for each in buttons if each not in found] == []


@each_dialog
def test_targets_are_large_enough(bench: Bench, make: Make) -> None:
    dialog = make(bench)
    QApplication.processEvents()
    small = [
        (name_of(each), each.height())
        for each in reached(dialog)
        if isinstance(each, QAbstractButton) and each.height() < 30
    ]
    assert small == []


@pytest.mark.parametrize(
    "make",
    [make_join, make_recent, make_preview, make_start, make_share, make_account, make_check]
    + [opened(name) for name in ("first_steps", "about", "diagnostics", "export")],
)
def test_it_fits_a_small_screen(bench: Bench, make: Make) -> None:
    """1920×1080 at 200 %, less what the desktop takes."""
    bench.dispatch(*DEVICES)
    least = make(bench).minimumSizeHint()
    assert (least.width() <= 960, least.height() <= 500) == (True, True), least


def test_a_button_that_says_it_is_done_moves_nothing(bench: Bench) -> None:
    dialog = make_share(bench)
    assert isinstance(dialog, ShareDialog)
    before = [(each.x(), each.width()) for each in (dialog.copy, dialog.save)]
    for each in (dialog.copy, dialog.save):
        each.setText("Saved")
    QApplication.processEvents()
    assert [(each.x(), each.width()) for each in (dialog.copy, dialog.save)] == before


@each_dialog
def test_escape_closes_it(bench: Bench, make: Make, qtbot: QtBot) -> None:
    qtbot.keyClick(make(bench), Qt.Key.Key_Escape)
    assert bench.window.dialogs._shown == {}


@each_dialog
@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_nothing_is_clipped(make_bench: Callable[[], Bench], make: Make, language: str) -> None:
    i18n.install(language, RESOURCES / "translations")
    dialog = make(make_bench())
    QApplication.processEvents()
    assert clipped(dialog) == []


@pytest.fixture
def large_font(qapp: QApplication) -> Iterator[None]:
    """Double the font size, as a display scale of 200 % does."""
    before = qapp.font()
    larger = qapp.font()
    larger.setPointSizeF(before.pointSizeF() * 2)
    qapp.setFont(larger)
    yield
    qapp.setFont(before)


@each_dialog
def test_nothing_is_clipped_in_twice_the_font(
    large_font: None, make_bench: Callable[[], Bench], make: Make
) -> None:
    bench = make_bench()
    bench.theme.choose("light")  # sizes in the style sheet come from the font
    dialog = make(bench)
    dialog.resize(1100, 900)
    QApplication.processEvents()
    assert clipped(dialog) == []
