"""Pieces of the blobs of a list."""

import numpy as np
import pytest
from hivemind.utils.crypto import RSAPrivateKey

from app.trainer.exchange.holding import Holding
from app.trainer.exchange.offers import OwnKey
from app.trainer.exchange.wire import PIECE_BYTES

BLOBS = {"a": b"a" * (2 * PIECE_BYTES + 5), "b": b"b" * 3}
KEY = OwnKey(RSAPrivateKey())
OFFERS = {
    peer_id: KEY.offer(blob, run_id="run", epoch=1, weight=1.0, serves=True)
    for peer_id, blob in BLOBS.items()
}


def test_pieces_of_one_make_the_blobs_of_another() -> None:
    one = Holding(OFFERS, packed=b"list", blobs=BLOBS)
    other = Holding(OFFERS, packed=b"list", blobs={})
    assert (one.pieces, one.is_complete, other.held) == (4, True, 0)
    for number in (3, 1, 0, 1):
        assert len(one.piece(number)) == one.size(number)
        assert other.put(number, bytes(one.piece(number)))
    assert (other.held, other.is_complete, other.blobs) == (3, False, {"b": BLOBS["b"]})
    assert other.piece(1) == one.piece(1)  # of a blob that isn't whole yet
    assert other.put(2, bytes(one.piece(2)))
    assert (other.is_complete, other.blobs) == (True, BLOBS)


def test_a_piece_that_the_list_does_not_mean_is_refused() -> None:
    holding = Holding(OFFERS, packed=b"list", blobs={})
    assert not holding.put(3, b"ccc")
    assert holding.held == 0


def test_what_others_have() -> None:
    one = Holding(OFFERS, packed=b"list", blobs={"b": BLOBS["b"]})
    other = Holding(OFFERS, packed=b"list", blobs={})
    assert np.array_equal(other.unpack(one.bits()), [False, False, False, True])
    assert not other.unpack(b"").any()
    with pytest.raises(ValueError):
        other.unpack(b"12")
