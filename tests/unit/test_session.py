"""The session reports what its trainer did, the last of it when the app ends."""

from pathlib import Path

from app.protocol import Work
from app.spec.schema import parse
from app.state.events import TrainerGone
from tests.support.backend.reporting import EMAIL, PASSWORD, until
from tests.support.backend.server import SmallBackend
from tests.support.processes.sessions import PEER_ID, OfflineSession
from tests.support.training.specs import SMALLEST

SPEC = parse({**SMALLEST, "local": True, "session_id": 7})


async def test_what_was_done_last_is_reported_at_the_end(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.add_user(EMAIL, PASSWORD)
    session = OfflineSession(tmp_path / "data", backend_url=server.url)
    await session.contributions.open()
    await session.account.open()
    await session.account.sign_in(EMAIL, password=PASSWORD)
    await session.swarm.join(SPEC)
    session.store.dispatch(
        Work(samples_computed=8, samples_entered=8, compute_seconds=2.5, epochs=1)
    )
    session.store.dispatch(TrainerGone())  # an end of training closes a contribution
    await until(lambda: len(server.rows) == 1)
    session.store.dispatch(
        Work(samples_computed=16, samples_entered=12, compute_seconds=5.0, epochs=1)
    )
    await session.close()
    assert session.store.state.reporting.signed_in_as == EMAIL
    first, last = server.rows
    assert (first["sessionId"], first["computeTime"], first["gradientQuality"]) == (7, 2.5, 100)
    assert (last["computeTime"], last["gradientQuality"]) == (5.0, 75)
    assert {row["nodeId"] for row in server.rows} == {PEER_ID}
    (node,) = server.nodes.values()
    assert node["publicKey"] == session.contributions.public_key
    assert PEER_ID in node["address"]
    await session.close()
