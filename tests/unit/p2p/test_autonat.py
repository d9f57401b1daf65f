"""Asking to be called back, on the wire."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from app.p2p import autonat
from app.p2p.autonat import Status


def test_question() -> None:
    asked = autonat.question(b"peer", [b"first", b"second"])
    assert asked == b"\x1b\x08\x00\x12\x17\x0a\x15\x0a\x04peer\x12\x05first\x12\x06second"


def test_long_messages_have_long_lengths() -> None:
    asked = autonat.question(b"peer", [b"x" * 300])
    assert asked.startswith(b"\xbd\x02\x08\x00\x12\xb8\x02\x0a\xb5\x02\x0a\x04peer\x12\xac\x02x")


def test_answers() -> None:
    refused = b";\x08\x01\x1a7\x08e\x123refusing to dial peer with blocked observed address"
    assert autonat.answer(refused) is Status.DIAL_REFUSED
    assert autonat.answer(b"\x06\x08\x01\x1a\x02\x08\x64") is Status.DIAL_ERROR
    assert autonat.answer(b"\x06\x08\x01\x1a\x02\x08\x00") is Status.OK


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_refused(reply: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert autonat.answer(reply) in Status
