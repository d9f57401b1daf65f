"""The swarms that were joined before, kept so that the user can rejoin one without an invite."""

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.errors import InviteError
from app.common.paths import read_json, write_atomically

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

MAX_RECENTS = 12
MAX_BYTES = 4 * 1024 * 1024
"""Far above the size of `MAX_RECENTS` specs: a larger file was not written by this app."""

FAR_FUTURE = 2**33
"""Seconds since the epoch; a later ``joined_at`` is taken for damage."""


@dataclass(frozen=True, kw_only=True)
class Recent:
    """A swarm that was joined."""

    spec: "SwarmSpec"
    joined_at: float
    """In seconds since the epoch."""


Entries = tuple[Recent, ...]


class Recents:
    """The list in a file, the newest swarm first: one entry per run, `MAX_RECENTS` at most.

    Reads and writes in a thread, one at a time. A damaged file is copied before it is overwritten.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = asyncio.Lock()

    async def load(self) -> tuple[Recent, ...]:
        """All entries that can be read."""
        async with self._lock:
            with _forgiven("read"):
                return await asyncio.to_thread(self._load)
        return ()

    async def read_invite(self, source: str, *, pasted: bool = False) -> "SwarmSpec":
        """Read an invite, which may name paths of this machine only where a recent swarm does.

        source: a link or the path of a file; pasted: a link or the content of a file.

        Raises `InviteError`.
        """
        from app.spec import invite

        read = invite.read_text if pasted else invite.load
        own = tuple(recent.spec for recent in await self.load())
        return await asyncio.to_thread(read, source, own=own)

    async def remember(self, spec: "SwarmSpec") -> None:
        """Put a swarm first, instead of an earlier entry with the same run id."""
        await self._change(lambda entries: (Recent(spec=spec, joined_at=time.time()), *entries))

    async def forget(self, run_id: str) -> None:
        """Remove a swarm from the list."""
        await self._change(lambda entries: _without(entries, run_id))

    async def _change(self, change: Callable[[Entries], Entries]) -> None:
        async with self._lock:
            with _forgiven("written"):
                await asyncio.to_thread(lambda: self._write(_unique(change(self._load()))))

    def _load(self) -> Entries:
        try:
            content = read_json(self._file, most=MAX_BYTES)
        except FileNotFoundError:
            return ()
        except ValueError:
            content = None
        # a file that is no list counts as one entry that can't be read
        entries = content if isinstance(content, list) else [None]
        found = tuple(recent for entry in entries if (recent := _recent(entry)) is not None)
        if len(found) < len(entries):
            self._set_aside()
        return found

    def _set_aside(self) -> None:
        """Copy the damaged file: the next change writes only the entries that can be read."""
        damaged = self._file.with_suffix(".damaged")
        log.warning("%s is damaged in part or whole: a copy is kept in %s", self._file, damaged)
        with contextlib.suppress(OSError):
            shutil.copy2(self._file, damaged)

    def _write(self, entries: Entries) -> None:
        content = [{"joined_at": e.joined_at, "spec": e.spec.to_json()} for e in entries]
        write_atomically(self._file, json.dumps(content, ensure_ascii=False, indent=1).encode())


def _recent(entry: Any) -> Recent | None:
    from app.spec import invite

    match entry:
        case {"joined_at": int() | float() as moment, "spec": dict() as fields} if (
            0 <= moment < FAR_FUTURE
        ):
            with contextlib.suppress(InviteError, ValueError):
                spec = invite.read_own(json.dumps(fields).encode(), name="spec")
                return Recent(spec=spec, joined_at=float(moment))
    return None


@contextlib.contextmanager
def _forgiven(verb: str) -> Iterator[None]:
    """Log an error of the file system: the list must not keep anybody from joining."""
    try:
        yield
    except OSError as error:
        log.warning("the recent swarms can't be %s: %s", verb, error)


def _without(entries: Entries, run_id: str) -> Entries:
    return tuple(entry for entry in entries if entry.spec.run_id != run_id)


def _unique(entries: Entries) -> Entries:
    newest: dict[str, Recent] = {}
    for entry in entries:
        newest.setdefault(entry.spec.run_id, entry)
    return tuple(newest.values())[:MAX_RECENTS]
