"""The charts: values, gaps, crosshair, copies, and no drawing while they are hidden."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QMouseEvent
from PySide6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from app import protocol
from app.timeline.timeline import HappeningKind
from tests.support.gui.windows import TRAINING, WATCHING, Bench
from ui.widgets.charts.axes import value_range, value_ticks
from ui.widgets.charts.chart import table_of
from ui.widgets.charts.curves import Curve, CurveReading
from ui.widgets.charts.x_axis import XAxis, ago_ticks

pytestmark = pytest.mark.gui


def data(line: Any) -> tuple[np.ndarray, np.ndarray]:
    return line.getOriginalDataset()


def start(chart: Any) -> float:
    """The left end of what is shown, in seconds from now."""
    return float(chart.plot._item.getViewBox().viewRange()[0][0])


def test_both_curves_are_drawn_with_their_gaps(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    bench.fill_history(300, gap=range(100, 160))
    charts = bench.window.overview.charts.widget
    charts.redraw()
    times, values = data(charts.loss.plot.lines.own)
    assert times.dtype == np.float64
    assert -301 < times[0] < times[-1] <= 0.5
    assert np.isnan(values).sum() == 1  # one point of nothing breaks the line
    _times, swarm = data(charts.loss.plot.lines.swarm)
    assert np.isfinite(swarm).all()
    _times, rates = data(charts.throughput.plot.lines.own)
    assert 80 <= np.nanmin(rates) <= np.nanmax(rates) <= 89


def test_the_window_of_time_is_chosen(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(3000)
    charts = bench.window.overview.charts.widget
    assert start(charts.loss) == pytest.approx(-600, abs=2)
    qtbot.mouseClick(charts.group.button(1), Qt.MouseButton.LeftButton)
    assert start(charts.loss) == pytest.approx(-3000, abs=30)
    qtbot.mouseClick(charts.group.button(3), Qt.MouseButton.LeftButton)
    assert start(charts.loss) == pytest.approx(-3000, abs=30)
    assert len(data(charts.loss.plot.lines.own)[0]) > 200


def move_mouse(chart: Any, x: float) -> None:
    widget = chart.plot.widget
    box = chart.plot._item.getViewBox()
    position = widget.mapFromScene(box.mapViewToScene(QPointF(x, 3.5)))
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(position),
        QPointF(widget.viewport().mapToGlobal(QPoint(position))),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(widget.viewport(), event)


def test_the_crosshair_reads_values(bench: Bench) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(300)
    chart = bench.window.overview.charts.widget.loss
    move_mouse(chart, -120.0)
    assert 3 <= float(chart.own.text()) <= 4
    assert 3 <= float(chart.swarm.text()) <= 4
    assert chart.moment.full.count(":") == 2
    QApplication.sendEvent(chart.plot.widget, QEvent(QEvent.Type.Leave))
    assert chart.own.text() == "this machine"
    assert chart.moment.full == ""


def test_both_charts_have_the_crosshair_at_one_moment(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    bench.fill_history(300)
    charts = bench.window.overview.charts.widget
    charts.redraw()
    for moved, other in ((charts.loss, charts.throughput), (charts.throughput, charts.loss)):
        move_mouse(moved, -100.0)
        assert other.plot.has_reading
        assert other.plot._cross == moved.plot._cross
        assert other.moment.full == moved.moment.full
        moved.plot._move(None)
        assert not other.plot.has_reading


def test_the_crosshair_moves_by_keyboard(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(300)
    plot = bench.window.overview.charts.widget.loss.plot
    readings: list[CurveReading] = []
    plot.reading_changed.connect(readings.append)
    qtbot.keyClick(plot.widget, Qt.Key.Key_Left)
    qtbot.keyClick(plot.widget, Qt.Key.Key_Left)
    assert readings[0].x > readings[-1].x
    assert "this machine" in plot.widget.accessibleDescription()


def test_copies_as_picture_and_csv(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(60)
    chart = bench.window.overview.charts.widget.loss
    qtbot.waitUntil(lambda: not chart.size().isEmpty())  # it was laid out
    chart.menu.copy_csv()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0] == "time,this_machine,swarm,chart,run,x_axis,y_axis"
    assert 55 <= len(lines) <= 65
    chart.menu.copy_picture()
    assert not QGuiApplication.clipboard().pixmap().isNull()


def evaluated(epoch: int, loss: float) -> protocol.Evaluated:
    return protocol.Evaluated(
        epoch=epoch,
        loss=loss,
        bits_per_byte=loss / math.log(2),
        tokens=4096,
        seconds=0.5,
        time=time.time(),
    )


def test_losses_on_unseen_text_are_drawn_beside_those_of_training(bench: Bench) -> None:
    bench.dispatch(*TRAINING, evaluated(10, 3.5), evaluated(20, 3.75))
    bench.fill_history(300)
    now, history = time.time(), bench.session.history
    history.held_out_loss.add(now - 200, 3.5)
    history.held_out_loss.add(now - 100, 3.75)  # minutes apart, and yet a line
    history.swarm_held_out_loss.add(now - 50, 3.7)
    charts = bench.window.overview.charts.widget
    charts.redraw()
    chart, other = charts.loss, charts.throughput
    times, values = data(chart.plot.lines.own_unseen)
    assert values.tolist() == [3.5, 3.75]
    assert times.tolist() == pytest.approx([-200, -100], abs=2)
    assert chart.plot.lines.best.value() == 3.5
    assert chart.unseen.isVisibleTo(chart)
    assert not other.unseen.isVisibleTo(other)
    move_mouse(chart, -120.0)
    assert chart.unseen.text() == "unseen text: 3.750"
    chart.menu.copy_csv()
    header = QGuiApplication.clipboard().text().splitlines()[0]
    assert header.startswith("time,this_machine,swarm,this_machine_unseen,swarm_unseen,chart,")


def test_what_explains_a_curve_is_marked_and_said(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    bench.fill_history(300)
    timeline = bench.session.timeline
    for ago, kind in ((200, HappeningKind.PAUSED), (100, HappeningKind.ROUND_FAILED)):
        timeline._clock = lambda ago=ago: time.time() - ago
        timeline.add(kind, "why")
    timeline.add(HappeningKind.LOST)
    charts = bench.window.overview.charts.widget
    charts.redraw()
    for chart in (charts.loss, charts.throughput):
        paused, _heights = data(chart.plot.lines.rest_marks)
        assert paused == pytest.approx([0, 0, -200, -200], abs=2)  # it began just now
        trouble, heights = data(chart.plot.lines.trouble_marks)
        assert trouble == pytest.approx([-100] * 4, abs=2)
        assert heights[0] < heights[1]
    move_mouse(charts.loss, -200.0)
    assert charts.loss.moment.full.endswith("Training paused")
    charts.loss.plot._move(-250.0)  # pyqtgraph drops a second move of the mouse within 10 ms
    assert charts.loss.moment.full[-3] == ":"  # the time alone


def test_csv_leaves_empty_what_is_not_known() -> None:
    own = Curve(np.array([0.0, 1.0]), np.array([2.5, math.nan]))
    swarm = Curve(np.array([1.0]), np.array([3.0]))
    named = {"this_machine": own, "swarm": swarm}
    table = table_of(named, axis=XAxis(now=1.0), about={})
    first, second = table.as_csv().splitlines()[1:]
    assert first.endswith(",2.5,")
    assert second.endswith(",,3.0")


def test_values_are_saved_as_csv_and_json(bench: Bench, tmp_path: Path) -> None:
    bench.dispatch(*WATCHING)
    bench.fill_history(60, gap=range(20, 30))
    menu = bench.window.overview.charts.widget.loss.menu
    menu.save(tmp_path / "loss.csv")
    lines = (tmp_path / "loss.csv").read_text().splitlines()
    menu.save(tmp_path / "loss.JSON")
    document = json.loads((tmp_path / "loss.JSON").read_text())
    about = {name: document[name] for name in ("chart", "run", "x_axis", "y_axis")}
    assert list(about.values()) == [
        "Loss",
        "Python's documentation",
        "Time",
        "cross-entropy per token",
    ]
    rows = document["rows"]
    assert lines[0] == ",".join([*rows[0], *about])
    assert lines[1].endswith(",Loss,Python's documentation,Time,cross-entropy per token")
    assert len(lines) - 1 == len(rows)
    assert sum(row["this_machine"] is None for row in rows) == 10
    assert all(row["swarm"] > 3 for row in rows)


def test_a_place_that_cant_be_written_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.dispatch(*WATCHING)
    chart = bench.window.overview.charts.widget.loss
    chart.menu.save(tmp_path / "missing" / "loss.csv")
    (box,) = chart.findChildren(QMessageBox)
    assert "can't be written" in box.text()
    box.close()


def test_nothing_is_drawn_while_hidden(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.dispatch(*TRAINING)
    bench.fill_history(60)
    charts = bench.window.overview.charts.widget
    assert charts._timer.isActive()
    assert charts._timer.interval() >= 500
    bench.open("Log")
    assert not charts._timer.isActive()
    drawn: list[object] = []
    monkeypatch.setattr(charts.loss, "draw", lambda *args, **_: drawn.append(args))
    charts.redraw()
    assert drawn == []
    bench.open("Overview")
    assert drawn


def test_thousand_updates_cost_no_reference_to_none(bench: Bench) -> None:
    """PySide6 6.12.0 on Python 3.11 dropped some 20 references to None at each update, until the
    interpreter aborted."""
    bench.dispatch(*WATCHING)
    bench.fill_history(120)
    charts = bench.window.overview.charts.widget
    charts.redraw()
    before = sys.getrefcount(None)
    for _ in range(1000):
        charts.redraw()
    QApplication.processEvents()
    assert sys.getrefcount(None) > before - 100


def test_down_sampling_is_set_where_pyqtgraph_heeds_it(bench: Bench) -> None:
    line = bench.window.overview.charts.widget.loss.plot.lines.own
    assert line.opts["autoDownsample"]
    assert line.opts["downsampleMethod"] == "peak"
    assert line.opts["clipToView"]
    assert line.opts["pen"].width() == 1  # wider and antialiased is many times slower


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0.0, 1.0)),
        ([2.0], (2.0, 2.5)),
        ([0.0, 650.0], (0.0, 800.0)),
        ([2.1, 5.4], (2.0, 6.0)),
        ([5.46052, 5.46071], (5.4605, 5.4608)),
    ],
)
def test_the_value_axis_has_round_ends(values: list[float], expected: tuple[float, float]) -> None:
    low, high, step = value_range(np.array(values), np.array([math.nan]), from_zero=False)
    assert low == pytest.approx(expected[0])
    assert high >= expected[1] * 0.99
    assert 2 <= len(value_ticks(low, high, step)) <= 8


@pytest.mark.parametrize(
    ("start", "first"), [(-60, "−15 s"), (-600, "−5 min"), (-3600, "−30 min"), (-86400, "−6 h")]
)
def test_the_time_axis_has_few_round_marks(start: float, first: str) -> None:
    ticks = ago_ticks(start)
    assert ticks[0] == (0.0, "now")
    assert 2 <= len(ticks) <= 6
    assert first in [text for _place, text in ticks]
