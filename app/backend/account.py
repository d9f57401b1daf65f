"""Signs in to the backend, and renews the access token when it has expired."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.backend.errors import NotSignedInError, RefusedError, WrongInputError
from app.backend.http import Http
from app.backend.replies import Renewed, SignedIn
from app.backend.secret_store import Secrets, SecretStore, SignedInAs
from app.common.i18n import _

log = logging.getLogger(__name__)

MIN_PASSWORD = 8
"""Characters. The backend refuses a shorter password for a new account."""

T = TypeVar("T")


class Account:
    """The user's account at one backend."""

    def __init__(self, http: Http, *, store: SecretStore) -> None:
        self._http = http
        self._store = store
        self._kept: SignedInAs | None = None
        self._access = ""
        self._renewing = asyncio.Lock()

    @property
    def email(self) -> str:
        """The address that is signed in; "" for nobody."""
        return self._kept.email if self._kept is not None else ""

    async def restore(self) -> None:
        """Use the sign-in that an earlier run of the app has kept, if it is for this backend."""
        kept = await self._store.whose()
        self._kept = kept if kept is not None and kept.url == self._http.url else None

    async def kept_for(self) -> str:
        """URL of the backend that the kept sign-in is for, maybe another one; "" if there is
        none."""
        kept = await self._store.whose()
        return "" if kept is None else kept.url

    async def register(
        self, email: str, *, password: str, username: str = "", stay: bool = False
    ) -> None:
        """Create an account and sign in. Parameters and errors are those of `sign_in`."""
        _check(email, password, least=MIN_PASSWORD)
        body = {"email": email, "password": password}
        if username:
            body["username"] = username
        try:
            reply = await self._http.ask("POST /auth/register", shape=SignedIn, body=body)
        except RefusedError as error:
            error.field = _field_in(error.texts)
            raise
        await self._begin(reply, email=email, password=password if stay else "")

    async def sign_in(self, email: str, *, password: str, stay: bool = False) -> None:
        """Sign in; another user who was signed in is signed out.

        stay: keep the password, to sign in again when the refresh token expires after a week.

        Raises `BackendError`. Its field is ``email``, ``password`` or ``username`` if one of these
        is wrong.
        """
        _check(email, password, least=1)
        try:
            reply = await self._log_in(email, password)
        except NotSignedInError as error:
            error.field, error.remedy = "password", ""
            raise
        await self._begin(reply, email=email, password=password if stay else "")

    async def _log_in(self, email: str, password: str) -> SignedIn:
        body = {"email": email, "password": password}
        return await self._http.ask("POST /auth/login", shape=SignedIn, body=body)

    async def _begin(self, reply: SignedIn, *, email: str, password: str) -> None:
        secret = Secrets(refresh_token=reply.refresh_token, password=password)
        self._kept = await self._store.keep(secret, url=self._http.url, email=email)
        self._access = reply.access_token

    async def sign_out(self) -> None:
        """Forget the sign-in on this machine; the backend has no call to end it."""
        self._kept, self._access = None, ""
        await self._store.forget()

    async def call(self, request: Callable[[str], Awaitable[T]]) -> T:
        """Make a request with the access token. If it is refused, renew it and ask once more.

        Raises `NotSignedInError` when no access token can be had, and what the request raises.
        """
        if self._kept is None:
            raise _nobody()
        token = self._access or await self._renew("")
        try:
            return await request(token)
        except NotSignedInError:
            return await request(await self._renew(token))

    async def _renew(self, spent: str) -> str:
        """A new access token instead of ``spent``. Concurrent callers share one request."""
        async with self._renewing:
            if self._access == spent:
                self._access = await self._renewed()
            return self._access

    async def _renewed(self) -> str:
        kept = self._kept
        if kept is None:
            raise _nobody()
        secret = await self._store.secrets(kept)
        try:
            body = {"refreshToken": secret.refresh_token}
            reply = await self._http.ask("POST /auth/refresh", shape=Renewed, body=body)
        except (NotSignedInError, RefusedError) as error:
            if not secret.password:
                raise _expired() from error
            return await self._sign_in_again(kept, secret.password)
        self._check_unchanged(kept)
        return reply.access_token

    async def _sign_in_again(self, kept: SignedInAs, password: str) -> str:
        log.info("the sign-in has expired: signing in again")
        try:
            reply = await self._log_in(kept.email, password)
        except (NotSignedInError, RefusedError) as error:
            raise _expired() from error
        self._check_unchanged(kept)
        await self._begin(reply, email=kept.email, password=password)
        return reply.access_token

    def _check_unchanged(self, kept: SignedInAs) -> None:
        """Raise `NotSignedInError` if the user signed out or in anew during our request."""
        if self._kept is not kept:
            raise _nobody()


def _check(email: str, password: str, *, least: int) -> None:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise WrongInputError(_("this is no e-mail address."), field="email")
    if not password:
        raise WrongInputError(_("is missing."), field="password")
    if len(password) < least:
        raise WrongInputError(
            _("must have {count} characters or more.").format(count=least), field="password"
        )


def _field_in(texts: Sequence[str]) -> str:
    """The field that the backend's texts name, as in ``email must be an email``; else ""."""
    words = " ".join(texts).lower().split()
    return next((word for word in words if word in ("email", "password", "username")), "")


def _nobody() -> NotSignedInError:
    return NotSignedInError(_("nobody is signed in to the backend."), remedy=_("Sign in."))


def _expired() -> NotSignedInError:
    return NotSignedInError(
        _("the sign-in to the backend has expired."), remedy=_("Sign in again.")
    )
