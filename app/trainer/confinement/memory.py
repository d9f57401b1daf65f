"""Hold the trainer to a share of the machine's memory, and let the kernel kill it first."""

import contextlib
from pathlib import Path

OOM_SCORE = 800
"""Added to a process's share of the memory in thousandths: when the memory runs out, the kernel
kills the process with the highest sum."""


def be_killed_first() -> None:
    """When the machine's memory runs out, the kernel kills this process and its children first."""
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
