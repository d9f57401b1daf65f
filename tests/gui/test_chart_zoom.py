"""The charts' zoom, smoothing and x axis; and that scrolling the page changes none of them."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QImage, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.evaluation_messages import Evaluated
from app.state.events import JoinBegan, Left
from app.timeline.timeline import HappeningKind
from tests.support.gui.windows import SWARM, TRAINING, WATCHING, Bench, name_of
from ui.models.chart_choices import FILE_NAME, ChartChoices, ChartView
from ui.widgets.charts.captioned import captioned
from ui.widgets.charts.curves import Curve, Drawing
from ui.widgets.charts.plot import TimePlot
from ui.widgets.charts.smoothing import Smoothing
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.charts.x_axis import AxisKind, XAxis
from ui.widgets.charts.zoom import MOST, Zoom, magnified, moved, section

pytestmark = pytest.mark.gui

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier
FULL = Zoom(0.0, 100.0, follows=True)


@pytest.fixture
def charts(bench: Bench) -> Any:
    bench.dispatch(*TRAINING)
    bench.fill_history(600)
    made = bench.window.overview.charts.widget
    made.redraw()
    made.loss.plot.widget.clearFocus()
    return made


def width(chart: Any) -> float:
    """What is shown, in the unit of the axis."""
    low, high = chart.plot._item.getViewBox().viewRange()[0]
    return float(high - low)


def turn(widget: QWidget, by: int, modifiers: Qt.KeyboardModifier = NONE) -> QWheelEvent:
    middle = widget.rect().center()
    event = QWheelEvent(
        QPointF(middle),
        QPointF(widget.mapToGlobal(middle)),
        QPoint(),
        QPoint(0, by),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event


def drag(widget: QWidget, begin: float, end: float, modifiers: Qt.KeyboardModifier = NONE) -> None:
    """Drag over a part of the widget. begin, end: as parts of its width."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    y = widget.height() / 2
    for kind, share, button, held in (
        (QEvent.Type.MouseButtonPress, begin, left, left),
        (QEvent.Type.MouseMove, (begin + end) / 2, none, left),
        (QEvent.Type.MouseMove, end, none, left),
        (QEvent.Type.MouseButtonRelease, end, left, none),
    ):
        place = QPointF(share * widget.width(), y)
        there = QPointF(widget.mapToGlobal(place.toPoint()))
        QApplication.sendEvent(widget, QMouseEvent(kind, place, there, button, held, modifiers))


# --- wheel and mouse


def test_scrolling_the_page_over_a_chart_changes_only_the_page(
    bench: Bench, charts: Any, qtbot: QtBot
) -> None:
    bench.window.resize(1280, 500)
    QApplication.processEvents()
    bar, before = bench.window.overview.verticalScrollBar(), width(charts.loss)
    assert bar.maximum() > 0
    bar.setValue(0)
    viewport, window = charts.loss.plot.widget.viewport(), bench.window
    place = QPointF(viewport.mapTo(window, viewport.rect().center()))
    QTest.wheelEvent(window.windowHandle(), place, QPoint(0, -120))
    qtbot.waitUntil(lambda: bar.value() > 0)
    assert width(charts.loss) == before
    assert charts.loss.plot.zoom is None


def test_the_wheel_zooms_with_ctrl_or_focus_in_both_charts(charts: Any) -> None:
    before = width(charts.loss)
    assert turn(charts.loss.plot.widget.viewport(), 120, CTRL).isAccepted()
    assert width(charts.loss) == pytest.approx(before / 1.5)
    assert width(charts.throughput) == pytest.approx(before / 1.5)
    charts.throughput.plot.widget.setFocus()
    turn(charts.throughput.plot.widget.viewport(), 120)
    assert width(charts.loss) == pytest.approx(before / 1.5**2)
    for _ in range(5):
        turn(charts.throughput.plot.widget.viewport(), -120)
    assert charts.loss.plot.zoom is None
    assert width(charts.loss) == pytest.approx(before, rel=0.02)


def test_a_dragged_range_is_shown_and_a_double_click_shows_all(charts: Any, qtbot: QtBot) -> None:
    viewport, before = charts.loss.plot.widget.viewport(), width(charts.loss)
    drag(viewport, 0.5, 0.75)
    assert before * 0.2 < width(charts.loss) < before * 0.35
    assert width(charts.throughput) == width(charts.loss)
    assert not charts.loss.plot.lines.selection.isVisible()
    assert charts.all.isVisible()
    shown = charts.loss.plot.shown
    drag(viewport, 0.3, 0.6, SHIFT)
    assert charts.loss.plot.shown.low < shown.low
    assert width(charts.loss) == pytest.approx(shown.high - shown.low)
    qtbot.mouseDClick(viewport, Qt.MouseButton.LeftButton)
    assert charts.loss.plot.zoom is None
    assert not charts.all.isVisible()


def test_a_click_alone_zooms_nothing(charts: Any, qtbot: QtBot) -> None:
    qtbot.mouseClick(charts.loss.plot.widget.viewport(), Qt.MouseButton.LeftButton)
    assert charts.loss.plot.zoom is None
    assert charts.loss.plot.widget.hasFocus()


def test_another_span_ends_the_zoom(charts: Any, qtbot: QtBot) -> None:
    charts.loss.plot._choose(Zoom(time.time() - 200, time.time() - 100))
    qtbot.mouseClick(charts.group.button(1), Qt.MouseButton.LeftButton)
    assert charts.loss.plot.zoom is None
    charts.throughput.plot._choose(Zoom(time.time() - 200, time.time() - 100))
    qtbot.mouseClick(charts.all, Qt.MouseButton.LeftButton)
    assert charts.throughput.plot.zoom is None


def test_another_swarm_ends_the_zoom(bench: Bench, charts: Any) -> None:
    charts.loss.plot._choose(Zoom(time.time() - 200, time.time() - 100))
    charts.loss.plot._move(-150.0)
    bench.dispatch(Left(), JoinBegan(swarm=replace(SWARM, run_id="other")))
    charts.redraw()
    for chart in (charts.loss, charts.throughput):
        assert chart.plot.zoom is None
        assert not chart.plot.has_reading
    assert not charts.all.isVisible()


def test_a_zoom_shows_what_the_finer_ring_knows(bench: Bench, charts: Any, qtbot: QtBot) -> None:
    bench.fill_history(3000)
    qtbot.mouseClick(charts.group.button(1), Qt.MouseButton.LeftButton)
    now = time.time()
    steps = np.diff(charts.loss.plot.lines.own.getOriginalDataset()[0])
    assert np.nanmax(steps) == pytest.approx(12)
    charts.loss.plot._choose(Zoom(now - 200, now - 100))
    x, _values = charts.loss.plot.lines.own.getOriginalDataset()
    assert np.diff(x).max() == pytest.approx(1)
    assert ((x > -200) & (x < -100)).sum() > 90


def test_values_and_axis_follow_what_is_shown(bench: Bench, charts: Any) -> None:
    now, history = time.time(), charts._history
    history.loss.add(now - 0.5, 900.0)
    best = Evaluated(epoch=1, loss=0.1, bits_per_byte=0.1, tokens=9, seconds=1.0, time=now)
    bench.dispatch(best)
    charts.redraw()
    assert charts.loss.plot._item.getViewBox().viewRange()[1][0] < 0.1
    assert charts.loss.plot._item.getViewBox().viewRange()[1][1] > 100
    charts.loss.plot._choose(Zoom(now - 400, now - 200))
    low, high = charts.loss.plot._item.getViewBox().viewRange()[1]
    assert 2 < low < high < 10  # though the best loss of all is lower
    ticks = [text for _x, text in charts.loss.plot._item.getAxis("bottom")._tickLevels[0]]
    assert len(ticks) >= 2
    assert all(":" in text for text in ticks)  # by the clock: what is shown stands still
    charts.loss.menu.copy_csv()
    assert 150 < len(QGuiApplication.clipboard().text().splitlines()) < 210


# --- keys


def test_keys_zoom_move_and_show_all(charts: Any, qtbot: QtBot) -> None:
    plot = charts.loss.plot
    before = width(charts.loss)
    plot.widget.setFocus()
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
        qtbot.keyClick(plot.widget, key)
    assert width(charts.throughput) == pytest.approx(before / 1.5**2)
    assert plot.zoom.follows  # the newest values stay in sight
    assert plot.widget.accessibleDescription().startswith("From ")
    shown = plot.shown
    qtbot.keyClick(plot.widget, Qt.Key.Key_Left, SHIFT)
    assert plot.shown.low == pytest.approx(shown.low - (shown.high - shown.low) / 4)
    assert not plot.zoom.follows
    assert not plot.has_reading
    qtbot.keyClick(plot.widget, Qt.Key.Key_Minus)
    assert width(charts.loss) == pytest.approx(before / 1.5)
    qtbot.keyClick(plot.widget, Qt.Key.Key_0)
    assert plot.zoom is None
    qtbot.keyClick(plot.widget, Qt.Key.Key_Plus)
    qtbot.keyClick(plot.widget, Qt.Key.Key_Home)
    assert plot.zoom is None


def test_the_crosshair_takes_what_is_shown_along(charts: Any, qtbot: QtBot) -> None:
    plot = charts.loss.plot
    for _ in range(6):
        qtbot.keyClick(plot.widget, Qt.Key.Key_Plus)
    shown = plot.shown
    for _ in range(101):
        qtbot.keyClick(plot.widget, Qt.Key.Key_Left)
    assert plot.shown.low < shown.low
    assert plot.shown.low <= plot._cross + plot._drawing.axis.origin <= plot.shown.high


def test_a_chart_with_the_focus_is_framed_and_told_how_to_use(charts: Any) -> None:
    plot = charts.loss.plot
    box = plot._item.getViewBox()
    assert box.border.style() == Qt.PenStyle.NoPen or box.border.widthF() == 0
    plot.widget.setFocus()
    assert box.border.color().name() == plot._theme.colors.focus
    assert box.border.style() == Qt.PenStyle.SolidLine
    assert "zoom" in plot.widget.accessibleDescription()
    assert all(name_of(each) for each in (charts.along, charts.smoothing, charts.all))


# --- smoothing


def test_smoothing_is_said_and_what_was_measured_stays(charts: Any) -> None:
    raw = charts.loss.plot.lines.own.getOriginalDataset()[1]
    charts.smoothing.setCurrentIndex(2)
    lines = charts.loss.plot.lines
    smooth = lines.own.getOriginalDataset()[1]
    assert np.nanstd(smooth) < np.nanstd(raw) / 2
    assert lines.own_raw.isVisible()
    assert np.nanstd(lines.own_raw.getOriginalDataset()[1]) == pytest.approx(
        np.nanstd(raw), rel=0.1
    )
    assert lines.own_raw.opts["pen"].color().alpha() < 120
    assert charts.loss.smoothed.isVisibleTo(charts.loss)
    assert charts.loss.smoothed.text() == "Very smooth"
    times = lines.own.getOriginalDataset()[0]
    charts.loss.plot.put_crosshair(float(times[len(times) // 2]))
    assert charts.loss.own.text().startswith("≈ ")  # it is no measured value
    charts.loss.plot.put_crosshair(None)
    charts.loss.menu.copy_csv()
    values = [
        float(line.split(",")[1])
        for line in QGuiApplication.clipboard().text().splitlines()[1:]
        if line.split(",")[1]
    ]
    assert np.std(values) == pytest.approx(np.nanstd(raw), rel=0.1)
    charts.smoothing.setCurrentIndex(0)
    assert not lines.own_raw.isVisible()
    assert not charts.loss.smoothed.isVisibleTo(charts.loss)


def test_a_smoothed_curve_begins_at_its_first_value_and_after_each_gap() -> None:
    values = np.array([4.0, 2.0, math.nan, 1.0, 1.0])
    for smoothing in (Smoothing.LIGHT, Smoothing.STRONG):
        found = smoothing.applied_to(values)
        assert found[0] == 4.0
        assert 2.0 < found[1] < 4.0
        assert math.isnan(found[2])
        assert found[3:].tolist() == [1.0, 1.0]
    assert Smoothing.NONE.applied_to(values) is values


def test_what_is_read_at_the_crosshair_never_pushes_the_charts_apart(
    bench: Bench, charts: Any
) -> None:
    timeline = bench.session.timeline
    timeline._clock = lambda: time.time() - 100
    timeline.add(HappeningKind.ROUND_FAILED, "why")
    charts.redraw()
    for chart in (charts.loss, charts.throughput):
        before = chart.minimumSizeHint().width()
        chart.plot._move(-100.0)
        assert chart.moment.full.endswith("An averaging round failed")
        assert (
            chart.minimumSizeHint().width() <= before + chart.fontMetrics().averageCharWidth() * 6
        )


# --- the x axis


def test_the_curves_can_run_along_epochs_and_samples(bench: Bench, charts: Any) -> None:
    assert not charts.along.isEnabled()  # nothing is known of the run's progress
    now, history = time.time(), bench.session.history
    for age in range(600, 0, -2):
        history.swarm_epoch.add(now - age, 12 - age / 100)
    charts.redraw()
    assert charts.along.isEnabled()
    charts.along.setCurrentIndex(1)
    chart = charts.loss
    x, _values = chart.plot.lines.own.getOriginalDataset()
    assert x[0] == pytest.approx(6.0, abs=0.1)
    assert x[-1] == pytest.approx(12.0, abs=0.1)
    ticks = [text for _x, text in chart.plot._item.getAxis("bottom")._tickLevels[0]]
    assert {"8", "10"} <= set(ticks)
    chart.plot._move(9.0)
    assert chart.moment.full == "epoch 9.00"
    assert charts.throughput.moment.full == "epoch 9.00"
    chart.plot._choose(Zoom(8.0, 9.0))
    assert width(charts.throughput) == pytest.approx(1.0)
    charts.along.setCurrentIndex(2)
    assert chart.plot.zoom is None
    assert not chart.plot.has_reading  # epoch 9 would be sample 9
    x, _values = chart.plot.lines.own.getOriginalDataset()
    assert x[-1] == pytest.approx(12 * SWARM.target_batch_size, rel=0.01)
    chart.menu.copy_csv()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0] == "time,samples,this_machine,swarm,chart,run,x_axis,y_axis"
    assert "Samples of the swarm" in lines[1]


def test_what_a_swarm_went_back_behind_is_left_out() -> None:
    times = np.arange(0.0, 8.0)
    axis = XAxis(
        now=8.0,
        kind=AxisKind.EPOCH,
        times=times,
        epochs=np.array([1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 5.0]),
    )
    placed = axis.place(times)
    assert [None if math.isnan(x) else x for x in placed] == [1, 2, None, None, 2, 3, 4, 5]
    assert axis.full(0.0) == (1.0, 5.0)
    assert np.isnan(axis.place(np.array([-60.0, 90.0]))).all()  # nobody knows how far it was then


def test_few_points_are_seen_as_dots_that_fill_the_chart(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(5)
    charts = bench.window.overview.charts.widget
    qtbot.mouseClick(charts.group.button(1), Qt.MouseButton.LeftButton)
    chart = charts.loss
    assert width(chart) <= 15.1  # of the hour that was chosen, no more than is known
    assert chart.plot.lines.own.getOriginalDataset()[0].size >= 4  # the seconds, not their mean
    assert chart.plot.lines.own.opts["symbol"] == "o"
    bench.fill_history(60)
    assert chart.plot.lines.own.opts["symbol"] is None


# --- sections


def test_sections_stay_on_the_axis() -> None:
    half = magnified(FULL, FULL, 2, 50.0)
    assert half == Zoom(25.0, 75.0)
    assert magnified(FULL, FULL, 2, None) == Zoom(50.0, 100.0, follows=True)
    assert magnified(half, FULL, 0.5, None) is None
    assert moved(half, FULL, 9.0) == Zoom(50.0, 100.0, follows=True)
    assert moved(half, FULL, -9.0) == Zoom(0.0, 50.0)
    assert section(-50.0, 500.0, FULL) is None
    assert Zoom(50.0, 100.0, follows=True).within(0.0, 120.0) == Zoom(70.0, 120.0, follows=True)
    assert Zoom(25.0, 75.0).within(40.0, 60.0) == Zoom(40.0, 60.0)
    deep = FULL
    for _ in range(100):
        deep = magnified(deep, FULL, 1.5, 50.0)
    assert deep.high - deep.low == pytest.approx(100 / MOST)


# --- pictures and files


def test_a_picture_says_what_it_shows(bench: Bench, charts: Any, tmp_path: Path) -> None:
    about = {"chart": "Loss", "run": "Poems", "x_axis": "Time", "y_axis": "nats"}
    plain = charts.loss.grab().toImage()
    made = captioned(charts.loss, bench.theme, about).toImage()
    assert made.width() == plain.width()
    strip = (made.height() - plain.height()) // 2
    assert strip > 20
    for top, other in ((0, {"run": "Prose"}), (made.height() - strip, {"x_axis": "Epochs"})):
        area = (0, top, made.width(), strip)
        again = captioned(charts.loss, bench.theme, about | other).toImage()
        assert again.copy(*area) != made.copy(*area)
    charts.loss.menu.save_picture(tmp_path / "loss.png")
    assert QImage(str(tmp_path / "loss.png")).height() == made.height()
    assert charts.loss.menu.button.isVisible()


def test_a_title_of_others_is_no_formula_and_no_column() -> None:
    table = ValueTable(("time", "a"), [("now", 1.0)], {"run": '=cmd|"x",1'})
    assert table.as_csv() == 'time,a,run\nnow,1.0,"\'=cmd|""x"",1"\n'


def test_a_plot_without_any_values_can_be_zoomed(bench: Bench, qtbot: QtBot) -> None:
    plot = TimePlot(bench.theme, name="Nothing", from_zero=False)
    qtbot.addWidget(plot.widget)
    plot.draw(Drawing(axis=XAxis(now=0.0, kind=AxisKind.EPOCH), start=0.0, own=Curve()))
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_Minus, Qt.Key.Key_Left, Qt.Key.Key_Home):
        qtbot.keyClick(plot.widget, key)
    assert plot.zoom is None


# --- what is chosen


def test_what_the_charts_show_holds_for_all_pages_and_the_next_start(
    bench: Bench, charts: Any
) -> None:
    bench.open("Swarm")
    others = bench.window.swarm.widget.charts
    others.smoothing.setCurrentIndex(2)
    others.group.button(1).click()
    assert charts.smoothing.currentIndex() == 2
    assert charts.group.checkedId() == 1
    charts.along.setCurrentIndex(1)
    assert others.along.currentData() == AxisKind.EPOCH
    bench.window.show_closing()
    again = ChartChoices(bench.session.folders.data / FILE_NAME)
    assert again.view == ChartView(AxisKind.EPOCH, Smoothing.STRONG, 3600.0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"along": "years", "smoothing": 3}',
        '{"along": "", "smoothing": "", "seconds": 7}',
    ],
)
def test_a_damaged_note_of_what_the_charts_show_changes_nothing(
    make_bench: Callable[[], Bench], tmp_path: Path, content: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "charts.json").write_text(content, encoding="utf-8")
    charts = make_bench().window.overview.charts.widget
    assert charts.along.currentData() == AxisKind.TIME
    assert charts.smoothing.currentData() == Smoothing.NONE
    assert charts.group.checkedId() == 0


def test_the_crosshairs_reading_takes_the_place_of_the_smoothing(charts: Any) -> None:
    charts.smoothing.setCurrentIndex(2)
    chart = charts.loss
    assert chart.smoothed.isVisible()
    chart.plot.put_crosshair(chart.plot.shown.high - 60)
    assert not chart.smoothed.isVisible()
    chart.plot.put_crosshair(None)
    assert chart.smoothed.isVisible()
