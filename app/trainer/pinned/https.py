"""Download one file over https into the cache, verify it, and never download it again."""

import re
import ssl
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import filelock

from app.common.download import DownloadError, Fault, download
from app.common.errors import DataError
from app.common.i18n import _
from app.trainer.pinned.arrival import Arrival

MAX_BYTES = 8 * 2**30
"""The largest file of data that a spec may make a volunteer download."""


def fetch(
    url: str,
    *,
    sha256: str,
    field: str,
    cache: Path,
    arrival: Arrival,
    context: ssl.SSLContext | None = None,
    limit: int = MAX_BYTES,
) -> Path:
    """The path of the verified file: its hash, with the ending of the URL.

    Continues a download that was interrupted.

    field: the part of the spec that names the file, for errors. arrival: is told how far the
    download is. limit: bytes. context: the TLS context; None for the public certificate
    authorities.

    Raises `DataError`: no answer, more than ``limit`` bytes, another hash, no room on the disk.
    """
    target = cache / f"{sha256}{_ending(url)}"
    part = target.with_name(f"{target.name}.part")
    told = arrival.arrived
    try:
        if not target.exists():  # only a verified file gets this name
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            with filelock.FileLock(f"{part}.lock"):
                if not target.exists():  # another trainer may have downloaded it meanwhile
                    download(
                        url, sha256=sha256, part=part, limit=limit, context=context, progress=told
                    )
                    part.replace(target)
        arrival.end_file(target.stat().st_size)
    except DownloadError as error:
        raise _explained(error, field) from error
    except OSError as error:
        raise unkept(cache, error, field=f"{field}.url") from error
    return target


def unkept(cache: Path, error: OSError, *, field: str) -> DataError:
    """The error for a download that can't be written."""
    return DataError(
        _("the download can't be kept in {cache}: {reason}.").format(
            cache=cache, reason=error.strerror or error
        ),
        field=field,
        remedy=_("Make room on the disk, or choose another folder for the cache."),
    )


def _explained(error: DownloadError, part: str) -> DataError:
    field, remedy = {
        Fault.NETWORK: ("url", _("Check the address and your network.")),
        Fault.SIZE: ("url", _("Use a smaller file; data can be streamed from the hub as well.")),
        Fault.HASH: (
            "sha256",
            _("Don't use it. Ask whoever made the swarm for the right address and hash."),
        ),
    }[error.fault]
    return DataError(str(error), field=f"{part}.{field}", remedy=remedy)


def _ending(url: str) -> str:
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,20}", suffix) else ""
