"""Machines' records between real nodes of a DHT in this very process."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.common.paths import Folders
from app.machine.hardware import Gpu, Reading
from app.p2p import machine_records as records
from app.p2p.board import Board
from app.p2p.machine_records import Flaw, Inspection, Inspector, MachineRecord
from app.p2p.network import Network, listening
from app.p2p.peer import EmbeddedPeer, load_hivemind
from app.settings.settings import Settings
from app.state.facts import Swarm
from app.state.history import History
from app.state.state import ContributorState, OwnTraining, Phase
from app.state.store import Store
from app.swarm.fleet_sync import FleetSync
from tests.support.machine.machines import RecordedProbe, new_key, record
from tests.support.processes.apps import PATIENCE, tiny_spec

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("patient_calls"),
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RUN = "tiny"
GPU = Gpu(index=0, uuid="GPU-1", name="RTX 4090", use=0.9, temperature=64.0, power=200.0)


class Node:
    """A node of the swarm with the run's validators, and what it reads."""

    def __init__(self, peer: EmbeddedPeer, addresses: tuple[str, ...]) -> None:
        self.peer, self.addresses = peer, addresses
        self.board = Board(peer.node, RUN)
        self.inspector = Inspector(RUN)

    async def read(self) -> Inspection:
        """What is new since the last time."""
        found = Inspection()

        async def take(part: Inspection) -> None:
            found.records.update(part.records)
            found.dropped.update(part.dropped)

        await self.board.read(self.inspector, take, replicas=5)
        return found


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[Node]]:
    """Three nodes of one swarm."""
    await load_hivemind()
    made: list[Node] = []
    for number in range(3):
        folders = Folders.under(tmp_path / f"node{number}")
        folders.create()
        peer = EmbeddedPeer(folders.identity_file("app"))
        initial = made[0].addresses if made else ()
        presence = await peer.join(
            tiny_spec()["run_id"],
            initial_peers=initial,
            network=Network(listen=listening(0, local=True), local=True),
        )
        made.append(Node(peer, presence.addresses))
    yield made
    for node in made:
        await node.peer.leave()


@pytest.fixture
async def plain(nodes: list[Node]) -> AsyncIterator[Any]:
    """A plain Hivemind node of the same network, without the run's validators: an attacker."""
    from hivemind.dht.node import DHTNode

    node = await DHTNode.create(initial_peers=list(nodes[0].addresses))
    yield node
    await node.shutdown()


async def publish(board: Board, key: Any, told: MachineRecord, *, run_id: str = RUN) -> int:
    sealed = records.seal(told, key, run_id)
    return await board.publish(key.public_key, sealed, told.time + records.LIFE_SECONDS)


async def store(node: Any, public_key: str, sealed: bytes, expiration: float) -> bool:
    """As any Hivemind node can."""
    key = records.shard_key(RUN, records.shard_of(public_key))
    return bool(await node.store(key, sealed, expiration, subkey=public_key, exclude_self=True))


async def test_one_publishes_and_the_others_see_it(nodes: list[Node]) -> None:
    key, told = new_key(), record(time=time.time())
    assert await publish(nodes[1].board, key, told) == 3
    for node in nodes:
        assert (await node.read()).records == {key.public_key: told}
    assert (await nodes[0].read()).records == {}  # nothing new


async def test_newer_record_takes_the_place_of_the_older(nodes: list[Node]) -> None:
    key, now = new_key(), time.time()
    await publish(nodes[1].board, key, record(time=now, sequence=1))
    newer = record(time=now + 1, sequence=2, loss=2.1)
    await publish(nodes[1].board, key, newer)
    assert (await nodes[2].read()).records == {key.public_key: newer}


async def test_plain_hivemind_node_holds_records_and_reads_them(
    nodes: list[Node], plain: Any
) -> None:
    key, told = new_key(), record(time=time.time())
    assert await publish(nodes[1].board, key, told) == 4
    shard = records.shard_key(RUN, records.shard_of(key.public_key))
    found = await plain.get(shard, latest=True)
    assert found.value[key.public_key].value == records.seal(told, key, RUN)


async def test_forged_record_is_refused_by_the_nodes_of_the_run(
    nodes: list[Node], plain: Any
) -> None:
    victim, attacker, now = new_key(), new_key(), time.time()
    told = record(time=now)
    await publish(nodes[1].board, victim, told)
    forged = records.seal(record(time=now + 5, sequence=9, loss=0.0), attacker, RUN)
    end = now + 5 + records.LIFE_SECONDS
    assert not await store(plain, victim.public_key, forged, end)
    assert not await store(plain, victim.public_key, b"x" * 5000, end)
    assert (await nodes[2].read()).records == {victim.public_key: told}


async def test_old_record_cannot_be_kept_alive(nodes: list[Node], plain: Any) -> None:
    victim, now = new_key(), time.time()
    old = records.seal(record(time=now), victim, RUN)
    assert not await store(plain, victim.public_key, old, now + 10_000)
    assert not await store(plain, victim.public_key, old, float("nan"))
    assert (await nodes[2].read()).records == {}


async def test_what_a_careless_node_holds_is_dropped_and_counted(
    nodes: list[Node], plain: Any
) -> None:
    """The attacker's own node holds what it likes; the honest record beside it is still seen."""
    from hivemind.dht.routing import DHTID

    victim, attacker, now = new_key(), new_key(), time.time()
    shard = records.shard_of(victim.public_key)
    honest = records.seal(record(time=now), victim, RUN)
    forged = records.seal(record(time=now, alias="forged"), attacker, RUN)
    key = DHTID.generate(records.shard_key(RUN, shard))
    pack = plain.protocol.serializer.dumps
    end = now + records.LIFE_SECONDS
    other = new_key().public_key
    plain.protocol.storage.store_subkey(key, victim.public_key, pack(honest), end)
    plain.protocol.storage.store_subkey(key, other, pack(forged), end)
    plain.protocol.storage.store_subkey(key, "nobody", pack(["no", "record"]), end)
    found = await nodes[2].read()
    assert set(found.records) == {victim.public_key}
    assert found.dropped == {Flaw.WRONG_KEY: 1, Flaw.MALFORMED: 1}
    assert not (await nodes[2].read()).dropped  # counted once


def machines_of(node: Node, folder: Path, state: ContributorState, alias: str) -> FleetSync:
    settings = Settings.model_construct(alias=alias, lab="vision-lab")
    return FleetSync(
        Store(settings=settings, state=state),
        membership=node.peer,  # type: ignore[arg-type]  has the node as well
        history=History(),
        key_file=folder / f"{alias}.pem",
        probe=RecordedProbe([Reading(gpus=(GPU,))]),
    )


async def until(happened: Any) -> None:
    """Wait for what only the network can tell."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110  records come in by being asked for
            await asyncio.sleep(0.02)


async def test_machine_shows_itself_and_says_goodbye(
    nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.swarm.fleet_sync.PUBLISH_SECONDS", 0.1)
    monkeypatch.setattr("app.swarm.fleet_sync.READ_SECONDS", 0.1)
    monkeypatch.setattr("app.swarm.fleet_sync.IDLE_READ_SECONDS", 0.1)
    monkeypatch.setattr("app.swarm.fleet_sync.GOODBYE_SECONDS", PATIENCE)  # it is waited for here
    swarm = Swarm(run_id=RUN, title="", model_type="gpt2", dataset="", target_batch_size=1)
    state = ContributorState(
        phase=Phase.TRAINING, swarm=swarm, training=OwnTraining(device="cuda:0", loss=2.5)
    )
    ours = machines_of(nodes[1], tmp_path, state, "lab-01")
    admin = machines_of(nodes[2], tmp_path, ContributorState(swarm=swarm), "admin")
    admin.publishing = False
    for machines in (ours, admin):
        machines.open()
    watching = admin.watch()
    try:
        await until(lambda: len(admin.fleet))
        (machine,) = admin.fleet.machines(time.time())
        told = machine.record
        assert (told.alias, told.lab, told.state) == ("lab-01", "vision-lab", "training")
        assert (told.loss, told.temperature, told.power) == (2.5, 64.0, 200.0)
        await until(lambda: len(ours.fleet))  # where nobody looks as well
        await ours.set_publishing(False)
        await until(lambda: admin.fleet.machines(time.time())[0].record.state == records.LEFT)
        await ours.set_publishing(True)
        await until(lambda: admin.fleet.machines(time.time())[0].trains)
        assert len(admin.fleet) == 1
    finally:
        watching.close()
        for machines in (ours, admin):
            await machines.leave()
            await machines.close()


async def test_latency_and_way_of_peers(nodes: list[Node]) -> None:
    await nodes[0].peer.peers()

    async def measured() -> bool:
        peers = await nodes[0].peer.peers()
        return len(peers) == 2 and all(peer.latency is not None for peer in peers)

    async with asyncio.timeout(PATIENCE):
        while not await measured():  # noqa: ASYNC110  as above
            await asyncio.sleep(0.02)
    assert not any(peer.relayed for peer in await nodes[0].peer.peers())
    assert nodes[0].peer.dht_nodes == 2
