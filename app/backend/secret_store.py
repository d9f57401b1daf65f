"""Keeps a sign-in: in the system's keyring, or in a file of mode 0600 where there is no keyring.

A small file in the data folder says who is signed in and where the secrets are, so that a user who
never signed in is never asked to unlock a keyring. A keyring may ask the user, or hang on a server
where nobody can answer. So it is called in a thread of its own and with a time limit; after that
the file is used.
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
    """What nobody else may read."""

    refresh_token: str

    password: str = ""
    """Only if the user wants to stay signed in; else ""."""

    def __repr__(self) -> str:
        return "Secrets(…)"


class SignedInAs(msgspec.Struct, frozen=True, kw_only=True):
    """A kept sign-in. `SecretStore` writes it to its file as JSON."""

    url: str
    """Of the backend."""

    email: str

    entry: str = ""
    """Name of the keyring's entry with the secrets; "" if they are in ``secrets``."""

    secrets: Secrets | None = None
    """The secrets, if they are not in the keyring."""


class SecretStore:
    """Keeps at most one sign-in.

    file: in the data folder. seconds: how long the keyring may take to answer.
    """

    def __init__(self, file: Path, *, seconds: float = KEYRING_SECONDS) -> None:
        self._file = file
        self._seconds = seconds

    async def whose(self) -> SignedInAs | None:
        """The kept sign-in, or None. The keyring is not asked."""
        return await asyncio.to_thread(self._read)

    async def secrets(self, kept: SignedInAs) -> Secrets:
        """The secrets of a kept sign-in, from the keyring if they are there.

        Raises `NotSignedInError` when the keyring doesn't give them out.
        """
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
        """Keep a sign-in, and forget the one before."""
        await self.forget()
        entry = f"{email} {url} {secrets.token_hex(4)}"  # each data folder has its own entry
        text = msgspec.json.encode(secret).decode()
        safe = await self._ask(lambda keyring: _put(keyring, entry, text))
        kept = SignedInAs(
            url=url, email=email, entry=entry if safe else "", secrets=None if safe else secret
        )
        log.info("the sign-in is kept in %s", "the system's keyring" if safe else self._file)
        await asyncio.to_thread(write_atomically, self._file, msgspec.json.encode(kept))
        return kept

    async def forget(self) -> None:
        """Delete the kept sign-in, in the keyring too."""
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
        """The keyring's answer; None if there is no safe keyring, or if it fails or hangs."""
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
    if backend.priority < 1:  # no keyring, or an unsafe one
        return None
    return question(backend)


def _put(keyring: "KeyringBackend", entry: str, text: str) -> bool:
    keyring.set_password(APP_NAME, entry, text)
    return keyring.get_password(APP_NAME, entry) == text
