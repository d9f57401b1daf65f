"""Landlock: the kernel refuses this process, and all that it starts, every file but some."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.trainer.confinement.places import Places

if TYPE_CHECKING:
    from landlockpy import AccessFS, Ruleset

log = logging.getLogger(__name__)


def restrict(places: Places) -> str:
    """Refuse this thread, and what it starts later, all files but these; signals and abstract
    sockets of other programs as well, where the kernel can.

    Returns "", or why nothing is refused. Nothing can be taken back.
    """
    if sys.platform != "linux":
        return "Landlock exists on Linux only"
    try:
        from landlockpy import LandlockError
    except ImportError as error:
        return f"the library landlockpy is missing ({error})"
    try:
        _restrict(places)
    except LandlockError as error:
        return f"this kernel refuses Landlock ({error.strerror or error})"
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        log.warning("%d threads of the trainer started before Landlock, and aren't held", threads)
    return ""


def _restrict(places: Places) -> None:
    from landlockpy import AccessFS, AccessNet, Ruleset, Scope

    read = AccessFS.READ_FILE | AccessFS.READ_DIR
    write = (
        read
        | AccessFS.WRITE_FILE
        | AccessFS.TRUNCATE
        | AccessFS.REMOVE_DIR
        | AccessFS.REMOVE_FILE
        | AccessFS.MAKE_DIR
        | AccessFS.MAKE_REG
        | AccessFS.MAKE_SOCK
        | AccessFS.MAKE_FIFO
        | AccessFS.MAKE_SYM
        | AccessFS.REFER
    )
    control = AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.READ_DIR | AccessFS.IOCTL_DEV
    handled = write | control | AccessFS.EXECUTE | AccessFS.MAKE_CHAR | AccessFS.MAKE_BLOCK
    with Ruleset(
        handled_fs=handled,
        handled_net=AccessNet.NONE,  # a peer talks to anybody
        scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL,
    ) as rules:
        for paths, access in (
            (places.programs, read | AccessFS.EXECUTE),
            (places.inputs, read),
            (places.outputs, write),
            (places.devices, control),
        ):
            for path in paths:
                _allow(rules, path, access)
        rules.restrict()


def _allow(rules: "Ruleset", path: Path, access: "AccessFS") -> None:
    from landlockpy import AccessFS

    of_files = (
        AccessFS.READ_FILE
        | AccessFS.WRITE_FILE
        | AccessFS.TRUNCATE
        | AccessFS.EXECUTE
        | AccessFS.IOCTL_DEV
    )
    try:
        # The kernel refuses a rule for a file that has rights of folders.
        rules.allow_path(path, access if path.is_dir() else access & of_files)
    except (FileNotFoundError, PermissionError) as error:
        log.info("%s stays closed to the trainer: %s", path, error)
