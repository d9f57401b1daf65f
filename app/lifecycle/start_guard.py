"""Notices that the app doesn't come up any more, so that a start without the settings is offered.

Costs a small file's reading and writing before the window is painted.
"""

import contextlib
from pathlib import Path

FAILURES = 2
"""After so many starts in a row that came to nothing, something is wrong here."""


class StartGuard:
    """file: holds how many starts in a row have begun and not succeeded."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self) -> bool:
        """A start begins; whether the `FAILURES` before it failed."""
        failed = self._failed()
        with contextlib.suppress(OSError):  # a full disk is somebody else's to complain about
            self._file.write_text(str(failed + 1), encoding="ascii")
        return failed >= FAILURES

    def succeed(self) -> None:
        """This one came up, or the user ended it. May be called twice."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _failed(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # none, or nothing of ours
            return 0
