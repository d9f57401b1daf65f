"""The mouse wheel scrolls the page; it changes a field only where the user is working in it."""

import ast

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QComboBox, QWidget
from pytestqt.qtbot import QtBot

from tests.support.gui.windows import Bench
from tests.support.processes.apps import ROOT
from ui.widgets.charts.axes import new_plot

pytestmark = pytest.mark.gui

ALLOWED = {"ui/widgets/choice.py"}
WHEELED = {"QComboBox", "QSpinBox", "QDoubleSpinBox", "QSlider", "QDial", "QDateEdit", "QTimeEdit"}


def turn_wheel(widget: QWidget, *, by: int, at: QPoint | None = None) -> QWheelEvent:
    """Turn the wheel over a place of a widget, its middle by default. by: in eighths of a
    degree."""
    place = widget.rect().center() if at is None else at
    event = QWheelEvent(
        QPointF(place),
        QPointF(widget.mapToGlobal(place)),
        QPoint(),
        QPoint(0, by),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event


def choices(root: QWidget) -> list[QComboBox]:
    return [box for box in root.findChildren(QComboBox) if box.count() > 1 and box.isEnabled()]


def test_scrolling_past_a_choice_changes_nothing(bench: Bench) -> None:
    for page in ("Overview", "Log", "Machines", "Swarm", "Settings"):
        bench.open(page)
    bench.window.dialogs.start()
    dialog = bench.window.dialogs._shown["start"]
    boxes = choices(bench.window) + choices(dialog)
    assert len(boxes) >= 10
    for box in boxes:
        box.clearFocus()
        before = box.currentIndex()
        for by in (-120, 120, -240):
            event = turn_wheel(box, by=by)
            assert not event.isAccepted(), box.accessibleName()  # so Qt hands it to the page
            assert box.currentIndex() == before, box.accessibleName()
        assert not box.hasFocus(), box.accessibleName()


@pytest.mark.parametrize("side", ["left", "bottom"])
def test_a_plot_s_axis_leaves_the_wheel_to_the_page(qtbot: QtBot, side: str) -> None:
    plot = new_plot()
    qtbot.addWidget(plot)
    plot.setMouseEnabled(x=False, y=False)
    with qtbot.waitExposed(plot):
        plot.show()
    place = plot.mapFromScene(plot.getAxis(side).sceneBoundingRect().center())
    assert not turn_wheel(plot.viewport(), by=120, at=place).isAccepted()


def test_a_choice_with_the_focus_follows_the_wheel(bench: Bench, qtbot: QtBot) -> None:
    bench.open("Log")
    box = choices(bench.window.log.widget)[0]
    bench.window.activateWindow()
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    before = box.currentIndex()
    turn_wheel(box, by=-120 if before == 0 else 120)
    assert box.currentIndex() != before


def test_there_is_no_field_that_the_wheel_changes_unasked() -> None:
    for file in sorted((ROOT / "ui").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        found = {
            node.func.id
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert name in ALLOWED or not found & WHEELED, name
