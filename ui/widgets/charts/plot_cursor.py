"""Pointer and arrow keys on a plot, as signals that move its crosshair or selection."""

from typing import Any

from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent
from typing_extensions import override

_STEPS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}


class PlotCursor(QObject):
    """Watches the pointer and the arrow keys of a `pyqtgraph.PlotWidget`."""

    moved = Signal(object)
    """Carries the x coordinate under the pointer, or None when pointer or focus leaves the plot."""

    stepped = Signal(int)
    """Carries 1 for the right arrow key, -1 for the left one."""

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        self._box: Any = widget.getPlotItem().getViewBox()
        widget.installEventFilter(self)
        widget.scene().sigMouseMoved.connect(self._on_mouse)

    def _on_mouse(self, position: QPointF) -> None:
        inside = self._box.sceneBoundingRect().contains(position)
        self.moved.emit(float(self._box.mapSceneToView(position).x()) if inside else None)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Leave, QEvent.Type.FocusOut):
            self.moved.emit(None)
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = _STEPS.get(Qt.Key(event.key()))
            if step is not None:
                self.stepped.emit(step)
                return True
        return False
