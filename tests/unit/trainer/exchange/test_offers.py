"""Offers, and who may make them."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from hivemind.utils.crypto import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from app.organiser.admission import OPEN
from app.p2p.run_records import load_identity
from app.trainer.exchange.offers import OfferError, OwnKey, check_list, check_offer
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.wire import PIECE_BYTES, RoundList

RULES = ExchangeRules(
    run_id="run",
    admission=OPEN,
    check=lambda blob: None,
    most_bytes=2 * PIECE_BYTES,
    most_weight=8.0,
    gather_seconds=1.0,
    round_seconds=1.0,
)
KEY = OwnKey(RSAPrivateKey())
OFFER = KEY.offer(b"x" * (PIECE_BYTES + 1), run_id="run", epoch=3, weight=8.0, serves=True)


def test_an_offer_is_that_of_the_peer_whose_key_signed_it(tmp_path: Path) -> None:
    identity = load_identity(tmp_path / "key")
    key = OwnKey(identity.key)
    assert key.peer_id == identity.peer_id
    offer = key.offer(b"x", run_id="run", epoch=3, weight=1.0, serves=False)
    assert check_offer(offer, RULES, epoch=3) == identity.peer_id
    assert (OFFER.pieces, OFFER.piece_size(0), OFFER.piece_size(1)) == (2, PIECE_BYTES, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 4},
        {"weight": 7.0},
        {"weight": 9.0},
        {"weight": -1.0},
        {"weight": float("inf")},
        {"size": PIECE_BYTES + 2},
        {"size": 0},
        {"size": 2**60},
        {"hashes": b""},
        {"hashes": bytes(64)},
        {"serves": False},
        {"key": b"key"},
        {"key": OwnKey(RSAPrivateKey())._public},
        {"signature": b"signature"},
        {"signature": b"AAAA"},
    ],
)
def test_nobody_can_change_an_offer(changes: dict[str, object]) -> None:
    with pytest.raises(OfferError):
        check_offer(msgspec.structs.replace(OFFER, **changes), RULES, epoch=3)


def test_an_offer_is_of_one_run() -> None:
    with pytest.raises(OfferError):
        check_offer(OFFER, dataclasses.replace(RULES, run_id="other"), epoch=3)


@given(st.binary(max_size=200))
def test_whatever_a_leader_sends_is_a_list_or_an_error(packed: bytes) -> None:
    with pytest.raises(OfferError):
        check_list(packed, RULES, epoch=3, own=(KEY.peer_id, OFFER))


def test_an_honest_list() -> None:
    packed = RoundList(epoch=3, offers=(OFFER,)).pack()
    assert check_list(packed, RULES, epoch=3, own=(KEY.peer_id, OFFER)) == {KEY.peer_id: OFFER}
