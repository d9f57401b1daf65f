"""The numbers of an admin's commands: each is higher than all before it."""

import fcntl
import json
import time
from pathlib import Path

from app.common.errors import LabError
from app.common.i18n import _
from app.common.paths import read_json, write_atomically

FILE_NAME = "lab-number.json"
"""In the data folder."""

_MOST_BYTES = 1024


class CommandNumbers:
    """Counts in a file, also when several programs command at once. Blocks on the file.

    The numbers grow at least as fast as the milliseconds since the epoch, so that an admin who has
    lost the file, or restored an old one, goes on above the numbers that the machines know.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self, count: int) -> range:
        """The next numbers, which nobody gets again. Raises `LabError` if they can't be noted."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                first = max(self._last() + 1, int(time.time() * 1000))
                content = json.dumps({"last": first + count - 1})
                write_atomically(self._file, content.encode())
        except OSError as error:
            raise LabError(
                _("the number of a command can't be noted: {reason}.").format(
                    reason=error.strerror or error
                ),
                field=str(self._file),
                remedy=_("Make the folder writable."),
            ) from error
        return range(first, first + count)

    def _last(self) -> int:
        try:
            content = read_json(self._file, most=_MOST_BYTES)
        except (FileNotFoundError, ValueError):
            return 0
        match content:
            case {"last": int() as last} if last < 2**52:
                return last
        return 0
