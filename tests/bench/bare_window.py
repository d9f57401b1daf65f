"""The baseline: a PySide6 window with one pyqtgraph plot. Prints when it was painted.

python tests/bench/bare_window.py [MODULES]

MODULES: a file with names of modules to import first, as ``imported.py`` prints them.
"""

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow


class PaintWatch(QObject):
    """Ends the program once the window was painted."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, self._painted)
        return False

    def _painted(self) -> None:
        print(time.monotonic(), flush=True)
        QApplication.quit()


if sys.argv[1:]:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    for name in json.loads(Path(sys.argv[1]).read_text()):
        with contextlib.suppress(ImportError, AttributeError):  # made at run time
            importlib.import_module(name)
application = QApplication(sys.argv)
window = QMainWindow()
plot = pg.PlotWidget()
plot.plot([1, 2, 3], [3, 1, 2])
window.setCentralWidget(plot)
window.resize(1280, 800)
watch = PaintWatch()
plot.viewport().installEventFilter(watch)
window.show()
application.exec()
