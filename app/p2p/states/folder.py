"""A door's snapshots on the disk: written atomically, held against their digest when it starts.

A file is its `Header` as JSON, filled up with spaces, and then the bytes of the state.
"""

import errno
import hashlib
import logging
import mmap
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.p2p.states.wire import MOST_HEADER_BYTES, Header

log = logging.getLogger(__name__)

KEPT = 2
"""Snapshots of a run that stay: one more than needed, in case the newest is damaged."""

LEAST_FREE = 64 * 2**20
"""Bytes that a snapshot leaves free on the disk, for logs and keys."""

_HEAD = MOST_HEADER_BYTES
_NAME = re.compile(r"epoch-\d{9,19}\.state")
_READ_BYTES = 2**20

_headers = msgspec.json.Decoder(Header)


@dataclass(frozen=True, kw_only=True)
class KeptSnapshotFile:
    """A snapshot on the disk."""

    path: Path
    header: Header

    def read(self, begin: int, end: int) -> bytes:
        """A range of the state's bytes. Raises `OSError`."""
        with self.path.open("rb") as stream:
            stream.seek(_HEAD + begin)
            return stream.read(end - begin)


class SnapshotFolder:
    """The snapshots of one run. Blocks on the disk: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def newest(self) -> KeptSnapshotFile | None:
        """The newest sound one; damaged ones on the way are deleted. Raises `OSError`."""
        for path in self._newest_first():
            if (found := _read(path)) is not None:
                return found
            log.warning("the snapshot %s is damaged and deleted", path)
            path.unlink(missing_ok=True)
        return None

    @contextmanager
    def receiving(self, size: int) -> Iterator["NewSnapshot"]:
        """Room for a new snapshot, which isn't there before it is kept. size: bytes of the state.

        Raises `OSError` where the disk has no room.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in self._newest_first()[KEPT - 1 :]:
            old.unlink(missing_ok=True)
        if shutil.disk_usage(self.path).free < size + LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        new = self.path / "new.tmp"  # always the same name: a killed door leaves one file
        try:
            with new.open("w+b") as stream:
                if hasattr(os, "posix_fallocate"):
                    # memory without room behind it ends the process when it is written to
                    os.posix_fallocate(stream.fileno(), 0, _HEAD + size)
                stream.truncate(_HEAD + size)
                with (
                    mmap.mmap(stream.fileno(), _HEAD + size) as whole,
                    memoryview(whole) as view,
                    view[:_HEAD] as head,
                    view[_HEAD:] as content,
                ):
                    yield NewSnapshot(path=new, head=head, content=content, mapped=whole)
        finally:
            new.unlink(missing_ok=True)

    def _newest_first(self) -> list[Path]:
        found = (path for path in self.path.glob("epoch-*.state") if _NAME.fullmatch(path.name))
        return sorted(found, key=lambda path: int(path.stem.partition("-")[2]), reverse=True)


@dataclass(frozen=True, kw_only=True)
class NewSnapshot:
    """A snapshot that is being received. Blocks on the disk, apart from `content`."""

    path: Path
    head: memoryview
    content: memoryview
    """The bytes of the state, to be written into."""
    mapped: mmap.mmap
    """The file of both."""

    def digest(self) -> str:
        """Of the content, as `Header` has it."""
        return hashlib.sha256(self.content).hexdigest()

    def keep(self, header: Header) -> KeptSnapshotFile:
        """Put it in its place. header: with its digest. Raises `OSError`."""
        self.head[:] = msgspec.json.encode(header).ljust(_HEAD)
        self.mapped.flush()
        path = self.path.with_name(f"epoch-{header.epoch:09d}.state")
        self.path.replace(path)
        return KeptSnapshotFile(path=path, header=header)


def _read(path: Path) -> KeptSnapshotFile | None:
    """None for a damaged one. Raises `OSError`."""
    with path.open("rb") as stream:
        try:
            header = _headers.decode(stream.read(_HEAD))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        hashing = hashlib.sha256()
        while part := stream.read(_READ_BYTES):
            hashing.update(part)
        is_sound = stream.tell() == _HEAD + header.size and hashing.hexdigest() == header.digest
    return KeptSnapshotFile(path=path, header=header) if is_sound else None
