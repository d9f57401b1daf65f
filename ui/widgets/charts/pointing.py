"""Where on a plot somebody looks, by the pointer or the arrow keys."""

from typing import Any

from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent
from typing_extensions import override

_STEPS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}


class Pointing(QObject):
    """Watches a `pyqtgraph.PlotWidget`. ``moved`` carries the x under the pointer, or None when
    nobody looks any more; ``stepped`` 1 for the key to the right, -1 for that to the left."""

    moved = Signal(object)
    stepped = Signal(int)

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
