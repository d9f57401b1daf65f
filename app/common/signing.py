"""The machine's private key, its signatures (Ed25519), and canonical JSON (RFC 8785) to sign.

Canonical JSON gives equal content equal bytes, so anybody can verify a document even after it was
parsed and written again. Import this module late: the cryptography library takes some 30 ms.
"""

import base64
import binascii
import threading
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
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

_creation_lock = threading.Lock()


class MachineKey:
    """An Ed25519 private key, which is never sent or logged."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> "MachineKey":
        """Load the key from a PEM file; without a file, create one (mode 0600) and its folder.

        May be called on any thread. Raises `MachineKeyError` when the file is damaged. It isn't
        replaced then: with a new key, others would take this machine for another one.
        """
        with _creation_lock:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_atomically(path, _pem(Ed25519PrivateKey.generate()))
        return cls(_load(path))

    @property
    def public_key(self) -> str:
        """The public key, with which others verify signatures: 32 bytes in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        """Sign bytes; returns the signature of 64 bytes."""
        return self._key.sign(data)


def verify(public_key: str, data: bytes, signature: bytes) -> bool:
    """Whether a signature of these bytes is valid; False as well for a malformed public key."""
    try:
        raw = base64.b64decode(public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except (InvalidSignature, ValueError):  # base64's error is a ValueError
        return False
    return True


def canonical(content: Any) -> bytes:
    """Encode as canonical JSON (RFC 8785): sorted keys, no spaces, UTF-8, ECMAScript's numbers.

    Raises `ValueError` for values that not every JSON library reads alike: NaN, infinity, integers
    of more than 53 bits, keys that aren't strings, lone surrogates, types that JSON lacks.
    """
    return rfc8785.dumps(content)


def as_text(signature: bytes) -> str:
    """Encode a signature in base64, for a JSON document."""
    return base64.b64encode(signature).decode()


def from_text(signature: str) -> bytes:
    """Decode a signature from base64; malformed text gives b"", which no document verifies with."""
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


def fits_together(key: rsa.RSAPrivateKey) -> bool:
    """Whether no number of a key has changed since it was made. Nothing else reveals it in a key
    that was read without validation."""
    own = key.private_numbers()
    e, n = own.public_numbers.e, own.public_numbers.n
    if min(own.p, own.q) < 2:
        return False
    exponents = all(
        own.d % (factor - 1) == exponent and e * exponent % (factor - 1) == 1
        for factor, exponent in ((own.p, own.dmp1), (own.q, own.dmq1))
    )
    return exponents and own.p * own.q == n and own.q * own.iqmp % own.p == 1
