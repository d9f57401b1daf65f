"""The doors that a trainer asks for a snapshot when nobody else can give it the swarm's state."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hivemind.p2p import P2P, PeerID

from app.common import signing
from app.organiser.roster import raw_peer_id
from app.p2p import meeting
from app.p2p.states.servicer import SnapshotServicer
from app.p2p.states.wire import Header
from app.spec.schema import SwarmSpec

MOST_DOORS = 16


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Those of one run, and whom they must show a signature of."""

    run_id: str
    peers: tuple[PeerID, ...]
    organiser_key: str
    """Public, in base64; "" in a swarm without an organiser."""

    @classmethod
    def of(cls, spec: SwarmSpec, entries: Iterable[str], *, besides: str) -> "Doors":
        """entries: multiaddrs by which the run is entered. besides: our own peer id (base58)."""
        found = meeting.by_peer((*spec.initial_peers, *entries))
        ids = [each for each in found if each != besides and raw_peer_id(each) is not None]
        return cls(
            run_id=spec.run_id,
            peers=tuple(map(PeerID.from_base58, ids[:MOST_DOORS])),
            organiser_key="" if spec.organiser is None else spec.organiser.key,
        )

    def stub(self, p2p: P2P, peer: PeerID) -> Any:
        """What calls a door, for `DonorCalls`."""
        return SnapshotServicer.get_stub(p2p, peer, namespace=self.run_id)

    def vouched(self, header: Header) -> bool:
        """Whether the organiser, if there is one, has signed a snapshot of this run."""
        if not self.organiser_key:
            return True
        signature = signing.from_text(header.signature)
        return signing.verify(self.organiser_key, header.to_sign(self.run_id), signature)
