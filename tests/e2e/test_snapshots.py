"""A door keeps the run's state, and a swarm that everybody has left goes on where it was."""

from pathlib import Path

import pytest

from app.common.paths import ROLE
from app.common.signing import MachineKey
from app.organiser.files import OrganiserFiles
from app.organiser.members import Members
from app.p2p.run_records import load_identity
from app.spec import schema
from app.spec.signing import signed
from tests.support.processes.apps import Line, StartApp, tiny_spec, training

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def kept_epoch(line: Line) -> int:
    """Of the door's snapshot; -1 for none."""
    snapshot = line["snapshot"] or {"epoch": None}
    return -1 if snapshot["epoch"] is None else int(snapshot["epoch"])


STRATEGIES: dict[str, Line] = {
    "gradient-averaging": {},
    "diloco": {"strategy": "diloco", "diloco": {"local_batch_size": 48}},
    "sparseloco": {"strategy": "sparseloco", "sparseloco": {"local_batch_size": 48}},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_who_joins_when_nobody_trains_begins_with_the_doors_snapshot(
    start_app: StartApp, strategy: str
) -> None:
    parts = training(optimizer={"name": "adamw", "learning_rate": 0.01}, **STRATEGIES[strategy])
    spec = tiny_spec(training_params=parts)
    door = await start_app("--bootstrap", "--snapshot-every", "2", spec=spec)
    line = await door.wait_for(lambda line: line["url"] is not None)
    spec["initial_peers"] = line["addresses"]
    first = await start_app(spec=spec)
    began = await first.trains()
    await door.wait_for(lambda line: kept_epoch(line) >= 2)
    assert await first.stop() == 0
    epoch = kept_epoch(door.last)
    second = await start_app(spec=spec)
    line = await second.trains()
    assert line["epoch"] >= line["snapshot_epoch"] >= epoch
    assert line["loss"] < began["loss"] - 0.1
    assert "took the snapshot of epoch" in second.errors
    assert "out of sync" not in second.log()
    assert await second.stop() == 0
    assert await door.stop() == 0


async def test_a_door_of_a_closed_swarm_signs_what_it_keeps_once_it_is_a_member(
    start_app: StartApp, tmp_path: Path
) -> None:
    files = OrganiserFiles(tmp_path / "door")
    key = MachineKey.load_or_create(files.key)
    members = Members(key, run_id="tiny", file=files.roster("tiny"))
    for name in ("first", "second"):
        identity = tmp_path / name / "identities" / f"{ROLE}.pem"
        identity.parent.mkdir(parents=True)
        members.add(load_identity(identity).peer_id, name)
    closed = signed(schema.parse(tiny_spec()), key, name="Ada", closed=True).to_json()
    door = await start_app("--bootstrap", "--snapshot-every", "1", spec=closed, name="door")
    line = await door.wait_for(lambda line: line["url"] is not None)
    closed["initial_peers"] = line["addresses"]
    first = await start_app(spec=closed, name="first")
    await door.wait_for(lambda line: "closed" in str(line["snapshot"]))
    members.add(line["addresses"][0].rpartition("/")[2], "door")
    await door.wait_for(lambda line: kept_epoch(line) >= 0)
    assert await first.stop() == 0
    second = await start_app(spec=closed, name="second")
    assert (await second.trains())["snapshot_epoch"] == kept_epoch(door.last)
