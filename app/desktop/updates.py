"""Check once a day whether a newer version of this app was published.

A small file at ``update_url`` names the newest version and its web page, signed by the publisher
(Ed25519 over canonical JSON). Nothing else is downloaded and nothing is installed: the user is
told, and updates the app the way they installed it. By default the settings have neither a URL nor
a key, and no request is made.
"""

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

from app import __version__
from app.common.background import Background
from app.common.errors import UpdateError
from app.common.i18n import _
from app.state.events import ReleaseFound
from app.state.facts import Release
from app.state.store import Store

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600.0
TIMEOUT_SECONDS = 15.0
MAX_BYTES = 64 * 1024
"""Largest accepted file."""

_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")


class Updates:
    """Asks from `open` to `close`, and dispatches `ReleaseFound` for a later version.

    The settings ``update_url`` (of the signed file) and ``update_key`` (the publisher's public
    key, 32 bytes in base64) are read once; without both of them nothing happens.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._url, self._key = store.settings.update_url, store.settings.update_key
        self._background = Background()

    def open(self) -> None:
        """Start the daily check."""
        if self._url and self._key:
            self._asking = self._background.start(self._keep_asking())

    async def close(self) -> None:
        """Stop the check. May be called twice."""
        await self._background.close()

    async def _keep_asking(self) -> None:
        while True:
            try:
                found = await self.look()
            except UpdateError as error:
                log.warning("the check for a newer version failed: %s", error.text)
            else:
                if found is not None:
                    log.info("version %s is available: %s", found.version, found.url)
                    self._store.dispatch(ReleaseFound(release=found))
            await asyncio.sleep(DAY_SECONDS)

    async def look(self) -> Release | None:
        """Fetch the file; the newest version, or None unless it is newer. Raises `UpdateError`."""
        content = await _fetch(self._url)
        release = await asyncio.to_thread(read, content, key=self._key)
        return release if number(release.version) > number(__version__) else None


def read(content: bytes, *, key: str) -> Release:
    """Parse and verify the signed file.

    key: the publisher's public key. Raises `UpdateError` for a malformed file or signature.
    """
    from app.common import signing

    try:
        document = json.loads(content)
        manifest, signature = document["manifest"], document["signature"]
        signed = signing.canonical(manifest)
        genuine = signing.verify(key, signed, signing.from_text(signature))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UpdateError(_("the file of versions can't be read."), field="update_url") from error
    if not genuine:
        raise UpdateError(
            _("the file of versions isn't signed by the publisher."), field="update_key"
        )
    return _release(manifest)


def _release(manifest: Any) -> Release:
    match manifest:
        case {"version": str() as version, "url": str() as url} if (
            _VERSION.fullmatch(version) and url.startswith("https://") and url.isprintable()
        ):
            return Release(version=version, url=url)
    raise UpdateError(
        _("the file of versions names no valid version and address."), field="update_url"
    )


def number(version: str) -> tuple[int, ...]:
    """A version as a tuple to compare: 0.10 is newer than 0.9, and equal to 0.10.0."""
    parts = [int(part) for part in re.findall(r"\d+", version)]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


async def _fetch(url: str) -> bytes:
    import httpx2

    content = bytearray()
    try:
        client = await asyncio.to_thread(
            _client
        )  # in a thread, since it reads the system's certificates
        async with client, client.stream("GET", url) as response:
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    raise UpdateError(_("the file of versions is too long."), field="update_url")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise UpdateError(
            _("the file of versions can't be fetched: {reason}.").format(reason=reason),
            field="update_url",
        ) from error
    return bytes(content)


def _client() -> "httpx2.AsyncClient":
    import httpx2

    return httpx2.AsyncClient(
        timeout=TIMEOUT_SECONDS,
        headers={"User-Agent": "cotrain-contributor"},  # without our version, for privacy
        follow_redirects=False,
    )
