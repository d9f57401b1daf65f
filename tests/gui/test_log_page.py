"""The log page: filters, new lines, and speed with a full ring buffer."""

import logging
import threading
import time

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.common.logs import RING_SIZE, LogLine, RingBuffer
from tests.support.gui.windows import Bench
from ui.pages.log.model import LogFilter, LogModel
from ui.style.theme import Theme

pytestmark = pytest.mark.gui


def write(ring: RingBuffer, number: int, *, name: str = "app.x", level: int = 20) -> None:
    record = logging.LogRecord(name, level, "", 0, f"line {number}", None, None)
    ring.emit(record)


def fill(ring: RingBuffer, count: int = RING_SIZE) -> None:
    for number in range(count):
        level = logging.ERROR if number % 100 == 0 else logging.INFO
        name = ("app.x", "trainer.app.x", "hivemind.x", "partner.app")[number % 4]
        write(ring, number, name=name, level=level)


def test_filters_by_level_source_and_text(bench: Bench, qtbot: QtBot) -> None:
    fill(bench.ring)
    bench.open("Log")
    page = bench.window.log.widget
    page.libraries.setChecked(True)
    assert page.model.rowCount() == 5000
    page.level.setCurrentIndex(3)
    assert page.model.rowCount() == 50
    page.level.setCurrentIndex(0)
    page.source.setCurrentIndex(page.source.findData("trainer"))
    assert page.model.rowCount() == 1250
    qtbot.keyClicks(page.text, "LINE 49")
    assert {page.model.line(row).source for row in range(page.model.rowCount())} == {"trainer"}
    assert 0 < page.model.rowCount() < 100


def test_the_libraries_lines_are_shown_on_demand(bench: Bench, qtbot: QtBot) -> None:
    fill(bench.ring, 8)
    bench.open("Log")
    page = bench.window.log.widget
    assert [page.model.line(row).source for row in range(page.model.rowCount())].count("peer") == 0
    assert page.model.rowCount() == 6
    qtbot.mouseClick(page.libraries, Qt.MouseButton.LeftButton)
    assert page.model.rowCount() == 8


def test_five_thousand_lines_are_quick(bench: Bench) -> None:
    """The limit is generous: other processes on the cores make the same work take longer."""
    fill(bench.ring)
    started = time.thread_time()
    bench.open("Log")
    bench.window.log.widget.text.setText("line 4")
    assert time.thread_time() - started < 5.0


def test_new_lines_of_any_thread_come_in_and_the_newest_is_in_view(
    bench: Bench, qtbot: QtBot
) -> None:
    bench.open("Log")
    page = bench.window.log.widget
    page.libraries.setChecked(True)
    thread = threading.Thread(target=fill, args=(bench.ring, 500))
    thread.start()
    qtbot.waitUntil(lambda: page.model.rowCount() == 500)
    thread.join()
    bar = page.table.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0


def test_a_hidden_page_reads_nothing(bench: Bench) -> None:
    fill(bench.ring, 10)
    bench.window.log.widget.libraries.setChecked(True)
    assert not bench.window.log.widget._timer.isActive()
    assert bench.window.log.widget.model.rowCount() == 0
    bench.open("Log")
    assert bench.window.log.widget._timer.interval() >= 250
    assert bench.window.log.widget.model.rowCount() == 10


def test_reading_a_line_stops_following_and_shows_it_whole(bench: Bench, qtbot: QtBot) -> None:
    bench.ring.emit(logging.LogRecord("app.x", 40, "", 0, "first\nsecond", None, None))
    bench.open("Log")
    page = bench.window.log.widget
    page.table.selectRow(0)
    assert page.details.isVisible()
    assert page.details.toPlainText() == "first\nsecond"
    assert not page.follow.isChecked()


def test_copies_what_is_selected_or_all_that_is_shown(bench: Bench, qtbot: QtBot) -> None:
    fill(bench.ring, 8)
    bench.open("Log")
    page = bench.window.log.widget
    page.source.setCurrentIndex(page.source.findData("partner"))
    qtbot.mouseClick(page.copy, Qt.MouseButton.LeftButton)
    assert len(QGuiApplication.clipboard().text().splitlines()) == 2
    page.table.selectRow(1)
    page.copy_lines()
    assert QGuiApplication.clipboard().text().endswith("partner: line 7")


def lines(first: int, last: int) -> list[LogLine]:
    return [LogLine(number, 20, "app", str(number)) for number in range(first, last)]


@pytest.mark.parametrize("kept", [0, 3, 90, 100])
def test_the_model_follows_the_ring_as_it_turns(theme: Theme, kept: int) -> None:
    every = lines(0, 250)
    model = LogModel(theme)
    model.set_filter(LogFilter(text="1"))
    model.update(every[:100])
    newest = every[100 - kept : 200 - kept]
    model.update(newest)
    shown = [model.line(row) for row in range(model.rowCount())]
    assert shown == [line for line in newest if "1" in line.text]


def test_a_ring_that_isn_t_full_only_grows(theme: Theme) -> None:
    every = lines(0, 50)
    model = LogModel(theme)
    for end in (10, 10, 30, 50):
        model.update(every[:end])
        assert model.rowCount() == end
