"""The session reports what its trainer did, the last of it when the app ends."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.common.errors import FolderError
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


async def test_charts_go_on_after_leaving_and_after_a_restart(tmp_path: Path) -> None:
    for losses in ([2.5], [2.5, 3.0]):
        session = OfflineSession(tmp_path / "data")
        await session.contributions.open()
        await session.curves.open()
        await session.swarm.join(SPEC)
        await session.swarm.join(SPEC)  # leaves it first
        await session.curves._restoring
        kept = session.history.loss.buckets(1728.0)
        assert sum(count for _number, _sum, count in kept) == len(losses) - 1
        session.history.loss.add(time.time() - 60, losses[-1])
        await session.close()


@pytest.mark.usefixtures("tensorboardx")
async def test_the_last_values_reach_the_trackers(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path / "data", tensorboard=True)
    await session.contributions.open()
    await session.swarm.join(SPEC)
    session._trackers._collector._since = 0
    session.history.loss.add(time.time() - 60, 2.5)
    await session.swarm.leave()
    await session.close()
    found = EventAccumulator(str(tmp_path / "data" / "tensorboard" / SPEC.run_id)).Reload()
    assert [event.value for event in found.Scalars("loss/this_machine")] == [2.5]


async def test_what_could_not_be_saved_is_saved_with_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    session = OfflineSession(tmp_path / "data")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for changes in ({"alias": "attic"}, {"terms": {"idle_minutes": 40}}):
            with pytest.raises(FolderError, match="No space"):
                await session.change_settings(changes)
    assert session.store.settings.alias == "attic"
    await session.change_settings({"terms": {"max_temperature": 70}})
    saved = json.loads(session.folders.settings_file.read_text())
    assert saved["alias"] == "attic"
    assert saved["terms"] == {"idle_minutes": 40, "max_temperature": 70}
    await session.close()
