"""Calling on real peers as a stranger does."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.p2p.machine_records import LIFE_SECONDS, seal, shard_key, shard_of
from app.p2p.network import Network, any_free_port
from app.p2p.peer import load_hivemind
from app.p2p.scout import CallOutcome, Scout, called_back
from app.spec import schema
from app.swarm.look import look
from tests.support.machine.machines import new_key, record
from tests.support.training.specs import SMALLEST

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("patient_calls"),
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STRANGER = "QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
CLOCKS = 0.1  # seconds by which the wall clock and the monotonic one may part in the meantime


@pytest.fixture
async def node() -> AsyncIterator[Any]:
    """A node of some run."""
    swarm = await load_hivemind()
    from hivemind.dht.node import DHTNode

    network = Network(listen=("/ip4/127.0.0.1/tcp/0",), local=True)
    made = await DHTNode.create(**swarm.node_options(network))  # type: ignore[attr-defined]
    yield made
    await made.shutdown()


@pytest.fixture
async def plain() -> AsyncIterator[Any]:
    """A peer that is there, but no node."""
    await load_hivemind()
    from hivemind.p2p import P2P

    made = await P2P.create()
    yield made
    await made.shutdown()


async def test_who_answers(node: Any, plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at_node = [str(one) for one in await node.get_visible_maddrs()]
    at_plain = [str(one) for one in await plain.get_visible_maddrs()]
    place = at_node[0].partition("/p2p/")[0]
    async with Scout("run") as scout:
        found = await scout.call(node.peer_id.to_base58(), at_node)
        assert found.answer is CallOutcome.PEER
        assert abs(found.clock) <= found.latency / 2 + CLOCKS
        assert await scout.trainers() == 0
        other = await scout.call(STRANGER, [f"{place}/p2p/{STRANGER}"])
        assert other.answer is CallOutcome.SOMEBODY_ELSE
        silent = f"/ip4/127.0.0.1/tcp/{any_free_port()}/p2p/{STRANGER}"
        assert (await scout.call(STRANGER, [silent])).answer is CallOutcome.NOBODY
        assert (await scout.call(plain.peer_id.to_base58(), at_plain)).answer is CallOutcome.NO_NODE
        now = time.time
        monkeypatch.setattr("app.p2p.scout.time.time", lambda: now() - 5.0)
        ahead = await scout.call(node.peer_id.to_base58(), at_node)
        assert abs(ahead.clock - 5.0) <= ahead.latency / 2 + CLOCKS


async def test_machines_are_seen_from_outside(node: Any) -> None:
    """Those that show themselves in the run; each record once, and no forged one."""
    from hivemind.dht.routing import DHTID
    from hivemind.utils import MSGPackSerializer

    key, now = new_key(), time.time()
    name = DHTID.generate(shard_key("run", shard_of(key.public_key)))
    sealed = seal(record(time=now, alias="ada"), key, "run")
    for public_key, content in ((key.public_key, sealed), (new_key().public_key, sealed)):
        packed = MSGPackSerializer.dumps(content)
        node.protocol.storage.store_subkey(name, public_key, packed, now + LIFE_SECONDS)
    async with Scout("run") as scout:
        addresses = [str(one) for one in await node.get_visible_maddrs()]
        await scout.call(node.peer_id.to_base58(), addresses)
        found = await scout.machines()
        assert {each: one.alias for each, one in found.items()} == {key.public_key: "ada"}
        assert await scout.machines() == {}
    seen = look(schema.parse(SMALLEST | {"initial_peers": addresses}), lab="vision-lab")
    first = await anext(seen)
    assert (first.answered, first.machines, first.of_lab, first.training) == (1, 1, 1, 0)
    await seen.aclose()  # type: ignore[attr-defined]


async def test_nobody_calls_back_within_a_machine(node: Any) -> None:
    async with Scout("run") as scout:
        await scout.call(
            node.peer_id.to_base58(), [str(one) for one in await node.get_visible_maddrs()]
        )
        assert await called_back(scout._node, [node.peer_id.to_base58()]) is None
    assert await called_back(node, []) is None
