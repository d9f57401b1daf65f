"""Keeps the two tokens of the local API: the viewer's, and the operator's."""

import json
import logging
import secrets
from enum import StrEnum
from pathlib import Path

from app.common.paths import write_atomically

log = logging.getLogger(__name__)

TOKEN_BYTES = 32


class Role(StrEnum):
    """What a caller may do."""

    ANYBODY = "anybody"
    """Has no token: may read what is open to all."""

    VIEWER = "viewer"
    """May read everything."""

    OPERATOR = "operator"
    """May read and change everything."""


class ApiTokens:
    """The tokens in a file that only its owner can read. Missing ones are created."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tokens = _read(file)
        missing = [role for role in (Role.VIEWER, Role.OPERATOR) if role not in self._tokens]
        for role in missing:
            self._tokens[role] = secrets.token_urlsafe(TOKEN_BYTES)
        if missing:
            self._save()
        else:
            file.chmod(0o600)  # a copy of the file may have other permissions

    def of(self, role: Role) -> str:
        """The token of a role."""
        return self._tokens[role]

    def renew(self, role: Role) -> str:
        """Make a new token for a role; the old one is invalid from now on."""
        self._tokens[role] = secrets.token_urlsafe(TOKEN_BYTES)
        self._save()
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

    def _save(self) -> None:
        content = {role.value: token for role, token in self._tokens.items()}
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
