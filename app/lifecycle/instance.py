"""One run of the app: it alone uses the data folder, and its processes end with it."""

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
    """Owns the data folder's lock, the listener for second starts and the guardian process.

    It owns them from `take` to `release`.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock: filelock.BaseFileLock | None = None
        self._listener: Listener | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    async def take(self, receive: Receive | None = None) -> None:
        """Lock the data folder and kill the processes that a crashed run left behind.

        receive: called with the requests of second starts (see `handover.Receive`); None without
        a window. Raises `BusyError` when another instance has the lock.
        """
        import filelock

        self._folders.create()
        self._lock = filelock.FileLock(self._folders.lock_file)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise await self._busy() from error
        self._listener = Listener(self._folders.door_file, receive)
        await self._listener.open()
        token_file = self._folders.instance_file
        swept = await asyncio.to_thread(processes.sweep_last_run, token_file)
        if swept:
            log.warning("killed processes that an earlier run left behind: %s", swept)
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

    async def close_listener(self) -> None:
        """Stop listening for second starts. May be called twice."""
        if self._listener is not None:
            await self._listener.close()

    async def release(self) -> None:
        """Let the guardian kill leftover processes, then unlock the folder. May be called twice."""
        await self.close_listener()
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            assert guardian.stdin is not None
            guardian.stdin.close()
            await asyncio.to_thread(guardian.wait)
            await asyncio.to_thread(processes.remove_dead_sockets, Path("/tmp"))  # noqa: S108
        if self._lock is not None:
            self._lock.release()
