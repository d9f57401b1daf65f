"""A door keeps the run's state, and a swarm that everybody has left goes on where it was."""

import pytest

from tests.support.processes.apps import Line, StartApp, tiny_spec, training

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def kept_epoch(line: Line) -> int:
    """Of the door's snapshot; -1 for none."""
    snapshot = line["snapshot"] or {"epoch": None}
    return -1 if snapshot["epoch"] is None else int(snapshot["epoch"])


STRATEGIES: dict[str, Line] = {
    "gradient-averaging": {},
    "diloco": {"strategy": "diloco", "diloco": {"local_batch_size": 48}},
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
