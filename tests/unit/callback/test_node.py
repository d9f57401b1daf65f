"""What callers may do with this machine's peer."""

import asyncio

from app.common.errors import JoinError
from app.spec import schema as spec
from app.state.state import Phase
from app.swarm.way_back import Intention
from tests.support.callback.callbacks import BASE, Served
from tests.support.processes.apps import tiny_spec
from tests.support.processes.sessions import until_it_waits


async def test_stop_ends_a_way_back_that_waits(served: Served) -> None:
    session, swarm = served.session, spec.parse(tiny_spec(title="Poems"))
    session.peer.failure = JoinError("nobody is there.")
    trains = Intention(run_id=swarm.run_id, train=True)
    going = asyncio.create_task(session.way_back.return_to(swarm, trains))
    async with asyncio.timeout(30):
        await until_it_waits(session)
        stopped = await served.post(f"{BASE}/stop")
        session.peer.failure = None
        assert not await going
    message = "Hivemind node stopped: the way back to Poems"
    assert stopped.json() == {"status": "success", "message": message}
    assert session.store.state.phase is Phase.DISCONNECTED
    assert not session.trains.is_set()
    again = await served.post(f"{BASE}/stop")
    assert again.json()["message"] == "Hivemind node is not running"
