"""Whom a trainer asks for a snapshot."""

from app.spec import schema
from app.trainer.peer.doors import MOST_DOORS, Doors
from tests.support.organiser.organisers import FIRST, PLAIN, SECOND
from tests.support.training.specs import SMALLEST

NEAR = "/ip4/127.0.0.1/tcp/8080"


def test_who_lets_us_in_is_asked_once_and_never_ourselves() -> None:
    spec = schema.parse(
        SMALLEST | {"initial_peers": [f"{NEAR}/p2p/{FIRST}", f"{NEAR}/p2p/{PLAIN}"]}
    )
    entries = [f"/ip4/10.0.0.1/tcp/1/p2p/{FIRST}", f"{NEAR}/p2p/{SECOND}", NEAR, "/p2p/"]
    found = Doors.of(spec, entries, besides=PLAIN)
    assert [each.to_base58() for each in found.peers] == [FIRST, SECOND]
    assert (found.run_id, found.organiser_key) == (spec.run_id, "")


def test_no_more_are_asked_than_anybody_needs() -> None:
    spec = schema.parse(SMALLEST)
    many = [f"{NEAR}/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S{n}" for n in "ABCDEFG"]
    many += [
        f"{NEAR}/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5{n}A" for n in "ABCDEFGH"
    ]
    many += [
        f"{NEAR}/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU{n}SA" for n in "ABCDEFGH"
    ]
    assert len(Doors.of(spec, many, besides="").peers) <= MOST_DOORS
