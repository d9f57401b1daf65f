"""In which order donors are asked."""

from types import SimpleNamespace

from hivemind.p2p import PeerID

from app.p2p.states.donors import MOST_DONORS, ranked

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
    found = ranked(offered, own=OWN, epoch=5)
    assert (set(found[:2]), found[2:]) == ({AHEAD, EVEN}, [BEHIND])


def test_what_is_no_offer_is_passed_over() -> None:
    assert ranked(None, own=OWN, epoch=5) == []
    assert ranked({EVEN.to_bytes(): said(value="5")}, own=OWN, epoch=5) == []
    many = {b"\x12\x20" + n.to_bytes(32, "big"): said(value=n) for n in range(100)}
    assert len(ranked(many, own=OWN, epoch=5)) == MOST_DONORS
