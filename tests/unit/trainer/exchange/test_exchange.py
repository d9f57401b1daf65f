"""Rounds among members with a p2pd each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.p2p.sightings import PartFault
from app.trainer.exchange.exchange import ExchangeError, Swap
from tests.support.training.exchanges import BAD, Peer, Swarm


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "keys")
    yield made
    made.close()


def blob(number: int, size: int = 700_000) -> bytes:
    """Three pieces."""
    return bytes([number]) * size


def blobs(swap: Swap) -> dict[str, bytes]:
    return {each.peer_id: each.blob for each in swap.contributions}


@pytest.mark.parametrize("count", [2, 5])
def test_all_members_end_with_the_same_set_in_the_same_order(swarm: Swarm, count: int) -> None:
    peers = [swarm.add() for _ in range(count)]
    for epoch in (1, 2):
        swapping = [
            swarm.swap(peer, blob(10 * epoch + number), epoch=epoch, weight=number)
            for number, peer in enumerate(peers)
        ]
        swaps = [each.result() for each in swapping]
        assert all(swap == swaps[0] for swap in swaps)
        assert swaps[0].included
        offered = {
            peer.peer_id: (blob(10 * epoch + number), float(number))
            for number, peer in enumerate(peers)
        }
        brought = [(each.peer_id, (each.blob, each.weight)) for each in swaps[0].contributions]
        assert brought == sorted(offered.items())
    assert [peer.faults for peer in peers] == [[]] * count
