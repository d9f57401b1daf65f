"""Asks which peer is at an address, as libp2p does: by the certificate of a TLS handshake.

libp2p dials no address of a peer that it is connected to, so it doesn't tell whether that peer is
at another address too. The certificate holds the peer's public key, and that key's signature over
the key of the certificate, which the handshake proves to be theirs. The formats are those of
https://github.com/libp2p/specs/blob/master/tls/tls.md.
"""

import asyncio
import contextlib
import ssl
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from hivemind.p2p import PeerID
from hivemind.proto import crypto_pb2

from app.common.i18n import _
from app.p2p import calls
from app.p2p.calls import CallError

LONGEST_PLAIN_KEY = 42
"""Bytes of a public key that is its peer's id itself; of a longer one, the id is a hash."""

_HELLO = (b"\x13/multistream/1.0.0\n", b"\x0b/tls/1.0.0\n")
_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_SEQUENCE, _OCTETS = 0x30, 0x04


async def check_at(host: str, port: int, *, peer_id: str) -> None:
    """Make sure that a peer is the one at a TCP address. Raises `CallError`."""
    found = await who_answers(host, port)
    if found != peer_id:
        reason = _("another peer is there, {peer_id}").format(peer_id=found)
        raise CallError(reason, peer_id=peer_id, address=f"{host}:{port}")


async def who_answers(host: str, port: int) -> str:
    """The id of the peer at a TCP address. Raises `CallError`."""
    async with calls.within(calls.CALL_SECONDS, address=f"{host}:{port}"):
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.closing(writer):
            try:
                shown = await _certificate(reader, writer)
                with calls.hivemind_errors():  # cryptography may raise anything, too
                    return peer_of(shown)
            except (ValueError, ssl.SSLError, ConnectionError, CallError) as error:
                reason = _("what answers there doesn't prove to be a peer")
                raise CallError(reason, details=str(error)) from error


async def _certificate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.writelines(_HELLO)
    if (await reader.readline(), await reader.readline()) != _HELLO:
        raise ValueError("it doesn't offer TLS")
    await writer.start_tls(_context())
    return bytes(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `peer_of` verifies
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["libp2p"])
    return context


def peer_of(certificate: bytes) -> str:
    """The id of the peer whose certificate (DER) this is. Raises anything for another's."""
    found = x509.load_der_x509_certificate(certificate)
    extension = found.extensions.get_extension_for_oid(_EXTENSION).value
    signed, _rest = _content(extension.public_bytes(), _SEQUENCE)
    public, rest = _content(signed, _OCTETS)
    signature, _rest = _content(rest, _OCTETS)
    own = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _verify(public, signature, b"libp2p-tls-handshake:" + own)
    plain = len(public) <= LONGEST_PLAIN_KEY
    raw = b"\x00%c%b" % (len(public), public) if plain else b"\x12\x20" + sha256(public).digest()
    return str(PeerID(raw).to_base58())


def _verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Check a signature. public: the key, as libp2p encodes it."""
    wire: Any = crypto_pb2  # its names are made at run time
    key = wire.PublicKey.FromString(public)
    if key.key_type == wire.Ed25519:
        Ed25519PublicKey.from_public_bytes(key.data).verify(signature, message)
        return
    loaded = load_der_public_key(key.data)
    if not isinstance(loaded, RSAPublicKey):
        raise TypeError(f"its key is a {type(loaded)}")
    loaded.verify(signature, message, PKCS1v15(), hashes.SHA256())


def _content(encoded: bytes, tag: int) -> tuple[bytes, bytes]:
    """What the element of DER with this tag holds, and what follows it."""
    length, begin = encoded[1], 2
    if length >= 0x80:
        begin += length - 0x80
        length = int.from_bytes(encoded[2:begin], "big")
    end = begin + length
    if encoded[0] != tag or end > len(encoded):
        raise ValueError("it isn't encoded as libp2p does")
    return encoded[begin:end], encoded[end:]
