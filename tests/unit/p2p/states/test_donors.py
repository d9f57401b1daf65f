"""In which order donors are asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hivemind.p2p import PeerID

from app.p2p import run_records
from app.p2p.states.donors import MOST_DONORS, MOST_STRANGERS, donors_of, ranked
from tests.support.network.progress import OWNER, owner, progress

OWN, AHEAD, EVEN, BEHIND = (PeerID(b"\x12\x20" + bytes([n]) * 32) for n in range(4))


def said(**epochs: object) -> SimpleNamespace:
    return SimpleNamespace(**epochs)


def test_those_of_the_swarms_epoch_come_first_and_a_claim_beyond_it_gains_nothing() -> None:
    offered = {
        BEHIND.to_bytes(): said(value=3),
        OWN.to_bytes(): said(value=5),
        AHEAD.to_bytes(): said(value=10**9),
        EVEN.to_bytes(): said(value=5.0),
    }
    found = ranked(offered, None, own=OWN, epoch=5)
    assert (set(found[:2]), found[2:]) == ({AHEAD, EVEN}, [BEHIND])


def test_what_is_no_offer_is_passed_over() -> None:
    assert ranked(None, None, own=OWN, epoch=5) == []
    assert ranked({EVEN.to_bytes(): said(value="5")}, None, own=OWN, epoch=5) == []
    many = {b"\x12\x20" + n.to_bytes(32, "big"): said(value=n) for n in range(100)}
    assert len(ranked(many, None, own=OWN, epoch=5)) == MOST_DONORS


def test_who_speaks_for_itself_comes_before_thousands_that_anybody_made_up(tmp_path: Path) -> None:
    one, other = (run_records.load_identity(tmp_path / f"{name}.pem") for name in "ab")
    made_up = [b"\x12\x20" + n.to_bytes(32, "big") for n in range(4000)]
    offered = {peer: said(value=5) for peer in (*made_up, one.raw, other.raw)}
    speaking = {
        owner(one.key): said(value=progress(peer_id=one.raw)),
        owner(other.key): said(value=None),  # it leaves
        OWNER: said(value=progress(peer_id=made_up[0])),  # under another's key
    }
    first, *strangers = ranked(offered, speaking, own=OWN, epoch=5)
    assert first == PeerID(one.raw)
    assert len(strangers) == MOST_STRANGERS


class Node:
    """Holds what was stored; the run's progress can't be read in time."""

    peer_id = OWN

    async def get_many(self, keys: list[str], **_options: Any) -> dict[str, Any]:
        """As a `DHTNode`."""
        if run_records.progress_key("run") in keys:
            raise TimeoutError
        return {key: said(value={EVEN.to_bytes(): said(value=5)}) for key in keys}


async def test_donors_are_found_where_there_is_too_much_progress_to_read() -> None:
    assert await donors_of(Node(), "run", epoch=5) == [EVEN]
