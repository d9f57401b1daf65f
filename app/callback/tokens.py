"""Keeps the two tokens of the local API, the viewer's and the operator's, and knows the browsers
that have signed in with one of them."""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from app.common.errors import FolderError
from app.common.i18n import _
from app.common.paths import write_atomically

log = logging.getLogger(__name__)

TOKEN_BYTES = 32

SIGN_IN_SECONDS = 30 * 24 * 3600
"""How long a browser stays signed in, unless the app ends before."""

MOST_SIGN_INS = 64
"""Browsers of each role that are signed in; the one that signed in first is dropped."""


class Role(StrEnum):
    """What a caller may do."""

    ANYBODY = "anybody"
    """Has no token: may read what is open to all."""

    VIEWER = "viewer"
    """May read everything."""

    OPERATOR = "operator"
    """May read and change everything."""


class SignIns:
    """The browsers that have signed in on the page, until the app ends.

    Each gets a secret of its own for its cookie. The cookie doesn't hold the token, because a
    browser sends its cookies to every server of a host, whatever the port: whoever reads the
    secret there can't use it as a token, and it is worth nothing once the browser signs out or the
    token is renewed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Role, float]] = {}

    def add(self, role: Role) -> str:
        """Sign a browser in; returns its secret."""
        secret = secrets.token_urlsafe(TOKEN_BYTES)
        self._known[_digest(secret)] = (role, self._clock() + SIGN_IN_SECONDS)
        alike = [key for key, (each, _until) in self._known.items() if each is role]
        if len(alike) > MOST_SIGN_INS:
            del self._known[alike[0]]
        return secret

    def role_of(self, secret: str) -> Role:
        """The role of a browser; that of anybody if it isn't, or no longer, signed in.

        The secret is looked up by its hash, so the time that it takes gives nothing away.
        """
        role, until = self._known.get(_digest(secret), (Role.ANYBODY, 0.0))
        return role if self._clock() < until else Role.ANYBODY

    def end(self, secret: str) -> None:
        """Sign a browser out."""
        self._known.pop(_digest(secret), None)

    def end_all(self, role: Role) -> None:
        """Sign out all browsers that have this role."""
        self._known = {key: found for key, found in self._known.items() if found[0] is not role}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


class ApiTokens:
    """The tokens in a file that only its owner can read. Missing ones are created.

    sign_ins: the browsers that have signed in with one of them.
    """

    def __init__(self, file: Path) -> None:
        self.sign_ins = SignIns()
        self._file = file
        self._tokens = _read(file)
        missing = [role for role in (Role.VIEWER, Role.OPERATOR) if role not in self._tokens]
        for role in missing:
            self._tokens[role] = secrets.token_urlsafe(TOKEN_BYTES)
        if missing:
            self._save(self._tokens)
        else:
            file.chmod(0o600)  # a copy of the file may have other permissions

    def of(self, role: Role) -> str:
        """The token of a role."""
        return self._tokens[role]

    def renew(self, role: Role) -> str:
        """Make a new token for a role; the old one is invalid from now on, and whoever signed in
        with it is signed out.

        Raises `FolderError` where it can't be written; the old one stays then.
        """
        made = self._tokens | {role: secrets.token_urlsafe(TOKEN_BYTES)}
        try:
            self._save(made)
        except OSError as error:
            raise FolderError(
                _("a new token can't be saved: {reason}.").format(reason=error.strerror or error),
                field=str(self._file),
                remedy=_("Check that the disk isn't full and that you may write there."),
            ) from error
        self._tokens = made
        self.sign_ins.end_all(role)
        log.info("the %s's token was renewed", role.value)
        return self._tokens[role]

    def role_of(self, token: str) -> Role | None:
        """The role of a token; None for an unknown one. Always compares with both tokens, so the
        time that it takes gives nothing away."""
        given = token.encode()
        found = [
            role
            for role in (Role.OPERATOR, Role.VIEWER)
            if secrets.compare_digest(given, self._tokens[role].encode())
        ]
        return found[0] if found else None

    def _save(self, tokens: dict[Role, str]) -> None:
        content = {role.value: token for role, token in tokens.items()}
        write_atomically(self._file, json.dumps(content, indent=2).encode())


def _read(file: Path) -> dict[Role, str]:
    try:
        content = json.loads(file.read_bytes())
        tokens = {role: content[role.value] for role in (Role.VIEWER, Role.OPERATOR)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("the file of tokens is damaged, making new ones: %r", error)
        return {}
    usable = all(isinstance(token, str) and len(token) >= TOKEN_BYTES for token in tokens.values())
    return tokens if usable and len(set(tokens.values())) == len(tokens) else {}
