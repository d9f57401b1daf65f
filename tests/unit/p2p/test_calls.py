"""Whatever hivemind raises becomes one error."""

import asyncio

import pytest

from app.common.errors import ConnectError
from app.p2p import calls
from app.p2p.calls import CallError

PEER = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
RELAY = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
PLACE = "/ip4/192.0.2.1/tcp/4001"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no socket"), "no socket"),
        (RuntimeError("first line\nand more"), "first line"),
        (KeyError(), "KeyError()"),
    ],
)
async def test_an_error_is_told_in_a_line(error: Exception, reason: str) -> None:
    with pytest.raises(CallError) as raised:
        async with calls.within(10.0, peer_id=PEER, address=PLACE):
            raise error
    assert raised.value.reason == reason
    assert raised.value.details == str(error)
    assert str(raised.value) == f"{PEER} at {PLACE}: {reason}"
    assert raised.value.__cause__ is error
    assert not raised.value.timed_out


async def test_the_time_is_up() -> None:
    with pytest.raises(CallError, match="no answer within 0 s") as raised:
        async with calls.within(0.01):
            await asyncio.Event().wait()
    assert raised.value.timed_out
    assert not raised.value.details


async def test_the_first_deadline_counts() -> None:
    with pytest.raises(CallError, match="no answer within 0 s"):
        async with calls.within(0.01), calls.within(60.0):
            await asyncio.Event().wait()


async def test_our_own_errors_and_a_cancel_pass_through() -> None:
    with pytest.raises(ConnectError):
        async with calls.within(10.0):
            raise ConnectError("ours")
    with pytest.raises(asyncio.CancelledError):
        async with calls.within(10.0):
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("address", "place", "peer_id"),
    [
        (f"{PLACE}/p2p/{PEER}", PLACE, PEER),
        (PLACE, PLACE, ""),
        (f"{PLACE}/p2p/{RELAY}/p2p-circuit", f"{PLACE}/p2p/{RELAY}/p2p-circuit", ""),
        (
            f"{PLACE}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
            f"{PLACE}/p2p/{RELAY}/p2p-circuit",
            PEER,
        ),
    ],
)
def test_an_address_is_split(address: str, place: str, peer_id: str) -> None:
    assert calls.split(address) == (place, peer_id)


def test_an_address_that_is_none_is_a_failed_call() -> None:
    with pytest.raises(CallError):
        calls.packed_addresses(["/ip4/nowhere"])


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\xc7\x01\x50\x01", b"\xa1\xff"],
    ids=["empty", "reserved", "short", "long", "no dictionary", "no text"],
)
def test_malformed_bytes_are_nothing(packed: bytes) -> None:
    assert calls.unpacked(packed) is None


def test_sound_bytes_are_unpacked() -> None:
    assert calls.unpacked(b"\x92\x01\xa1x") == [1, "x"]


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        (1_700_003_600.5, "the clock of this machine is 1 h fast: let"),
        (1_699_999_920.0, "the clock of this machine is 1 min 20 s slow: let"),
    ],
)
def test_clocks_that_differ_are_told_in_words(ours: float, reason: str) -> None:
    text = (
        "local time must be within 3 seconds "
        f" of others(local: {ours:.5f}, peer: {1_700_000_000.0:.5f})"
    )
    with pytest.raises(CallError) as raised, calls.hivemind_errors():
        raise RuntimeError(text)
    assert raised.value.reason.startswith(reason)
