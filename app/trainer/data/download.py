"""One file over https into the cache: resumed, limited, verified, then never fetched again."""

import hashlib
import logging
import os
import re
import ssl
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import filelock
import httpx2

from app.errors import DataError
from app.i18n import _
from app.spec import HttpsData

log = logging.getLogger(__name__)

MAX_BYTES = 8 * 2**30
"""The largest file that a spec may make a contributor download."""

_TIMEOUT = 30.0  # seconds without a byte
_REDIRECTS = 5


def fetch(
    data: HttpsData,
    *,
    cache: Path,
    context: ssl.SSLContext | None = None,
    limit: int = MAX_BYTES,
) -> Path:
    """The verified file, named by its hash, with the ending of the address.

    What a broken download left is continued. Raises `DataError`: no answer, more than ``limit``
    bytes, another hash, no room.
    """
    target = cache / f"{data.sha256}{_ending(data.url)}"
    if target.exists():  # it was verified before it got this name
        return target
    part = target.with_name(f"{target.name}.part")
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(f"{part}.lock"):
            if not target.exists():  # another trainer may have been quicker
                _download(data, part=part, context=context, limit=limit)
                part.replace(target)
    except OSError as error:
        message = _("can't be kept in {cache}: {reason}.")
        raise DataError(
            message.format(cache=cache, reason=error.strerror or error),
            field="dataset_info.url",
            remedy=_("Make room on the disk, or choose another folder for the cache."),
        ) from error
    return target


def _ending(url: str) -> str:
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,10}", suffix) else ""


def _download(data: HttpsData, *, part: Path, context: ssl.SSLContext | None, limit: int) -> None:
    """Leave the verified content in ``part``, or raise."""
    resumed = part.exists()
    with _client(context) as client:
        _complete(client, data.url, part=part, limit=limit)
        found = _sha256(part)
        if found != data.sha256 and resumed:
            # it began with what may have been another version of the file
            part.unlink()
            _complete(client, data.url, part=part, limit=limit)
            found = _sha256(part)
    if found != data.sha256:
        part.unlink()
        message = _("{url} has another content: its hash is {found}, not {wanted}.")
        raise DataError(
            message.format(url=data.url, found=found, wanted=data.sha256),
            field="dataset_info.sha256",
            remedy=_("Don't use it. Ask whoever made the swarm for the right address and hash."),
        )


def _client(context: ssl.SSLContext | None) -> httpx2.Client:
    return httpx2.Client(
        verify=True if context is None else context,
        timeout=_TIMEOUT,
        follow_redirects=True,
        max_redirects=_REDIRECTS,
        event_hooks={"request": [_only_https]},  # called for each redirect too
        headers={"Accept-Encoding": "identity"},  # the hash and ranges are of the file itself
    )


def _only_https(request: httpx2.Request) -> None:
    if request.url.scheme != "https":
        raise _refused(_("leads to {url}, which is not https.").format(url=request.url))


def _complete(client: httpx2.Client, url: str, *, part: Path, limit: int) -> None:
    """Fetch what ``part`` lacks. A connection that breaks is taken up again where it broke, as
    long as each brings something."""
    while True:
        before = _size(part)
        try:
            return _append(client, url, part=part, limit=limit)
        except httpx2.TransportError as error:
            if _size(part) <= before:
                raise _unfetched(url, error) from error
            log.info("%s broke off after %d bytes: %s", url, _size(part), error)
        except httpx2.HTTPError as error:
            raise _unfetched(url, error) from error


def _append(client: httpx2.Client, url: str, *, part: Path, limit: int) -> None:
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if have and response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch; the hash will tell
        response.raise_for_status()
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as stream:
            size = stream.tell()
            _check_size(size + int(response.headers.get("Content-Length", 0)), limit, part=part)
            for block in response.iter_raw():  # as it comes: what breaks off is kept to the byte
                size += len(block)
                _check_size(size, limit, part=part)
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())


def _check_size(size: int, limit: int, *, part: Path) -> None:
    if size > limit:
        part.unlink()
        message = _("the file has {size:,} bytes or more; at most {limit:,} are downloaded.")
        raise DataError(
            message.format(size=size, limit=limit),
            field="dataset_info.url",
            remedy=_("Use a smaller file, or stream the data from the hub."),
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unfetched(url: str, error: httpx2.HTTPError) -> DataError:
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.HTTPStatusError):
        answer = f"{error.response.status_code} {error.response.reason_phrase}"
        reason = _("the server answers {answer}").format(answer=answer)
    return _refused(_("{url} can't be fetched: {reason}.").format(url=url, reason=reason))


def _refused(message: str) -> DataError:
    return DataError(
        message, field="dataset_info.url", remedy=_("Check the address and your network.")
    )
