"""The machine's key: what this machine says can be checked later, by anyone.

Ed25519 over canonical JSON (RFC 8785): the same content is always the same bytes, so a document
can be checked after it has been parsed and written again. Import this module late: the library
behind it takes some 30 ms.
"""

import base64
import binascii
import threading
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from app.common.errors import MachineKeyError
from app.common.i18n import _
from app.common.paths import write_atomically

_making = threading.Lock()


class MachineKey:
    """A private key that never leaves this machine, and never shows in a log."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> "MachineKey":
        """The key in a file (PEM, mode 0600); made, together with its folder, where there is none.

        Any thread may call. Raises `MachineKeyError` when the file is damaged: another key would
        be another machine to everybody, so it is never replaced without being asked.
        """
        with _making:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_atomically(path, _pem(Ed25519PrivateKey.generate()))
        return cls(_load(path))

    @property
    def public_key(self) -> str:
        """What others check our signatures with: its 32 bytes in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(data)


def verify(public_key: str, data: bytes, signature: bytes) -> bool:
    """Whether the owner of a key signed these bytes; False as well for what is no key."""
    try:
        raw = base64.b64decode(public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except (InvalidSignature, ValueError):  # base64's error is a ValueError
        return False
    return True


def canonical(content: Any) -> bytes:
    """JSON as RFC 8785 fixes it: sorted keys, no spaces, UTF-8, numbers as ECMAScript writes them.

    Raises `ValueError` for what JSON can't hold the same everywhere: NaN, infinity, integers of
    more than 53 bits, keys that are no text, lone surrogates, other types.
    """
    return rfc8785.dumps(content)


def as_text(signature: bytes) -> str:
    """A signature for a JSON document: base64."""
    return base64.b64encode(signature).decode()


def from_text(signature: str) -> bytes:
    """The way back; nothing, which fits no document, for what isn't base64."""
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        path.chmod(0o600)  # a copied or restored file may have become readable for others
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        reason = _("this machine's key can't be read: {reason}.").format(reason=error.strerror)
        raise MachineKeyError(reason, field=str(path)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _damaged(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(path)
    return key


def _damaged(path: Path) -> MachineKeyError:
    return MachineKeyError(
        _("this machine's key is damaged, or isn't one of ours."),
        field=str(path),
        remedy=_(
            "Restore the file from a backup, or delete it: a new key is made then, and what was "
            "signed with the old one stays valid."
        ),
    )
