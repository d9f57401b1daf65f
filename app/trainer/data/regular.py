"""Open files that a spec names: regular ones only, since a device or a pipe may never end."""

import errno
import os
import stat
from pathlib import Path
from typing import IO

from app.common.i18n import _

_KERNEL_FOLDERS = ("/proc", "/sys")
"""Their files look like regular ones, but tell of this machine and its processes."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read. Raises `OSError`, also for what is no regular file."""
    status_of_regular(path)  # opening alone makes some devices act
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor))  # the name may lead elsewhere by now
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def status_of_regular(path: Path) -> os.stat_result:
    """The status of a file. Raises `OSError`, also for what is no regular file."""
    status = path.stat()
    _check(status)
    return status


def _check(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, _("it is a folder"))
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_devices():
        raise OSError(errno.EINVAL, _("it is no regular file"))


def _kernel_devices() -> set[int]:
    return {os.stat(folder).st_dev for folder in _KERNEL_FOLDERS if os.path.exists(folder)}  # noqa: PTH110, PTH116
