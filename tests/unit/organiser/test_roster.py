"""What counts as a roster, and how it changes."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.common.errors import RosterError
from app.organiser import roster as rosters
from app.organiser.roster import NOBODY, Member, peer_ids_in, raw_peer_id, unseal
from tests.support.organiser.organisers import FIRST, PLAIN, SECOND, organiser, sealed

KEY = organiser()


def opened(content: bytes, run_id: str = "run") -> rosters.Roster | None:
    return unseal(content, organiser_key=KEY.public_key, run_id=run_id)


def test_what_the_organiser_signed_can_be_read() -> None:
    roster = opened(sealed(KEY, FIRST, PLAIN, serial=7))
    assert roster is not None
    assert (roster.serial, [each.peer_id for each in roster.members]) == (7, [FIRST, PLAIN])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(64),
        bytes(70_000),
        sealed(organiser(), FIRST),
        sealed(KEY, FIRST, run_id="another run"),
        sealed(KEY, FIRST, serial=0),
        sealed(KEY, FIRST, serial=-1),
        sealed(KEY, FIRST, serial=2**60),
        sealed(KEY, FIRST, issued=math.nan),
        sealed(KEY, FIRST, issued=-1.0),
        sealed(KEY, FIRST, FIRST),
        sealed(KEY, "no peer"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_none(content: bytes) -> None:
    assert opened(content) is None


@given(st.integers(0, 400), st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, change: int) -> None:
    content = bytearray(sealed(KEY, FIRST, SECOND))
    content[place % len(content)] ^= change
    assert opened(bytes(content)) is None


@given(st.binary(max_size=300))
@example(b"\x93\x01\x01\x01")
def test_garbage_of_the_organiser_is_none_or_a_sound_roster(body: bytes) -> None:
    found = opened(KEY.sign(rosters.to_sign(body, "run")) + body)
    if found is not None:  # four bytes are enough for a roster without members
        members = [each.peer_id for each in found.members]
        again = sealed(KEY, *members, serial=found.serial, issued=found.issued)
        assert opened(again) is not None


def test_members_come_and_go() -> None:
    first = NOBODY.with_member(FIRST, " Ada\nLovelace ")
    assert first.members == (Member(peer_id=FIRST, label="Ada Lovelace"),)
    second = first.with_member(PLAIN, "")
    assert second.with_member(PLAIN, "") is second
    third = second.without_member(FIRST)
    assert (third.serial, [each.peer_id for each in third.members]) == (3, [PLAIN])
    assert [each.label for each in second.with_member(PLAIN, "new").members] == [
        "Ada Lovelace",
        "new",
    ]


@pytest.mark.parametrize(
    "text", ["", "no peer", FIRST[:-1], f"{FIRST}1", "1" * 40, "Qm" + "0" * 44]
)
def test_no_peer_id_is_refused(text: str) -> None:
    assert raw_peer_id(text) is None
    with pytest.raises(RosterError) as caught:
        NOBODY.with_member(text, "")
    assert caught.value.field == "peer_id"


def test_who_is_not_there_can_not_be_removed() -> None:
    with pytest.raises(RosterError):
        NOBODY.without_member(FIRST)


def test_a_roster_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosters, "MOST_MEMBERS", 1)
    full = NOBODY.with_member(FIRST, "")
    with pytest.raises(RosterError):
        full.with_member(SECOND, "")
    monkeypatch.setattr(rosters, "MOST_BYTES", 100)
    with pytest.raises(RosterError):
        rosters.body_of(full)


def test_raw_peer_ids_are_hiveminds() -> None:
    from hivemind.p2p import PeerID

    for text in (FIRST, SECOND, PLAIN):
        assert raw_peer_id(text) == PeerID.from_base58(text).to_bytes()


def test_a_code_may_name_several_trainers() -> None:
    assert peer_ids_in(f" {FIRST}, {PLAIN}\n{FIRST}") == (FIRST, PLAIN)
