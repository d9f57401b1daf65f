"""The desktop window. This package alone imports PySide6, pyqtgraph and qasync.

`application` starts the process, `main_window` holds the pages, and `presence` holds the tray and
the notifications. The other modules show the state of an `app.session.Session` and call its
methods. The package knows nothing of hivemind, torch or the trainer process. Only `main` may
import it.
"""

import os

os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")  # or pyqtgraph takes whichever Qt it finds
