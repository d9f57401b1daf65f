"""Count starts that failed in a row, so that the app can offer a start without the settings.

Costs reading and writing a small file before the window is painted.
"""

import contextlib
from pathlib import Path

FAILURES = 2
"""After so many failed starts in a row, `begin` returns True."""


class StartGuard:
    """Keeps the number of starts in a row that have begun and not succeeded in ``file``."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self) -> bool:
        """Count a start; returns whether the last `FAILURES` starts failed."""
        failed = self._failed()
        with contextlib.suppress(OSError):  # a full disk is reported elsewhere
            self._file.write_text(str(failed + 1), encoding="ascii")
        return failed >= FAILURES

    def succeed(self) -> None:
        """Reset the count: the app is up, or the user ended it. May be called twice."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _failed(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # no file, or not a number
            return 0
