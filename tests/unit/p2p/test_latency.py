"""Latencies: a few at a time, those measured longest ago first."""

import asyncio

from app.p2p.latency import AT_ONCE, Latencies


class Peers:
    """Peers that answer, but for the deaf."""

    def __init__(self, *deaf: str) -> None:
        self.deaf = deaf
        self.asked: list[str] = []
        self.free = asyncio.Event()
        self.free.set()

    async def ping(self, peer_id: str) -> bool:
        self.asked.append(peer_id)
        await self.free.wait()
        return peer_id not in self.deaf


async def settle(latencies: Latencies) -> None:
    assert latencies._measuring is not None
    await latencies._measuring


async def test_few_at_a_time_until_all_are_known() -> None:
    peers = Peers("p9")
    latencies = Latencies(peers.ping)
    ids = [f"p{number}" for number in range(10)]
    for _ in range(3):
        latencies.look(ids)
        await settle(latencies)
    assert len(peers.asked) == len(set(peers.asked)) == 10
    assert latencies.of("p0") is not None
    assert latencies.of("p9") is None
    latencies.look(ids)
    await settle(latencies)
    assert len(peers.asked) == 10  # all are fresh


async def test_no_second_measurement_beside_the_first() -> None:
    peers = Peers()
    peers.free.clear()
    latencies = Latencies(peers.ping)
    latencies.look(["a"])
    await asyncio.sleep(0)
    latencies.look(["a", "b"])
    await asyncio.sleep(0)
    assert peers.asked == ["a"]
    await latencies.close()
    assert AT_ONCE >= 1


async def test_peer_that_is_gone_is_forgotten() -> None:
    peers = Peers()
    latencies = Latencies(peers.ping)
    latencies.look(["a"])
    await settle(latencies)
    latencies.look([])
    assert latencies.of("a") is None
    await latencies.close()
