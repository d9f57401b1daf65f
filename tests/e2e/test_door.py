"""The swarm's door, and a swarm of two doors."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.p2p import meeting
from app.p2p.network import Network, listening
from app.p2p.peer import EmbeddedPeer, load_hivemind
from app.p2p.sightings import Run
from app.spec import invite
from tests.support.processes.apps import PATIENCE, StartApp, tiny_spec

pytestmark = [
    pytest.mark.e2e,
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def attacks(entries: list[str]) -> list[bool]:
    """What a plain Hivemind node can do to the run's records by this door: whether each went."""
    from hivemind.dht.node import DHTNode

    await load_hivemind()
    node = await DHTNode.create(initial_peers=entries)
    end = time.time() + 1000
    try:
        return [
            await node.store("tiny_progress", "mine", end, exclude_self=True),
            await node.store("tiny_progress", {"epoch": 9}, end, subkey=b"me", exclude_self=True),
            await node.store("tiny_metrics", {"loss": 0}, end, subkey="me", exclude_self=True),
        ]
    finally:
        await node.shutdown()


async def test_a_door_lets_in_answers_and_lets_nobody_spoil_the_run(
    start_app: StartApp, tmp_path: Path
) -> None:
    await load_hivemind()
    peer = EmbeddedPeer(tmp_path / "peer.pem")
    door = await start_app("--bootstrap", spec=tiny_spec(title="Ours"))
    line = await door.wait_for(lambda line: line["url"] is not None)
    async with httpx2.AsyncClient(base_url=line["url"], trust_env=False, timeout=30) as client:
        made = invite.read((await client.get("/spec")).content, name="spec")
        assert (made.title, list(made.initial_peers)) == ("Ours", line["addresses"])
        presence = await peer.join(
            made.run_id,
            initial_peers=made.initial_peers,
            network=Network(listen=listening(0, local=True), local=True),
        )
        await door.wait_for(lambda line: line["connected"] == 1 and line["dht_nodes"] == 1)
        assert await attacks(line["addresses"]) == [False] * 3
        assert (await client.get(f"/is_reachable/{presence.peer_id}")).json()["success"]
        await peer.leave()
        gone = (await client.get(f"/api/v1/is_reachable/{presence.peer_id}")).json()
        assert gone == {"success": False, "message": "the peer can't be reached."}
    assert await door.stop() == 0


# --- two doors -----------------------------------------------------------------------------------


class Door:
    """A node of the swarm, whose address is known before it is there."""

    def __init__(self, folder: Path) -> None:
        from app.p2p.run_records import load_identity

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        identity = folder / f"door-{self.port}.pem"
        self.peer_id = load_identity(identity).peer_id
        self.address = f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.peer_id}"
        self.peer = EmbeddedPeer(identity)

    async def open(self) -> None:
        await self.peer.join(
            tiny_spec()["run_id"],
            initial_peers=(),
            network=Network(listen=listening(self.port, local=True), local=True),
        )

    async def sees(self, **known: Any) -> Run:
        """Wait until it sees a run that is as said."""
        async with asyncio.timeout(PATIENCE):
            while True:  # records come in by being asked for
                run = await self.peer.observe()
                if run is not None and all(getattr(run, name) == known[name] for name in known):
                    return run
                await asyncio.sleep(0.1)


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[tuple[Door, Door]]:
    await load_hivemind()
    made = Door(tmp_path), Door(tmp_path)
    yield made
    for door in made:
        await door.peer.leave()


async def test_doors_that_meet_make_one_network(doors: tuple[Door, Door]) -> None:
    one, other = doors
    await one.open()
    peers = meeting.by_peer([one.address, other.address])
    assert await meeting.meet(one.peer.node, peers) == {one.peer_id}
    await other.open()
    async with asyncio.timeout(PATIENCE):
        while await meeting.meet(other.peer.node, peers) != set(peers):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await one.peer.node.store("key", "value", time.time() + 60)
    assert (await other.peer.node.get("key", latest=True)).value == "value"


@pytest.mark.slow
async def test_trainer_waits_for_both_doors_and_makes_them_one(
    doors: tuple[Door, Door], start_app: StartApp
) -> None:
    one, other = doors
    await one.open()
    app = await start_app(spec=tiny_spec(initial_peers=[one.address, other.address]))
    line = await app.wait_for(lambda line: line["waiting_for"] is not None)
    assert (line["phase"], line["waiting_for"]) == ("preparing", "1 of 2 doors")
    await other.open()  # it knows nothing of the first one
    await app.wait_for(lambda line: line["phase"] == "training")
    seen = await one.sees(trainers=1)
    await other.sees(trainer_ids=seen.trainer_ids)
    assert "we train all the same" not in app.log()
