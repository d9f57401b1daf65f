"""Organisers with their keys, and the rosters that they sign."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.common.signing import MachineKey
from app.organiser.admission import Admission
from app.organiser.roster import Member, Roster, body_of, to_sign

FIRST = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
SECOND = "QmSoLPppuBtQSGwKDZT2M73ULpjvfd3aZ6ha4oFGL1KrGM"
PLAIN = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def organiser() -> MachineKey:
    return MachineKey(Ed25519PrivateKey.generate())


def sealed(
    key: MachineKey, *members: str, serial: int = 1, run_id: str = "run", issued: float = 1e9
) -> bytes:
    """A roster of these peer ids, signed whether it makes sense or not."""
    made = tuple(Member(peer_id=each, label=f"label {n}") for n, each in enumerate(members))
    body = body_of(Roster(serial=serial, issued=issued, members=made))
    return key.sign(to_sign(body, run_id)) + body


def admission_by(key: MachineKey, file: Path, run_id: str = "run") -> Admission:
    return Admission(run_id=run_id, organiser_key=key.public_key, file=file)
