"""Who answers at an address is proven, by p2pd's real handshake."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hivemind.p2p import P2P

from app.common.errors import ConnectError
from app.p2p.calls import CallError
from app.p2p.guards.handshake import peer_of, who_answers
from app.p2p.peer import EmbeddedPeer
from app.p2p.run_records import load_identity

EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
STRANGER = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"


@pytest.fixture(params=["RSA", "Ed25519"])
async def peer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[P2P]:
    """A real daemon; without a file its key is of the other kind."""
    file = tmp_path / "peer.pem"
    if request.param == "RSA":
        load_identity(file)
    path = {"identity_path": str(file)} if file.exists() else {}
    p2p = await P2P.create(host_maddrs=["/ip4/127.0.0.1/tcp/0"], **path)
    yield p2p
    await p2p.shutdown()


async def port_of(p2p: P2P) -> int:
    (address,) = await p2p.get_visible_maddrs()
    return int(address["tcp"])


async def test_a_daemon_proves_who_it_is(peer: P2P) -> None:
    assert await who_answers("127.0.0.1", await port_of(peer)) == peer.peer_id.to_base58()


async def test_connected_or_not_only_the_peer_itself_is_reached(peer: P2P, tmp_path: Path) -> None:
    port, peer_id = await port_of(peer), peer.peer_id.to_base58()
    own = await P2P.create(host_maddrs=["/ip4/127.0.0.1/tcp/0"])
    joined = EmbeddedPeer(tmp_path / "app.pem")
    joined._node = _Node(own)
    try:
        for _connected in (False, True):
            reached = await joined.connect(peer_id, host="127.0.0.1", port=port)
            assert reached == f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id}"
            with pytest.raises(ConnectError, match=f"another peer is there, {own.peer_id}"):
                await joined.connect(peer_id, host="127.0.0.1", port=await port_of(own))
            with pytest.raises(ConnectError, match=f"another peer is there, {peer_id}"):
                await joined.connect(STRANGER, host="127.0.0.1", port=port)
    finally:
        await own.shutdown()


class _Node:
    """Of the node, `connect` uses the daemon; the ping of one that is no node comes to nothing."""

    def __init__(self, p2p: P2P) -> None:
        self.p2p = p2p
        self.protocol = None


def certificate(*, signed: bytes = b"", public: bytes = b"") -> bytes:
    """A certificate as libp2p makes it (DER). signed, public: what its peer has signed, and the
    public key that it shows, if these are not the right ones."""
    key, peer = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = public or b"\x08\x01\x12\x20" + peer.public_key().public_bytes_raw()
    signature = peer.sign(signed or b"libp2p-tls-handshake:" + own)
    proof = b"\x04%c%b\x04%c%b" % (len(public), public, len(signature), signature)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=1),
    )
    extension = x509.UnrecognizedExtension(EXTENSION, b"0%c%b" % (len(proof), proof))
    made = builder.add_extension(extension, critical=True).sign(key, None)
    return made.public_bytes(Encoding.DER)


def test_a_certificate_is_believed_only_with_the_signature_of_its_peer() -> None:
    assert peer_of(certificate()).startswith("12D3KooW")
    with pytest.raises(InvalidSignature):
        peer_of(certificate(signed=b"libp2p-tls-handshake:another key"))
    with pytest.raises(InvalidSignature):  # somebody else's
        peer_of(certificate(public=b"\x08\x01\x12\x20" + bytes(32)))
    with pytest.raises(ValueError, match="32 bytes"):
        peer_of(certificate(public=b"\x08\x01\x12\x02ab"))


@pytest.mark.parametrize(
    "answer", [b"", b"\x13/multistream/1.0.0\n\x03na\n", b"HTTP/1.1 400 \r\n\r\n", bytes(10**6)]
)
async def test_what_speaks_otherwise_is_no_peer(answer: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CallError, match="doesn't prove to be a peer"):
            await who_answers("127.0.0.1", port)
    with pytest.raises(CallError, match="Connect call failed"):
        await who_answers("127.0.0.1", port)
