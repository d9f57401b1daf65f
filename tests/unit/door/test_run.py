"""The swarm's door, its network and its peers being the test's."""

import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import UserFacingError
from app.common.logs import RingBuffer
from app.door.run import SwarmDoor
from app.spec import schema as spec
from app.state.events import Joined, PeersListed
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import PEER_ID, OfflineSession

OTHER = "/ip4/10.0.0.2/tcp/8080/p2p/QmNb65jgTZy5YKkdpkTuzSnE7fbrBQmdNzX3AozNXGmLBr"
LAST = "/ip4/10.0.0.3/tcp/8080/p2p/QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enY"
SPEC = spec.parse(tiny_spec(local=False, initial_peers=[OTHER]))


class Doors:
    """Makes doors, and closes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[tuple[SwarmDoor, OfflineSession]] = []

    async def open(self, **settings: Any) -> tuple[SwarmDoor, OfflineSession]:
        session = OfflineSession(self.folder, **settings)
        self.made.append((SwarmDoor(session, SPEC, ring=RingBuffer()), session))
        await self.made[-1][0].open()
        return self.made[-1]


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    made = Doors(tmp_path)
    yield made
    for door, session in made.made:
        await door.close()
        await door.close()  # may be called twice
        await session.close()


async def test_it_begins_alone_whoever_else_is_a_door(doors: Doors) -> None:
    _, session = await doors.open(initial_peers=LAST)
    entered = session.swarm.spec
    assert entered is not None
    assert (entered.run_id, entered.initial_peers) == (SPEC.run_id, ())
    assert session.peer.entered == [(SPEC.run_id, ())]


async def test_started_again_it_enters_by_whom_it_saw(doors: Doors) -> None:
    door, session = await doors.open()
    await session.recents.note_seen(SPEC.run_id, (LAST,))
    assert await session.way_back.planned() is None  # it is told what to do at each start
    await door.close()
    await session.close()
    _, again = await doors.open()
    assert again.peer.entered == [(SPEC.run_id, (LAST,))]


async def test_its_invite_names_itself_first_and_the_other_doors(doors: Doors) -> None:
    door, session = await doors.open()
    address = f"/ip4/10.0.0.1/tcp/8080/p2p/{PEER_ID}"
    session.store.dispatch(Joined(peer_id=PEER_ID, addresses=(address,)))
    made = door.invitation()
    assert made.initial_peers == (address, OTHER)
    assert made.model_copy(update={"initial_peers": SPEC.initial_peers}) == SPEC


async def test_it_says_where_it_answers_until_it_doesn_t(doors: Doors) -> None:
    door, session = await doors.open()
    assert session.store.state.local_api is not None
    await door.close()
    assert session.store.state.local_api is None


async def test_who_comes_and_goes_is_in_the_log(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.door.run")
    _, session = await doors.open()
    session.sees_peer(1.0)
    session.store.dispatch(PeersListed(peers=()))
    said = [record.getMessage() for record in caplog.records if record.name == "app.door.run"]
    peer = said[-1].split()[0]
    assert said[-2:] == [f"{peer} came, at /ip4/10.0.0.7/tcp/8080", f"{peer} left"]


async def test_port_that_is_taken_ends_it_before_it_began(doors: Doors) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(UserFacingError) as caught:
            await doors.open(dht_port=taken.getsockname()[1])
    assert caught.value.field == "dht_port"
    assert doors.made[0][1].peer.entered == []
