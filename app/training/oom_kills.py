"""Did the kernel kill a process for its memory just now? It counts them for the whole machine."""

import contextlib
from collections import deque
from pathlib import Path

KERNEL_COUNTERS = Path("/proc/vmstat")
"""Where Linux counts, among much else, the processes that it killed for their memory."""

LOOKS = 5
"""So many looks back is just now. A process that is killed takes a while to give its memory back,
and only then is its end seen."""


class OomKills:
    """The kernel's count, as it was at the last looks."""

    def __init__(self) -> None:
        self._counts = deque((_count(),), maxlen=LOOKS)

    def look(self) -> None:
        """Note the count of this moment."""
        self._counts.append(_count())

    @property
    def any_just_now(self) -> bool:
        """It has grown since the oldest of the looks."""
        return _count() > self._counts[0]


def _count() -> int:
    """How many processes it has killed since it started; 0 where it doesn't say."""
    with contextlib.suppress(OSError):
        for line in KERNEL_COUNTERS.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
