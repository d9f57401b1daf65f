"""A real trainer that rests and goes on by the volunteer's terms."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.common.paths import Folders
from app.machine.hardware import Cpu, Reading
from app.session import Session
from app.settings.settings import Settings
from app.spec import schema as spec
from app.state.state import ContributorState, Phase
from tests.support.processes.apps import PATIENCE, tiny_spec, training

pytestmark = [
    pytest.mark.e2e,
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LATENCY = 2.0  # seconds from the reading that is too hot to the rest


class Thermometer:
    """A probe whose temperature the test says."""

    def __init__(self) -> None:
        self.celsius = 60.0

    def read(self) -> Reading:
        return Reading(cpu=Cpu(temperature=self.celsius))

    def close(self) -> None:
        pass


class Watched:
    """A session with a thermometer, and a way to wait for a state."""

    def __init__(self, folder: Path) -> None:
        self.thermometer = Thermometer()
        terms = {"max_temperature": 80, "compute_share": 50}
        self.session = Session(
            settings=Settings(device="cpu", threads=1, dht_port=0, server_port=0, terms=terms),
            folders=Folders.under(folder),
            probe=self.thermometer,
        )
        self._changed = asyncio.Event()
        self.session.store.subscribe(lambda _state: self._changed.set())

    async def until(self, is_it: Callable[[ContributorState], bool]) -> ContributorState:
        async with asyncio.timeout(PATIENCE):
            while not is_it(self.session.store.state):
                self._changed.clear()
                await self._changed.wait()
        return self.session.store.state

    async def trains(self, *, samples: int = 1) -> int:
        """Wait until it trains and has so many samples in this epoch; returns how many."""
        state = await self.until(
            lambda now: (
                now.phase is Phase.TRAINING
                and now.training is not None
                and now.training.epoch_samples >= samples
            )
        )
        assert state.training is not None
        return state.training.epoch_samples


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "data")
    await watched.session.open(look_for_devices=False)
    endless = tiny_spec(training_params=training(target_batch_size=1_000_000))
    assert await watched.session.swarm.join(spec.parse(endless))
    yield watched
    await watched.session.close()


@pytest.mark.slow
async def test_it_waits_for_the_cold_rests_in_the_heat_and_loses_nothing(watched: Watched) -> None:
    session, thermometer = watched.session, watched.thermometer
    thermometer.celsius = 90.0
    await session.training.start()
    assert session.store.state.phase is Phase.WAITING
    assert session.store.state.paused_by == ("max_temperature",)
    assert session.swarm.joined

    thermometer.celsius = 60.0
    before = await watched.trains(samples=8)

    for _attempt in range(5):  # the machine may just have been busy with something else
        thermometer.celsius, heated = 90.0, time.monotonic()
        resting = await watched.until(lambda now: now.phase is Phase.PAUSED)
        seconds = time.monotonic() - heated
        if seconds < LATENCY:
            break
        thermometer.celsius = 60.0
        before = await watched.trains(samples=before + 4)
    assert seconds < LATENCY
    assert resting.verdict.reasons[0].text == (
        "The device is at 90 °C; training goes on below 75 °C."
    )

    thermometer.celsius = 76.0  # not cool enough yet
    await watched.until(lambda now: "76" in now.verdict.reasons[0].text)
    assert session.store.state.phase is Phase.PAUSED
    thermometer.celsius = 74.0
    assert await watched.trains(samples=before + 4) >= before + 4

    await session.training.pause(seconds=0.5)
    assert session.store.state.paused_by == ("user",)
    await watched.trains(samples=before + 8)  # it goes on by itself
