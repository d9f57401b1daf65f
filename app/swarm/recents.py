"""The swarms that were joined before, kept so that the user can rejoin one without an invite."""

import asyncio
import contextlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.errors import InviteError
from app.common.paths import read_json, write_atomically

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

MAX_RECENTS = 12
MAX_SEEN = 32
"""Addresses of a swarm's peers."""

MAX_BYTES = 4 * 1024 * 1024
"""Far above the size of `MAX_RECENTS` specs: a larger file was not written by this app."""

_MULTIADDR = re.compile(r"(/[A-Za-z0-9.:%_-]{1,260}){2,12}/p2p/[A-Za-z0-9]{20,80}")

FAR_FUTURE = 2**33
"""Seconds since the epoch; a later ``joined_at`` is taken for damage."""


@dataclass(frozen=True, kw_only=True)
class Recent:
    """A swarm that was joined."""

    spec: "SwarmSpec"
    joined_at: float
    """In seconds since the epoch."""

    seen: tuple[str, ...] = ()
    """Multiaddrs of peers that were seen in it, by which it may be entered again."""


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

        def put_first(entries: Entries) -> Entries:
            seen = _seen(entries, spec.run_id)
            return (Recent(spec=spec, joined_at=time.time(), seen=seen), *entries)

        await self._change(put_first)

    async def seen(self, run_id: str) -> tuple[str, ...]:
        """Where peers of a swarm were seen last."""
        return _seen(await self.load(), run_id)

    async def note_seen(self, run_id: str, addresses: Iterable[str]) -> None:
        """Keep where peers of a swarm are seen now. Nothing happens if it isn't in the list."""
        seen = tuple(addresses)[:MAX_SEEN]
        await self._change(
            lambda entries: tuple(
                replace(entry, seen=seen) if entry.spec.run_id == run_id else entry
                for entry in entries
            )
        )

    async def forget(self, run_id: str) -> None:
        """Remove a swarm from the list."""
        await self._change(lambda entries: _without(entries, run_id))

    async def _change(self, change: Callable[[Entries], Entries]) -> None:
        async with self._lock:
            with _forgiven("written"):
                await asyncio.to_thread(self._rewrite, change)

    def _rewrite(self, change: Callable[[Entries], Entries]) -> None:
        before = self._load()
        entries = _unique(change(before))
        if entries != before:
            self._write(entries)

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
        content = [
            {"joined_at": each.joined_at, "spec": each.spec.to_json(), "seen": each.seen}
            for each in entries
        ]
        write_atomically(self._file, json.dumps(content, ensure_ascii=False, indent=1).encode())


def _recent(entry: Any) -> Recent | None:
    from app.spec import invite

    match entry:
        case {"joined_at": int() | float() as moment, "spec": dict() as fields} if (
            0 <= moment < FAR_FUTURE
        ):
            with contextlib.suppress(InviteError, ValueError):
                spec = invite.read_own(json.dumps(fields).encode(), name="spec")
                return Recent(spec=spec, joined_at=float(moment), seen=_addresses(entry))
    return None


def _addresses(entry: dict[str, Any]) -> tuple[str, ...]:
    """Missing in what older versions wrote."""
    kept = entry.get("seen")
    if not isinstance(kept, list):
        return ()
    texts = (one for one in kept[:MAX_SEEN] if isinstance(one, str))
    return tuple(one for one in texts if _MULTIADDR.fullmatch(one))


def _seen(entries: Entries, run_id: str) -> tuple[str, ...]:
    return next((entry.seen for entry in entries if entry.spec.run_id == run_id), ())


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
