"""Download one file over https: resumable, limited in size, verified by its SHA-256."""

import hashlib
import logging
import os
import ssl
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import httpx2

from app.common.errors import CoTrainError
from app.common.i18n import _

log = logging.getLogger(__name__)

_TIMEOUT = 30.0  # seconds without a byte
_REDIRECTS = 5

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes on disk so far, and how many the server says that the file has,
None if it doesn't say; an exception that it raises ends the download."""


class Fault(Enum):
    """Why a download failed."""

    NETWORK = "network"
    SIZE = "size"
    HASH = "hash"


class DownloadError(CoTrainError):
    """The server gave no answer, too many bytes, or a file with another hash.

    The message is a sentence for the user.
    """

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


def download(
    url: str,
    *,
    sha256: str,
    part: Path,
    limit: int,
    context: ssl.SSLContext | None = None,
    progress: OnProgress | None = None,
) -> None:
    """Download to the file ``part`` and verify its SHA-256; resume if ``part`` exists already.

    limit: bytes; a larger file is refused. context: TLS settings, the system's by default.
    progress: see `OnProgress`. Raises `DownloadError`, or `OSError` when ``part`` can't be written.
    After a broken connection ``part`` stays, so that the next call resumes; after a wrong hash or
    size it is deleted.
    """
    resumed = part.exists()
    with _client(context) as client:
        fetcher = _Fetcher(client, url, part, limit=limit, progress=progress or _ignore)
        fetcher.complete()
        found = _sha256(part)
        if found != sha256 and resumed:
            # the first bytes may be from an older version of the file: fetch all of it once
            part.unlink()
            fetcher.complete()
            found = _sha256(part)
    if found != sha256:
        part.unlink()
        raise DownloadError(
            _("{url} has unexpected content: its hash is {found}, not {wanted}.").format(
                url=url, found=found, wanted=sha256
            ),
            Fault.HASH,
        )


def _ignore(_size: int, _whole: int | None) -> None:
    """Stand in for a progress callback that wasn't given."""


def _client(context: ssl.SSLContext | None) -> httpx2.Client:
    return httpx2.Client(
        verify=True if context is None else context,
        timeout=_TIMEOUT,
        follow_redirects=True,
        max_redirects=_REDIRECTS,
        event_hooks={"request": [_only_https]},  # also called for each redirect
        headers={"Accept-Encoding": "identity"},  # hash and ranges are of the uncompressed file
    )


def _only_https(request: httpx2.Request) -> None:
    if request.url.scheme != "https":
        message = _("leads to {url}, which is not https.").format(url=request.url)
        raise DownloadError(message, Fault.NETWORK)


class _Fetcher:
    """Fetches one file into ``part``."""

    def __init__(
        self, client: httpx2.Client, url: str, part: Path, *, limit: int, progress: OnProgress
    ) -> None:
        self._client = client
        self._url = url
        self._part = part
        self._limit = limit
        self._progress = progress

    def complete(self) -> None:
        """Fetch the bytes that ``part`` lacks.

        After a broken connection, connect again and resume, unless that connection brought no
        bytes at all.
        """
        while True:
            before = _size(self._part)
            try:
                return self._append()
            except httpx2.TransportError as error:
                if _size(self._part) <= before:
                    raise self._failed(error) from error
                log.info("%s broke off after %d bytes: %s", self._url, _size(self._part), error)
            except httpx2.HTTPError as error:
                raise self._failed(error) from error

    def _append(self) -> None:
        have = _size(self._part)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._client.stream("GET", self._url, headers=headers) as response:
            if have and response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
                return  # the file is complete already; the caller checks the hash
            response.raise_for_status()
            resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
            with self._part.open("ab" if resumed else "wb") as stream:
                size = stream.tell()
                more = response.headers.get("Content-Length")
                whole = None if more is None else size + int(more)
                self._check(whole or size)
                for block in response.iter_raw():  # written at once, so a broken download is kept
                    size += len(block)
                    self._check(size)
                    stream.write(block)
                    self._progress(size, whole)
                stream.flush()
                os.fsync(stream.fileno())

    def _check(self, size: int) -> None:
        if size > self._limit:
            self._part.unlink()
            message = _("the file has {size:,} bytes or more; at most {limit:,} are downloaded.")
            raise DownloadError(message.format(size=size, limit=self._limit), Fault.SIZE)

    def _failed(self, error: httpx2.HTTPError) -> DownloadError:
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx2.HTTPStatusError):
            answer = f"{error.response.status_code} {error.response.reason_phrase}"
            reason = _("the server answers {answer}").format(answer=answer)
        message = _("{url} can't be fetched: {reason}.").format(url=self._url, reason=reason)
        return DownloadError(message, Fault.NETWORK)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
