"""Tensors keep to a rate on their real way: through averagers of their own processes and p2pd."""

import contextlib
import time
from collections.abc import Iterator

import hivemind
import pytest
import torch
from hivemind.averaging.averager import DecentralizedAverager

from app.protocol import Pace
from app.trainer.peer import bandwidth, traffic

pytestmark = pytest.mark.e2e

MEGABYTE = 10**6
BYTES = 2 * MEGABYTE
"""What two peers send each other in a round, each a half of a megabyte there and back."""

PART = 2**19
"""Bytes of a message, of which the first passes at once."""


class Averager(traffic.CountedTraffic, DecentralizedAverager):
    wire_class = DecentralizedAverager


@pytest.fixture(scope="module")
def averagers() -> Iterator[list[Averager]]:
    """Two peers, each with a megabyte."""
    with contextlib.ExitStack() as stack:
        made: list[Averager] = []
        for _peer in range(2):
            known = made[0].dht.get_visible_maddrs() if made else []
            dht = hivemind.DHT(initial_peers=known, start=True)
            stack.callback(dht.shutdown)
            averager = Averager(
                [torch.full((MEGABYTE // 4,), float(len(made)))],
                dht=dht,
                prefix="rate",
                target_group_size=2,
                # long, for a round that a busy machine lets fail is tried again, and counts twice;
                # the group is closed as soon as both are there
                min_matchmaking_time=15.0,
                request_timeout=10.0,
                start=True,
            )
            stack.callback(averager.shutdown)
            made.append(averager)
        yield made
    bandwidth.keep_to(Pace(id=0))


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_round_takes_as_long_as_its_tensors_need(
    averagers: list[Averager], direction: str
) -> None:
    bandwidth.keep_to(Pace(id=1, **{direction: MEGABYTE}))
    before, began = Averager.traffic.sent, time.monotonic()
    rounds = [averager.step(wait=False, timeout=120.0) for averager in averagers]
    assert [len(each.result(timeout=180.0)) for each in rounds] == [2, 2]
    # a peer may have the last part before its sender has counted it
    while Averager.traffic.sent - before < BYTES:
        time.sleep(0.01)
    assert Averager.traffic.sent - before == BYTES
    assert Averager.traffic.sent_in_rounds == Averager.traffic.sent
    assert time.monotonic() - began >= (BYTES - PART) / MEGABYTE
    with averagers[0].get_tensors() as tensors:
        assert torch.allclose(tensors[0], torch.tensor(0.5))
