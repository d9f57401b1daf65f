"""This run of the app: the data folder is ours alone, and what we start ends with us."""

import asyncio
import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from app.common.errors import BusyError
from app.common.i18n import _
from app.common.paths import Folders
from app.lifecycle import processes
from app.lifecycle.handover import Listener, Receive, Request, hand_over

if TYPE_CHECKING:
    import filelock

log = logging.getLogger(__name__)


class Instance:
    """Holds the data folder's lock, the door for second starts and the guardian, from `take` to
    `release`."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock: filelock.BaseFileLock | None = None
        self._door: Listener | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    async def take(self, receive: Receive | None = None) -> None:
        """Take the data folder, and end what a run that crashed has left.

        receive: called with what a second start hands over; None without a window.

        Raises `BusyError` when another instance has it.
        """
        import filelock

        self._folders.create()
        self._lock = filelock.FileLock(self._folders.lock_file)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise await self._busy() from error
        self._door = Listener(self._folders.door_file, receive)
        await self._door.open()
        token_file = self._folders.instance_file
        swept = await asyncio.to_thread(processes.sweep_last_run, token_file)
        if swept:
            log.warning("ended what an earlier run left behind: processes %s", swept)
        self._guardian = processes.start_guardian(processes.mark_children(token_file))

    async def _busy(self) -> BusyError:
        other = await asyncio.to_thread(hand_over, self._folders.door_file, Request(show=False))
        if other is None:
            message = _("another CoTrain Contributor runs with this data folder.")
        elif other.window:
            message = _("CoTrain Contributor is open already (process {pid}).")
        else:
            message = _("CoTrain Contributor runs already, without a window (process {pid}).")
        return BusyError(
            message.format(pid=other.pid if other else 0),
            field=str(self._folders.data),
            remedy=_("Close it first, or give this one another folder with --data-dir."),
        )

    async def close_door(self) -> None:
        """Take nothing from second starts any more. May be called twice."""
        if self._door is not None:
            await self._door.close()

    async def release(self) -> None:
        """Let the guardian end what is left, then give the folder back. May be called twice."""
        await self.close_door()
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            assert guardian.stdin is not None
            guardian.stdin.close()
            await asyncio.to_thread(guardian.wait)
            await asyncio.to_thread(processes.remove_dead_sockets, Path("/tmp"))  # noqa: S108
        if self._lock is not None:
            self._lock.release()
