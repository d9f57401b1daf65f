"""Download files of a repository of the Hugging Face hub at one commit, and verify them.

A commit names its files by their hashes, so the hub's own listing of it says what each download
must be. What is verified lies in the cache under the commit, and no network is asked for it again.
"""

import contextlib
import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from app.common.errors import DataError
from app.common.i18n import _
from app.common.paths import read_json, write_atomically
from app.spec.sources.pinned import PinnedRepository
from app.trainer.pinned.arrival import Arrival
from app.trainer.pinned.https import unkept

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
"""Seconds without an answer to the question for the listing."""

_MOST_LISTED = 10_000
"""Files of a repository."""

_MOST_LISTING_BYTES = 2**23

_CHUNK_BYTES = 2**18


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A file of a commit, as the hub lists it."""

    name: str
    """With its folders."""

    size: int
    """Bytes."""

    sha256: str
    """Of the content, for a large file; "" for one that git holds itself."""

    blob: str
    """Git's own hash of a file that it holds itself."""

    def arrived_in(self, folder: Path) -> int:
        """Bytes of it that huggingface_hub has put into its own folder below this one."""
        with contextlib.suppress(OSError):  # it is moved when it is complete
            for path in folder.rglob("*.incomplete"):
                if any(digest and digest in path.name for digest in (self.sha256, self.blob)):
                    return path.stat().st_size
        return 0

    def is_at(self, path: Path) -> bool:
        """Whether a file has this content."""
        if path.stat().st_size != self.size:
            return False
        with path.open("rb") as stream:
            if self.sha256:
                return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256
            content = stream.read()
        head = b"blob %d\0" % self.size
        return hashlib.sha1(head + content, usedforsecurity=False).hexdigest() == self.blob


def fetch_files(
    repository: PinnedRepository,
    choose: Callable[[Iterable[ListedFile]], list[ListedFile]],
    *,
    field: str,
    cache: Path,
    limit: int,
    sign_in: bool,
    arrival: Arrival,
) -> dict[str, Path]:
    """The paths of verified files, by their names in the repository.

    choose: picks the files that are needed from all that the commit has. field: the part of the
    spec that names the repository, for errors. limit: bytes of the files together. sign_in: with
    the user's own sign-in at the hub. arrival: is told how far the download is.

    Raises `DataError`: no answer, a file that isn't what the commit says, too many bytes, no room
    on the disk; and whatever ``choose`` raises.
    """
    name = f"{repository.name.replace('/', '--')}-{repository.revision}"
    folder = cache / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(cache / f"{name}.lock"):
            commit = _Commit(repository, folder, field=field, sign_in=sign_in)
            wanted = choose(commit.listing())
            if (size := sum(each.size for each in wanted)) > limit:
                raise _too_large(repository.name, size, limit, field=field)
            arrival.size = size
            return {each.name: commit.complete(each, arrival) for each in wanted}
    except OSError as error:
        raise unkept(cache, error, field=field) from error


class _Commit:
    """A commit, and the folder that its files are downloaded into."""

    def __init__(
        self, repository: PinnedRepository, folder: Path, *, field: str, sign_in: bool
    ) -> None:
        self._repository = repository
        self._folder = folder
        self._field = field
        # An invite could otherwise name what only this user may read.
        self._token = None if sign_in else False

    def listing(self) -> list[ListedFile]:
        """The files of the commit, which never change."""
        kept = self._folder / ".listing.json"
        try:
            return [ListedFile(**each) for each in read_json(kept, most=_MOST_LISTING_BYTES)]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError) as error:
            log.warning("%s is damaged and asked for again: %s", kept, error)
        found = self._listed()
        write_atomically(kept, json.dumps([asdict(each) for each in found]).encode())
        return found

    def _listed(self) -> list[ListedFile]:
        from huggingface_hub import HfApi

        name, revision = self._repository.name, self._repository.revision
        try:
            info = HfApi(token=self._token).model_info(
                name, revision=revision, files_metadata=True, timeout=_TIMEOUT
            )
        except _failures() as error:
            raise self._unreachable(error) from error
        files = [
            ListedFile(
                name=each.rfilename,
                size=each.size or 0,
                sha256=each.lfs.sha256 if each.lfs else "",
                blob=each.blob_id or "",
            )
            for each in info.siblings or ()
            if not {"..", ""} & set(each.rfilename.split("/"))  # stays in our folder
        ]
        if info.sha != revision or len(files) > _MOST_LISTED:
            raise self._unreachable(ValueError(_("its listing is of another commit, or too long")))
        return files

    def complete(self, file: ListedFile, arrival: Arrival) -> Path:
        """The path of a file, downloaded if it isn't there. Raises `DataError`."""
        target = self._folder / file.name
        if not target.exists():  # only a verified file gets this name
            self._download(file, target, arrival)
        arrival.end_file(file.size)
        return target

    def _download(self, file: ListedFile, target: Path, arrival: Arrival) -> None:
        arriving = self._folder / ".arriving"
        with arrival.watching(lambda: file.arrived_in(arriving)):
            path = self._arrived(file, arriving)
        if not file.is_at(path):
            path.unlink()
            raise DataError(
                _("{file} of {name} isn't what the commit {revision} says.").format(
                    file=file.name,
                    name=self._repository.name,
                    revision=self._repository.revision[:12],
                ),
                field=self._field,
                remedy=_("Try again; if it stays so, don't use it."),
            )
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.replace(target)

    def _arrived(self, file: ListedFile, folder: Path) -> Path:
        from huggingface_hub import constants, hf_hub_download

        # WORKAROUND (huggingface_hub 2.4): it writes, and so counts, in steps of 10 MB.
        constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
        try:
            path = hf_hub_download(
                self._repository.name,
                file.name,
                revision=self._repository.revision,
                local_dir=folder,
                token=self._token,
            )
        except _failures() as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise self._unreachable(error) from error
        return Path(path)

    def _unreachable(self, error: Exception) -> DataError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return DataError(
            _("{name} can't be fetched from the hub: {reason}.").format(
                name=self._repository.name, reason=reason
            ),
            field=self._field,
            remedy=_("Check the network, the name, the commit, and that everybody may read it."),
        )


def _failures() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises: errors of its own, of HTTP, of values that it checks."""
    import httpx2
    from huggingface_hub.errors import EntryNotFoundError

    return (OSError, ValueError, RuntimeError, EntryNotFoundError, httpx2.HTTPError)


def _too_large(name: str, size: int, limit: int, *, field: str) -> DataError:
    return DataError(
        _("{name} has {size:,} bytes to download; at most {limit:,} are.").format(
            name=name, size=size, limit=limit
        ),
        field=field,
        remedy=_("Ask whoever made the swarm for a smaller one."),
    )
