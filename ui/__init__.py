"""The window: the only place with PySide6, pyqtgraph and qasync."""

import os

os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")  # or pyqtgraph takes whichever Qt it finds
