"""The governor: verdicts follow one another, and training obeys each of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from app.settings.settings import Settings
from app.state.events import DeviceChosen
from app.state.state import ContributorState
from app.state.store import Store
from app.terms.terms import Conditions, Terms
from app.training import governor
from app.training.governor import Governor

WAIT = 10.0


class House:
    """What a governor governs. `obeyed`: the verdicts that training obeyed, by what they allow."""

    def __init__(self) -> None:
        settings = Settings(terms=Terms(max_temperature=80))
        self.store = Store(settings=settings, state=ContributorState(device="cpu"))
        self.celsius = 60.0
        self.devices: list[tuple[str, ...]] = []
        self.obeyed: list[bool] = []
        self.failure: Exception | None = None
        self.closed = False
        self._happened = asyncio.Condition()
        self.governor = Governor(self.store, sensors=self)  # type: ignore[arg-type]
        self.governor.subscribe(lambda: self.obeyed.append(self.state.verdict.allows))

    @property
    def state(self) -> ContributorState:
        return self.store.state

    async def look(self, _terms: Terms, devices: tuple[str, ...]) -> Conditions:
        self.devices.append(devices)
        async with self._happened:
            self._happened.notify_all()
        if self.failure is not None:
            raise self.failure
        return Conditions(now=datetime.now(UTC), temperature=self.celsius)

    async def looks(self, times: int) -> None:
        """Wait for so many more looks."""
        until = len(self.devices) + times
        async with asyncio.timeout(WAIT), self._happened:
            await self._happened.wait_for(lambda: len(self.devices) >= until)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(governor, "LOOK_SECONDS", 0.01)
    made = House()
    yield made
    await made.governor.close()
    assert made.closed


async def test_it_looks_again_and_again(house: House) -> None:
    house.governor.open()
    await house.looks(2)
    assert house.state.verdict.allows
    house.celsius = 90.0
    await house.looks(2)
    assert not house.state.verdict.allows
    assert house.obeyed[-1] is False


async def test_verdicts_follow_one_another(house: House) -> None:
    for celsius in (90.0, 77.0, 70.0):
        house.celsius = celsius
        await house.governor.look()
    assert house.obeyed == [False, False, True]


async def test_it_looks_at_the_devices_that_train(house: House) -> None:
    await house.governor.look()
    house.store.dispatch(DeviceChosen(device="cuda:0", others=("cuda:1",)))
    await house.governor.look()
    assert house.devices == [("cpu",), ("cuda:0", "cuda:1")]


@pytest.mark.logs_error("the terms could not be judged")
async def test_a_failure_of_ours_does_not_end_it(house: House) -> None:
    house.failure = ValueError("oh")
    house.governor.open()
    await house.looks(2)
    house.failure = None
    await house.looks(2)
    assert house.obeyed


async def test_the_user_lifts_terms_of_convenience_for_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Terms(idle_minutes=10, max_temperature=80)  # nothing tells here whether it is idle
    house.store.replace_settings(house.store.settings.model_copy(update={"terms": away}))
    await house.governor.look()
    assert house.state.verdict.may_be_lifted
    await house.governor.lift(3600)
    assert house.state.verdict.allows
    assert house.state.lifted_until is not None
    house.celsius = 90.0
    await house.governor.look()
    assert [each.term for each in house.state.verdict.reasons] == ["max_temperature"]
    house.celsius = 60.0
    later = house.state.lifted_until + 1
    monkeypatch.setattr(governor.time, "time", lambda: later)
    await house.governor.look()
    assert [each.term for each in house.state.verdict.reasons] == ["idle_minutes"]
    assert house.state.lifted_until is None


async def test_a_clock_set_back_does_not_lift_terms_for_longer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Terms(idle_minutes=10)
    house.store.replace_settings(house.store.settings.model_copy(update={"terms": away}))
    await house.governor.look()
    await house.governor.lift(60)
    later = SimpleNamespace(
        time=lambda: time.time() - 3600, monotonic=lambda: time.monotonic() + 61
    )
    monkeypatch.setattr(governor, "time", later)
    await house.governor.look()
    assert not house.state.verdict.allows
