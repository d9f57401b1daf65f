"""Where an export goes: written beside its place, and put there when it is complete."""

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

from app.common.errors import BusyError, ExportError
from app.common.i18n import _
from app.takeout.marker import MARKER, files_of


def default_folder(run_id: str) -> Path:
    """Where a run's model goes if nobody says otherwise."""
    return Path.home() / "models" / run_id


class ExportTarget:
    """A folder that appears when it is complete, in place of an earlier export.

    `claim` it first, write into `part`, then `put_in_place` or `discard`. What isn't an export of
    this app, or was changed since, is never deleted: with ``overwrite`` it is set aside under
    another name. All of it blocks on the disk.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder = folder.expanduser().absolute().resolve()
        self.part = self.folder.parent / f".{self.folder.name}.part"
        """Where to write: always the same name, so that a killed export leaves one folder."""
        self._overwrite = overwrite
        self._lock = -1

    def check(self) -> None:
        """Raises `ExportError` if something lies there that may not be replaced."""
        if not self.folder.name:
            raise ExportError(
                _("is no folder to write to."),
                field=str(self.folder),
                remedy=_("Choose another folder."),
            )
        if not os.path.lexists(self.folder) or self._overwrite or self._may_be_replaced():
            return
        raise ExportError(
            _("something else than an export of this app lies there, or one that was changed."),
            field=str(self.folder),
            remedy=_(
                "Choose a new folder. If you allow overwriting (--overwrite), it is set aside"
                " under another name."
            ),
        )

    def _may_be_replaced(self) -> bool:
        try:
            is_empty = not any(self.folder.iterdir())
        except OSError:
            return False
        return is_empty or files_of(self.folder) is not None

    def claim(self) -> None:
        """Make the empty folder `part`. Raises `ExportError`, or `BusyError` while another export
        goes to the same place."""
        self.check()
        try:
            self.part.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.part, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(self.part.parent, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise BusyError(
                _("another export is being written there."),
                field=str(self.folder),
                remedy=_("Wait for it, or choose another folder."),
            ) from error
        self._lock = lock
        for left in self.part.iterdir():  # by an export that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def put_in_place(self) -> Path | None:
        """Give the complete folder its name; returns where something else was set aside to.

        Raises `ExportError`, with what lay there where it was.
        """
        aside: Path | None = None
        try:
            if os.path.lexists(self.folder):
                aside = self._moved_aside()
            try:
                self.part.rename(self.folder)
            except OSError:
                if aside is not None:
                    aside.rename(self.folder)
                raise
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._release()
        if aside is not None and self._delete_earlier(aside):
            return None
        return aside

    def _moved_aside(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        aside = self.folder.with_name(f"{self.folder.name}.before-{stamp}-{os.getpid()}")
        self.folder.rename(aside)
        return aside

    def _delete_earlier(self, aside: Path) -> bool:
        """Delete an earlier export of ours; False for anything else."""
        if aside.is_symlink() or not aside.is_dir():
            return False
        if any(aside.iterdir()) and files_of(aside) is None:
            return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def discard(self) -> None:
        """Delete what was written. May be called twice, and after `put_in_place`."""
        if self._lock >= 0:
            shutil.rmtree(self.part, ignore_errors=True)
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, -1
        with contextlib.suppress(OSError):
            os.close(lock)


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(
        _("can't be written: {reason}.").format(reason=error.strerror or error),
        field=str(folder),
        remedy=_("Choose another folder."),
    )


def check_is_export(folder: Path) -> None:
    """Raises `ExportError` for a folder that this app didn't export, or only in part."""
    if not (folder / MARKER).is_file():
        raise ExportError(
            _("is no folder that this app exported."),
            field=str(folder),
            remedy=_("Export the model first."),
        )
