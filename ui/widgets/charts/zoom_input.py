"""Wheel, drags, double clicks and keys on a plot, as signals that change what it shows.

The wheel belongs to the page: it zooms only while the plot has the focus or Ctrl is held.
"""

from typing import Any

from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication
from typing_extensions import override

from ui.widgets.charts.zoom import STEP

_NOTCH = 120
"""A wheel's usual notch, in eighths of a degree."""

_KEY_MOVES = 0.25
"""Of what is shown, by which one key press moves it."""

_MAGNIFIES = {
    Qt.Key.Key_Plus: STEP,
    Qt.Key.Key_Equal: STEP,  # the same key as + without Shift, on many keyboards
    Qt.Key.Key_Minus: 1 / STEP,
}
_RESETS = (Qt.Key.Key_Home, Qt.Key.Key_0)
_MOVES = {
    Qt.Key.Key_Left: -_KEY_MOVES,
    Qt.Key.Key_Right: _KEY_MOVES,
}
_COMMANDS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
_SHIFT = Qt.KeyboardModifier.ShiftModifier


class ZoomInput(QObject):
    """Watches a `pyqtgraph.PlotWidget`. All x are in the plot's coordinates."""

    magnified = Signal(float, object)
    """Carries by how much, and around which x, or None."""

    moved = Signal(float)
    """Carries the part of what is shown by which it moves to the right."""

    selecting = Signal(float, float)
    """Carries the two ends of the range that is being drawn."""

    selected = Signal(float, float)
    """The same, when the button is let go."""

    reset = Signal()
    focused = Signal(bool)

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        self._widget = widget
        self._box: Any = widget.getPlotItem().getViewBox()
        self._pressed: QPointF | None = None
        self._draws = False
        widget.installEventFilter(self)
        widget.viewport().installEventFilter(self)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent):
            return event.type() == QEvent.Type.KeyPress and self._on_key(event)
        if isinstance(event, QWheelEvent):
            return self._on_wheel(event)
        if isinstance(event, QMouseEvent) and watched is not self._widget:
            self._on_mouse(event)
        elif event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self.focused.emit(event.type() == QEvent.Type.FocusIn)
        return False

    # --- keys

    def _on_key(self, event: QKeyEvent) -> bool:
        key, modifiers = Qt.Key(event.key()), event.modifiers()
        if modifiers & _COMMANDS:
            return False
        if key in _RESETS:
            self.reset.emit()
        elif key in _MAGNIFIES:
            self.magnified.emit(_MAGNIFIES[key], None)
        elif key in _MOVES and modifiers & _SHIFT:
            self.moved.emit(_MOVES[key])
        else:
            return False
        return True

    # --- the wheel

    def _on_wheel(self, event: QWheelEvent) -> bool:
        held = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        if not (held or self._widget.hasFocus()):
            event.ignore()  # so that Qt hands it to the page
            return True
        turned = event.angleDelta()
        if abs(turned.x()) > abs(turned.y()):
            self.moved.emit(-turned.x() / _NOTCH * _KEY_MOVES)
        elif turned.y():
            self.magnified.emit(STEP ** (turned.y() / _NOTCH), self._x_at(event.position()))
        event.accept()
        return True

    # --- the mouse

    def _on_mouse(self, event: QMouseEvent) -> None:
        left = Qt.MouseButton.LeftButton
        match event.type():
            case QEvent.Type.MouseButtonPress if event.button() is left:
                self._pressed, self._draws = event.position(), False
            case QEvent.Type.MouseMove if self._pressed is not None and event.buttons() & left:
                self._drag(event)
            case QEvent.Type.MouseButtonRelease if event.button() is left:
                if self._draws and self._pressed is not None:
                    self.selected.emit(*self._range(self._pressed, event.position()))
                self._pressed, self._draws = None, False
            case QEvent.Type.MouseButtonDblClick if event.button() is left:
                self._pressed = None
                self.reset.emit()

    def _drag(self, event: QMouseEvent) -> None:
        assert self._pressed is not None
        way = event.position().x() - self._pressed.x()
        if event.modifiers() & _SHIFT and not self._draws:
            self._pressed = event.position()
            self.moved.emit(-way / max(1.0, self._box.width()))
        elif self._draws or abs(way) >= QApplication.startDragDistance():
            self._draws = True
            self.selecting.emit(*self._range(self._pressed, event.position()))

    def _range(self, one: QPointF, other: QPointF) -> tuple[float, float]:
        ends = self._x_at(one), self._x_at(other)
        return min(ends), max(ends)

    def _x_at(self, position: QPointF) -> float:
        """The x under a point of the widget, or that of the nearest end."""
        scene = self._widget.mapToScene(position.toPoint())
        low, high = map(float, self._box.viewRange()[0])
        return min(high, max(low, float(self._box.mapSceneToView(scene).x())))
