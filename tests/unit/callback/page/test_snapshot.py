"""What the page is told of the state: all of it JSON, and texts of others plain."""

import json
from pathlib import Path

from app import protocol
from app.callback.page.snapshot import snapshot
from app.state.events import ProblemRaised
from app.state.facts import Problem
from app.state.state import ContributorState
from tests.support.callback.pages import HOSTILE, PEERS, joined
from tests.support.processes.sessions import OfflineSession


def test_state_of_a_machine_that_does_nothing() -> None:
    told = snapshot(ContributorState(), alias="", steered=True)
    assert (told["status"], told["phase"], told["dht_size"]) == ("stopped", "disconnected", 1)
    assert told["swarm"] is told["run"] is told["training"] is told["problem"] is None
    assert json.loads(json.dumps(told)) == told


async def test_state_of_a_machine_that_trains(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path)
    try:
        joined(session)
        failed = protocol.RoundEnded(epoch=1, peers=3, seconds=2.5, samples=80, failure="a\x1b[1mb")
        session.store.dispatch(failed)
        session.store.dispatch(ProblemRaised(problem=Problem(message="x" * 9999, field="seed")))
        told = snapshot(session.store.state, alias="a\u202eb", steered=False)
    finally:
        await session.close()
    assert told["name"] == "a\ufffdb"
    assert told["swarm"]["title"] == HOSTILE  # markup is a text like any other
    assert (told["connected_peers"], told["dht_size"]) == (PEERS, PEERS + 1)
    assert told["training"]["last_round"]["failure"] == "a\ufffd[1mb"
    assert len(told["problem"]["message"]) == 500
    assert len(json.dumps(told)) < 10_000
