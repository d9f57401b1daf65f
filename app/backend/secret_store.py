"""Where a sign-in is kept: in the system's keyring, or, where there is none, in a 0600 file.

A small file beside the settings says whose sign-in there is and where its secrets are, so that
nobody is asked to unlock a keyring who never signed in. A keyring may ask the user, or hang where
nobody can be asked (a server): it has its own thread and a time, and then the file is used.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from app.backend.errors import NotSignedInError
from app.common.background import run_in_thread
from app.common.errors import LibraryError
from app.common.i18n import _
from app.common.paths import APP_NAME, write_atomically

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

log = logging.getLogger(__name__)

KEYRING_SECONDS = 30.0
"""Long enough for the user to type the keyring's password."""

T = TypeVar("T")


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What must not be read by others. password: only where the user wants to stay signed in."""

    refresh_token: str
    password: str = ""

    def __repr__(self) -> str:
        return "Secrets(…)"


class SignedInAs(msgspec.Struct, frozen=True, kw_only=True):
    """Whose sign-in is kept. entry: its name in the keyring, or "" when ``secrets`` are here."""

    url: str
    email: str
    entry: str = ""
    secrets: Secrets | None = None


class SecretStore:
    """At most one sign-in. file: in the data folder; seconds: that a keyring may take."""

    def __init__(self, file: Path, *, seconds: float = KEYRING_SECONDS) -> None:
        self._file = file
        self._seconds = seconds

    async def whose(self) -> SignedInAs | None:
        """The sign-in that is kept, if any. No keyring is asked."""
        return await asyncio.to_thread(self._read)

    async def secrets(self, kept: SignedInAs) -> Secrets:
        """Raises `NotSignedInError` when the keyring doesn't give them out."""
        if kept.secrets is not None:
            return kept.secrets
        found = await self._ask(lambda keyring: keyring.get_password(APP_NAME, kept.entry))
        if not found:
            raise NotSignedInError(
                _("the system's keyring doesn't give out the sign-in."),
                remedy=_("Unlock the keyring, or sign in again."),
            )
        return msgspec.json.decode(found, type=Secrets)

    async def keep(self, secret: Secrets, *, url: str, email: str) -> SignedInAs:
        """Keep a sign-in instead of the one before."""
        await self.forget()
        entry = f"{email} {url} {secrets.token_hex(4)}"  # two data folders, two entries
        text = msgspec.json.encode(secret).decode()
        safe = await self._ask(lambda keyring: _put(keyring, entry, text))
        kept = SignedInAs(
            url=url, email=email, entry=entry if safe else "", secrets=None if safe else secret
        )
        log.info("the sign-in is kept in %s", "the system's keyring" if safe else self._file)
        await asyncio.to_thread(write_atomically, self._file, msgspec.json.encode(kept))
        return kept

    async def forget(self) -> None:
        """Keep no sign-in any more."""
        kept = await self.whose()
        if kept is not None and kept.entry:
            await self._ask(lambda keyring: keyring.delete_password(APP_NAME, kept.entry))
        await asyncio.to_thread(self._file.unlink, missing_ok=True)

    def _read(self) -> SignedInAs | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=SignedInAs)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s can't be read, so nobody is signed in: %s", self._file, error)
            return None

    async def _ask(self, question: "Callable[[KeyringBackend], T]") -> T | None:
        """The keyring's answer; None without a safe keyring, or when it fails or hangs."""
        try:
            async with asyncio.timeout(self._seconds):
                return await run_in_thread(lambda: _ask(question), name="keyring")
        except LibraryError as error:
            log.warning("the system's keyring can't be used: %s", error)
            return None
        except TimeoutError:
            log.warning("the system's keyring didn't answer within %.0f s", self._seconds)
            return None


def _ask(question: "Callable[[KeyringBackend], T]") -> T | None:
    import keyring

    backend = keyring.get_keyring()
    if backend.priority < 1:  # none at all, or one that isn't safe
        return None
    return question(backend)


def _put(keyring: "KeyringBackend", entry: str, text: str) -> bool:
    keyring.set_password(APP_NAME, entry, text)
    return keyring.get_password(APP_NAME, entry) == text
