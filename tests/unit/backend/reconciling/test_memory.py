"""A backend that forgets what it has confirmed: noticed, shown, refilled once in each life."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.backend.budget import Budget
from app.backend.pace import DeliveryPace
from app.backend.reconciling.memory import REFILLS
from app.contributions.accounting import Contribution
from app.contributions.outbox import OutboxState
from app.contributions.summary import summary_of
from tests.support.backend.reporting import Clocks, Desk, contribution, desk
from tests.support.backend.server import SmallBackend

PACE = DeliveryPace(poll=3600.0)
MINUTE = 60.0


@dataclass
class Office:
    """A desk whose time the test moves."""

    desk: Desk
    server: SmallBackend
    clocks: Clocks

    async def work(self, seconds: float = 0.0) -> None:
        """Let time pass, and take the steps that are due in it."""
        end = self.clocks.steady + seconds
        while True:
            pause = await self.desk.reporter.step()
            if self.clocks.steady >= end:
                return
            self.server.forget_requests()
            self.clocks.move(min(max(pause, 1.0), end - self.clocks.steady))

    async def report(self, count: int) -> list[Contribution]:
        """Have so many more contributions confirmed."""
        some = [contribution() for _ in range(count)]
        await self.desk.add(*some)
        while [await self.desk.state_of(each) for each in some] != [OutboxState.CONFIRMED] * count:
            await self.work(MINUTE)
        return some

    async def forgotten(self) -> int:
        summary = await self.desk.ledger.run(summary_of, self.clocks.wall)
        return summary.forgotten

    @property
    def known(self) -> list[float]:
        """What the backend knows, in the order in which it was told."""
        return [row["computeTime"] for row in self.server.rows]


@asynccontextmanager
async def office(server: SmallBackend, folder: Path, **options: Any) -> AsyncIterator[Office]:
    clocks = Clocks()
    budget = Budget(clock=lambda: clocks.steady)
    async with desk(
        server, folder, pace=PACE, clock=clocks.clock(), budget=budget, **options
    ) as made:
        yield Office(made, server, clocks)


def times(some: list[Contribution]) -> list[float]:
    return [each.compute_time for each in some]


async def test_forgotten_ones_are_noticed_after_a_restart_and_wait_for_the_volunteer(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with office(server, tmp_path) as ours:
        old = await ours.report(5)
        server.stop()
        server.forget()
        server.start_again()
        new = await ours.report(2)  # over another connection
        await ours.work(PACE.recall_again + 2 * PACE.settle)
        assert await ours.forgotten() == ours.desk.reporter.state.forgotten == 5
        assert ours.known == times(new)
        await ours.desk.reporter.refill()
        await ours.desk.reporter.refill()
        await ours.work(MINUTE)
        assert await ours.forgotten() == ours.desk.reporter.state.forgotten == 0
        assert ours.known == times(new) + times(old)  # the oldest first, each once


async def test_each_life_gets_each_one_once(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path, refill="always") as ours:
        some = await ours.report(4)
        for _life in range(3):
            server.forget()
            await ours.work(PACE.recall + 2 * PACE.settle)
            assert ours.known == times(some)
            await ours.work(2 * PACE.recall)
            assert ours.known == times(some)


async def test_never_means_never(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path, refill="never") as ours:
        await ours.report(3)
        server.forget()
        await ours.work(2 * PACE.recall)
        assert (await ours.forgotten(), ours.known) == (3, [])


async def test_choice_outlives_the_app(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path) as ours:
        some = await ours.report(3)
        server.forget()
        await ours.work(PACE.recall + 2 * PACE.settle)
    async with office(server, tmp_path, refill="always") as ours:
        assert await ours.forgotten() == 3
        await ours.work(MINUTE)
        assert ours.known == times(some)


async def test_a_new_run_of_the_app_looks_first(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path) as ours:
        await ours.report(3)
    server.forget()
    async with office(server, tmp_path) as ours:
        await ours.work(2 * PACE.settle)
        assert await ours.forgotten() == 3


async def test_rows_that_are_away_for_a_moment_are_not_forgotten(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with office(server, tmp_path, refill="always") as ours:
        some = await ours.report(3)
        kept, server.rows = server.rows, []
        await ours.work(PACE.recall)
        server.rows = kept
        await ours.work(2 * PACE.recall)
        assert await ours.forgotten() == 0
        assert ours.known == times(some)


async def test_rows_that_come_back_are_known_again(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path) as ours:
        await ours.report(3)
        server.forget()
        await ours.work(PACE.recall + 2 * PACE.settle)
        assert await ours.forgotten() == 3
        server.rows = server.past_lives.pop()
        await ours.work(2 * PACE.recall)
        assert await ours.forgotten() == 0


async def test_a_backend_that_changes_numbers_has_forgotten_nothing(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with office(server, tmp_path, refill="always") as ours:
        await ours.report(3)
        for row in server.rows:
            row["computeTime"] = min(row["computeTime"], 20.0)
        await ours.work(2 * PACE.recall)
        assert len(ours.known) == 3


@pytest.mark.parametrize("takes_http", [True, False])
async def test_refilling_stays_within_what_the_backend_allows(
    server: SmallBackend, tmp_path: Path, takes_http: bool
) -> None:
    server.quirk = not takes_http
    async with office(server, tmp_path, refill="always") as ours:
        old = await ours.report(REFILLS + 5)
        server.forget()
        while not server.rows:
            await ours.work(MINUTE)
        assert len(server.rows) == REFILLS
        new = await ours.report(1)  # it doesn't wait for them
        assert len(server.rows) == REFILLS + 1
        await ours.work(15 * MINUTE)
        assert sorted(ours.known) == sorted(times(old + new))


async def test_nothing_is_asked_while_nothing_was_confirmed(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with office(server, tmp_path) as ours:
        await ours.work(2 * PACE.recall)
        assert not any("/contributions/node/" in path for _, path in server.requests)


async def test_looking_is_rare(server: SmallBackend, tmp_path: Path) -> None:
    async with office(server, tmp_path) as ours:
        await ours.report(3)
        await ours.work(4 * PACE.recall)
        looks = sum("/contributions/node/" in path for _, path in server.requests)
        assert 4 <= looks <= 6
