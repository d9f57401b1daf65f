"""The window as a whole: keyboard, theme, menus, languages, no clipped texts."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QMenu,
    QMenuBar,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app.common import i18n
from app.common.paths import RESOURCES
from app.settings import file as settings_file
from app.state.events import Event, ProblemRaised
from app.state.facts import Problem
from tests.support.gui.windows import (
    DEVICES,
    SWARM,
    TRAINING,
    WATCHING,
    Bench,
    clipped,
    in_tab_order,
    name_of,
)
from ui.dialogs.first_steps import FirstSteps
from ui.style.theme import DARK, LIGHT, Theme

pytestmark = pytest.mark.gui

PROBLEM = ProblemRaised(problem=Problem(message="it broke.", field="device", remedy="Mend it."))


@pytest.mark.parametrize("page", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("events", [DEVICES, (*TRAINING, PROBLEM)])
def test_every_control_is_reached_by_tab_and_has_a_name(
    bench: Bench, events: tuple[Event, ...], page: int
) -> None:
    bench.dispatch(*events)
    bench.window.open_page(page)
    reached = [widget for widget in in_tab_order(bench.window) if type(widget) is not QWidget]
    unnamed = [widget for widget in reached if not name_of(widget)]
    # a page that scrolls is no control, but the arrow keys scroll it
    assert [widget for widget in unnamed if not isinstance(widget, QScrollArea)] == []
    buttons = [
        button
        for button in bench.window.findChildren(QPushButton)
        if button.isVisible() and button.isEnabled()
    ]
    assert [button.text() for button in buttons if button not in reached] == []


@pytest.mark.parametrize("events", [DEVICES, (*TRAINING, PROBLEM)])
def test_targets_are_large_enough(bench: Bench, events: tuple[Event, ...]) -> None:
    bench.dispatch(*events)
    small = [
        (name_of(widget), widget.height())
        for widget in in_tab_order(bench.window)
        if isinstance(widget, QPushButton) and widget.height() < 32
    ]
    assert small == []


@pytest.mark.parametrize("language", ["en", "zh_CN"])
@pytest.mark.parametrize("size", [(1280, 800), (960, 600)])
@pytest.mark.parametrize("events", [DEVICES, WATCHING, (*TRAINING, PROBLEM)])
def test_nothing_is_clipped(
    make_bench: Callable[[], Bench],
    qtbot: QtBot,
    language: str,
    size: tuple[int, int],
    events: tuple[Event, ...],
) -> None:
    i18n.install(language, RESOURCES / "translations")
    bench = make_bench()
    bench.window.resize(*size)
    bench.dispatch(*events)
    for page in range(len(bench.window.pages)):
        bench.window.open_page(page)
        QApplication.processEvents()
        assert clipped(bench.window) == []
    bar = bench.window.overview.horizontalScrollBar()
    assert bar.maximum() == 0


@pytest.fixture
def large_font(qapp: QApplication) -> Iterator[None]:
    """Double the font size, as a display scale of 200 % does."""
    before = qapp.font()
    larger = qapp.font()
    larger.setPointSizeF(before.pointSizeF() * 2)
    qapp.setFont(larger)
    yield
    qapp.setFont(before)


def test_nothing_is_clipped_in_twice_the_font(
    large_font: None, make_bench: Callable[[], Bench]
) -> None:
    bench = make_bench()
    bench.theme.choose("light")  # sizes in the style sheet come from the font
    bench.window.resize(1600, 1000)
    bench.dispatch(*TRAINING)
    QApplication.processEvents()
    assert clipped(bench.window) == []


def actions_of(menu: QMenu) -> Iterator[QAction]:
    for action in menu.actions():
        if isinstance(action.menu(), QMenu):
            yield from actions_of(action.menu())
        else:
            yield action


def find_action(bench: Bench, text: str) -> QAction:
    for top in bench.window.menuBar().actions():
        for action in actions_of(top.menu()):
            if action.text().replace("&", "") == text:
                return action
    raise AssertionError(text)


def test_the_theme_changes_while_it_runs_and_is_kept(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    charts = bench.window.overview.charts.widget
    assert charts.loss.plot.widget.backgroundBrush().color().name() == DARK.card
    find_action(bench, "Light").trigger()
    qtbot.waitUntil(lambda: bench.theme.colors == LIGHT)
    assert charts.loss.plot.widget.backgroundBrush().color().name() == LIGHT.card
    assert charts.loss.plot.lines.own.opts["pen"].color().name() == LIGHT.accent
    qtbot.waitUntil(bench.session.folders.settings_file.exists)
    kept = settings_file.read(bench.session.folders.settings_file)
    assert kept == {"theme": "light"}


def test_the_language_is_kept_for_the_next_start(bench: Bench, qtbot: QtBot) -> None:
    find_action(bench, "简体中文").trigger()
    qtbot.waitUntil(bench.session.folders.settings_file.exists)
    kept = settings_file.read(bench.session.folders.settings_file)
    assert kept == {"language": "zh_CN"}
    assert find_action(bench, "Takes effect at the next start")


def menus_of(menu: QMenu | QMenuBar) -> Iterator[QMenu | QMenuBar]:
    yield menu
    for action in menu.actions():
        if isinstance(below := action.menu(), QMenu):
            yield from menus_of(below)


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_a_mnemonic_means_one_entry_of_its_menu(
    make_bench: Callable[[], Bench], language: str
) -> None:
    i18n.install(language, RESOURCES / "translations")
    for menu in menus_of(make_bench().window.menuBar()):
        texts = [action.text() for action in menu.actions() if "&" in action.text()]
        keys = [QKeySequence.mnemonic(text).toString() for text in texts]
        assert len(keys) == len(set(keys)), texts


def test_pages_are_opened_by_keyboard_and_sidebar(bench: Bench, qtbot: QtBot) -> None:
    assert find_action(bench, "Log").shortcut().toString() == "Ctrl+7"
    find_action(bench, "Log").trigger()
    assert bench.window.log.isVisible()
    qtbot.mouseClick(bench.window.sidebar._group.button(0), Qt.MouseButton.LeftButton)
    assert bench.window.overview.isVisible()


def test_leaving_is_offered_only_in_a_swarm(bench: Bench, qtbot: QtBot) -> None:
    leave = find_action(bench, "Leave the swarm")
    assert not leave.isEnabled()
    bench.dispatch(*WATCHING)
    assert leave.isEnabled()
    leave.trigger()
    qtbot.waitUntil(lambda: bench.session.calls == ["leave"])


def test_whoever_trains_is_asked_before_the_demo(bench: Bench, qtbot: QtBot) -> None:
    demo, dialogs = find_action(bench, "Try the demo swarm"), bench.window.dialogs
    bench.dispatch(*TRAINING)
    demo.trigger()
    box = dialogs._shown["leave"]
    assert isinstance(box, QMessageBox)
    assert SWARM.title in box.text()
    qtbot.keyClick(box, Qt.Key.Key_Escape)
    assert bench.session.calls == []
    dialogs.first_steps()
    first_steps = dialogs._shown["first steps"]
    assert isinstance(first_steps, FirstSteps)
    first_steps.demo.click()
    box = dialogs._shown["leave"]
    assert isinstance(box, QMessageBox)
    leave = box.defaultButton()
    assert leave is not None
    leave.click()
    qtbot.waitUntil(lambda: bench.session.calls == ["demo", "start"])


def test_the_demo_needs_no_question_while_nothing_is_trained(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    find_action(bench, "Try the demo swarm").trigger()
    qtbot.waitUntil(lambda: bench.session.calls == ["demo"])


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours by WCAG 2."""

    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [DARK, LIGHT], ids=["dark", "light"])
def test_texts_stand_out(colors: object) -> None:
    pairs = [
        ("text", "card"),
        ("text", "window"),
        ("muted", "card"),
        ("muted", "window"),
        ("muted", "sidebar"),
        ("accent_text", "card"),
        ("on_accent", "accent"),
        ("on_danger", "danger"),
        ("danger_text", "card"),
        ("caution", "card"),
    ]
    weak = {
        pair: round(ratio, 2)
        for pair in pairs
        if (ratio := contrast(getattr(colors, pair[0]), getattr(colors, pair[1]))) < 4.5
    }
    assert weak == {}


def test_the_style_sheet_knows_every_name(qapp: QApplication) -> None:
    theme = Theme(qapp, "light")
    assert "{{" not in qapp.styleSheet()
    theme.choose("dark")
    assert DARK.card in qapp.styleSheet()


def test_charts_are_ready_before_a_swarm_shows_them(bench: Bench, qtbot: QtBot) -> None:
    assert bench.window.overview.charts.built is None
    completed = asyncio.ensure_future(bench.window.complete())
    qtbot.waitUntil(completed.done)
    assert bench.window.overview.charts.built is not None
    assert bench.window.log.built is None


def test_the_first_paint_is_told_once(bench: Bench, qtbot: QtBot) -> None:
    QApplication.processEvents()  # the real first one may still be on its way
    told: list[bool] = []
    bench.window.painted.connect(lambda: told.append(True))
    bench.window._was_painted = False
    bench.window.repaint()
    bench.window.repaint()
    qtbot.waitUntil(lambda: bool(told))
    QApplication.processEvents()
    assert told == [True]


def test_the_window_comes_back_where_it_was(
    bench: Bench, qtbot: QtBot, until_done: Callable[[Any], Any]
) -> None:
    bench.window.setGeometry(0, 20, 800, 640)
    bench.open("Machines")
    bench.window.show_closing()
    assert bench.window.overview.isVisible()
    again = QWidget()
    qtbot.addWidget(again)
    page = bench.window._placement.restore(again)
    assert again.height() == 640
    assert bench.window.pages[page].title == "Machines"
    bench.window._first_page = page  # as the next start reads it
    until_done(bench.window.complete())
    assert bench.window.machines.isVisible()


@pytest.mark.parametrize("content", ["", "[]", '{"geometry": "nonsense", "page": "nowhere"}'])
def test_a_damaged_note_of_its_place_changes_nothing(
    make_bench: Callable[[], Bench], tmp_path: Path, content: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "window.json").write_text(content, encoding="utf-8")
    window = make_bench().window
    assert window._first_page == 0
    assert window.width() >= 640


def test_what_scrolls_says_its_name_and_shows_that_it_has_the_focus(
    bench: Bench, qtbot: QtBot
) -> None:
    for area in bench.window.findChildren(QScrollArea):
        takes_focus = area.focusPolicy() != Qt.FocusPolicy.NoFocus
        assert area.accessibleName() or not takes_focus, area
    overview = bench.window.overview
    bench.open("Overview")
    with qtbot.waitActive(bench.window):
        bench.window.activateWindow()

    def corner() -> str:
        return str(overview.grab().toImage().pixelColor(40, 1).name())

    bench.window.setFocus()
    before = corner()
    overview.setFocus()
    assert overview.hasFocus()
    assert corner() != before
