"""The bytes of tensors, counted as they pass."""

import os

from app.trainer.peer.traffic import Traffic
from tests.support.training.messages import messages


async def test_bytes_are_counted_as_they_pass() -> None:
    traffic = Traffic()
    sent = [len(each.tensor_part.buffer) async for each in traffic.sending(messages(10, 0, 5))]
    received = [each async for each in traffic.receiving(messages(7))]
    assert (sent, len(received)) == ([10, 0, 5], 1)
    assert (traffic.sent, traffic.received) == (15, 7)


async def test_only_rounds_count_as_sent_in_rounds() -> None:
    traffic = Traffic()
    _round = [each async for each in traffic.sending(messages(10, 5), in_round=True)]
    _state = [each async for each in traffic.sending(messages(1000))]
    assert (traffic.sent, traffic.sent_in_rounds) == (1015, 15)


async def test_what_nobody_took_was_not_sent() -> None:
    traffic = Traffic()
    sending = traffic.sending(messages(10, 20))
    await anext(sending)
    await anext(sending)
    await sending.aclose()
    assert traffic.sent == 10


def test_what_a_forked_process_counts_is_seen_here() -> None:
    traffic = Traffic()
    child = os.fork()
    if child == 0:
        traffic._counts[0] += 2**40
        os._exit(0)
    os.waitpid(child, 0)
    assert traffic.sent == 2**40
