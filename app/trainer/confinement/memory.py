"""Hold the trainer to what the machine has, and let the kernel kill it first."""

import contextlib
import logging
import resource
import sys
from pathlib import Path

import psutil

from app.common.errors import DeviceError
from app.common.i18n import _

log = logging.getLogger(__name__)

OOM_SCORE = 800
"""Added to a process's share of the memory in thousandths: when the memory runs out, the kernel
kills the process with the highest sum."""

OOM_SCORE_OF_READERS = 950
"""Of a process that only reads what trainers write: it goes before they do."""

SHARE = 0.9
"""Of the memory that is free, the trainer may take so much."""

RESERVE = 32 * 2**20
"""Bytes beyond the limit, which a process may use to tell why it ends."""

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container's limit is said, in the two versions of control groups."""

_NO_MEMORY = (
    *("allocate memory", "not enough memory", "bad_alloc", "out of memory"),
    *("failed to map segment", "can't start new thread"),  # the loader of libraries, Python
)
"""What torch, Python and the C library say when the kernel gives them no more memory."""


def be_killed_first(score: int = OOM_SCORE) -> None:
    """When the machine's memory runs out, the kernel kills this process and its children first."""
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def limit_memory(allowed: int, *, mapped_files: int = 0) -> None:
    """Let this process, and each that it starts, map only so much more private memory than now.

    allowed: bytes by the volunteer's terms, 0 for no such term. mapped_files: bytes of files that
    will be mapped to be read; the kernel counts them, although they take no memory. Only Linux has
    such a limit.
    """
    if sys.platform != "linux":
        return
    room = int(SHARE * min(psutil.virtual_memory().available, *_container_limits()))
    room = min(room, allowed) if allowed else room
    add_limit(room + mapped_files)
    log.info("each process of the trainer may take %.1f GiB more memory", room / 2**30)


def add_limit(room: int) -> None:
    """Set ``RLIMIT_DATA`` to ``room`` bytes more than is mapped now. Works on Linux only."""
    limit = mapped() + room
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard - RESERVE)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit + RESERVE))


def use_reserve() -> None:
    """Allow the last `RESERVE`: to say that the memory ran out takes some as well."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def mapped() -> int:
    """Bytes of private memory that this process has mapped, as ``RLIMIT_DATA`` counts them."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def is_for_memory(error: BaseException) -> bool:
    """The kernel gave this process no more memory."""
    # A library that overlooks that it got no memory makes Python raise a SystemError.
    is_known = isinstance(error, MemoryError | SystemError)
    return is_known or any(text in str(error).lower() for text in _NO_MEMORY)


def memory_ran_out(error: BaseException) -> DeviceError | None:
    """The error for the user, if the kernel gave this process no more memory; else None."""
    if not is_for_memory(error):
        return None
    use_reserve()
    return DeviceError(
        _("the trainer needs more memory than it may take on this machine."),
        field="terms.max_memory",
        remedy=_("Close other programs, allow more memory, or join a swarm with a smaller model."),
    )


def _container_limits() -> list[int]:
    found = [sys.maxsize]
    for file in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(file.read_text(encoding="ascii")))
    return found
