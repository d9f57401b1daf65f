"""The use cases with a real swarm of one, and a small child in the trainer's place."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app import protocol
from app.common.errors import BusyError
from app.common.paths import Folders
from app.session import Session
from app.settings.settings import Settings
from app.spec import schema as spec
from app.state.state import ContributorState, Phase
from app.training import patience, supervisor
from tests.support.processes.apps import PATIENCE, tiny_spec

pytestmark = [
    pytest.mark.e2e,
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TRAINS = f"""
import json, os, sys
def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)
say("Hello", version={protocol.VERSION}, pid=os.getpid())
for line in sys.stdin:
    command = json.loads(line)
    say("Ack", id=command["id"])
    if command["type"] == "Start":
        say("PhaseChanged", phase="training")
    if command["type"] == "Stop":
        say("Ended", reason="stopped")
        break
"""
CRASHES = "import os; os.abort()"
OF_ANOTHER_VERSION = TRAINS.replace(f"version={protocol.VERSION}", "version=0")


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says which program is the trainer."""

    def is_this(program: str) -> None:
        file = tmp_path / "child.py"
        file.write_text(program, encoding="utf-8")
        command = [sys.executable, "-S", str(file)]
        monkeypatch.setattr(supervisor, "command_line", lambda *_rest: command)

    return is_this


class Watched:
    """A session, and a way to wait for a state."""

    def __init__(self, folder: Path) -> None:
        self.session = Session(
            settings=Settings.model_construct(device="cpu"), folders=Folders.under(folder)
        )
        self._changed = asyncio.Event()
        self.session.store.subscribe(lambda _state: self._changed.set())

    async def until(self, is_it: Callable[[ContributorState], bool]) -> ContributorState:
        async with asyncio.timeout(PATIENCE):
            while not is_it(self.session.store.state):
                self._changed.clear()
                await self._changed.wait()
        return self.session.store.state


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "data")
    await watched.session.open(look_for_devices=False)
    assert await watched.session.swarm.join(spec.parse(tiny_spec()))
    yield watched
    await watched.session.close()


async def test_it_starts_and_stops(watched: Watched, child: Callable[[str], None]) -> None:
    child(TRAINS)
    session = watched.session
    await session.training.start()
    await watched.until(lambda state: state.phase is Phase.TRAINING)
    with pytest.raises(BusyError):
        await session.training.start()
    await session.training.stop()
    assert session.store.state.phase is Phase.WATCHING
    assert session.store.state.problem is None


async def test_a_stop_while_the_trainer_is_spawned_waits_for_its_end(
    watched: Watched, child: Callable[[str], None]
) -> None:
    child(TRAINS)
    session = watched.session
    starting = asyncio.create_task(session.training.start())
    await watched.until(lambda state: state.phase is Phase.PREPARING)
    await session.training.stop()
    await starting
    assert session.store.state.phase is Phase.WATCHING
    assert session.store.state.problem is None


async def test_of_two_joins_the_later_one_counts(watched: Watched) -> None:
    session = watched.session
    first, second = (spec.parse(tiny_spec(run_id=name)) for name in ("first", "second"))
    join = session.swarm.join
    assert await asyncio.gather(join(first), join(second)) == [False, True]
    assert session.store.state.swarm is not None
    assert session.store.state.swarm.run_id == "second"


async def test_a_crash_is_mended_until_patience_ends_and_a_click_renews_it(
    watched: Watched, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RESTART_SECONDS", (0.0,))
    child(CRASHES)
    for _click in range(2):
        await watched.session.training.start()
        failed = await watched.until(
            lambda state: state.phase is Phase.FAILED and state.restart_at is not None
        )
        assert failed.problem is not None
        assert "signal 6" in failed.problem.message
        await watched.until(lambda state: state.phase is Phase.FAILED and state.restart_at is None)


async def test_a_stop_ends_the_wait_for_a_restart(
    watched: Watched, child: Callable[[str], None]
) -> None:
    child(CRASHES)
    await watched.session.training.start()
    await watched.until(lambda state: state.restart_at is not None)
    await watched.session.training.stop()
    assert watched.session.store.state.restart_at is None


async def test_a_trainer_of_another_version_is_not_used(
    watched: Watched, child: Callable[[str], None]
) -> None:
    child(OF_ANOTHER_VERSION)
    await watched.session.training.start()
    failed = await watched.until(lambda state: state.phase is Phase.FAILED)
    assert failed.problem is not None
    assert "another version" in failed.problem.message
    assert failed.restart_at is None
