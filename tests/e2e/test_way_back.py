"""An app that is started again goes on where it was."""

import signal

import pytest

from tests.support.processes.apps import StartApp, lone_spec

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_without_a_word_it_trains_in_the_same_swarm(
    start_app: StartApp, end: signal.Signals
) -> None:
    app = await start_app(spec=lone_spec(), name="same")
    await app.trains(epoch=1)
    await app.stop(end)
    again = await start_app(name="same")
    line = await again.trains(epoch=1)
    assert line["run_id"] == lone_spec()["run_id"]
    assert line["returning"] is None
