"""What tests of the backend's client share: parts put together, and contributions."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from app.backend.account import Account
from app.backend.budget import Budget
from app.backend.client import Backend
from app.backend.delivery import Delivery
from app.backend.http import Http
from app.backend.node import NodeData
from app.backend.pace import Clock, DeliveryPace
from app.backend.replies import Counted
from app.backend.secret_store import SecretStore
from app.backend.ways import Ways
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger, LedgerThread
from app.contributions.outbox import Outbox, OutboxState
from app.settings.settings import Settings
from app.state.facts import ReportingState
from app.state.state import ContributorState
from app.state.store import Store
from tests.support.backend.server import SmallBackend

EMAIL, PASSWORD = "volunteer@example.org", "a good password"
NODE = "12D3KooWvolunteer"
FAST = DeliveryPace(first=0.02, longest=0.1, settle=0.1, poll=0.2)

_numbers = itertools.count(1)


def contribution(**changes: Any) -> Contribution:
    """One unlike any other, unless its numbers are given."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "id": f"contribution-{number}",
        "run_id": "run",
        "session_id": 7,
        "participant": NODE,
        "started_at": 1_700_000_000.0 + 60 * number,
        "ended_at": 1_700_000_060.0 + 60 * number,
        "compute_time": 50.0 + number / 1000,
        "gradient_quality": 99.5,
        "data_transmitted": 1234.567,
        "uptime_ratio": 100.0,
    }
    return Contribution(**(values | changes))


async def until(condition: Callable[[], bool]) -> None:
    """Look every moment whether something has happened; the test's own limit is the patience."""
    while not condition():  # noqa: ASYNC110  what is looked at lives in another thread
        await asyncio.sleep(0.01)


@dataclass
class Clocks:
    """A wall clock and a steady one that move when told to."""

    wall: float = 1_700_000_000.0
    steady: float = 1000.0

    def move(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.steady += seconds

    def clock(self) -> Clock:
        """As the reporter wants it."""
        return Clock(wall=lambda: self.wall, steady=lambda: self.steady)


class UnknownNode:
    """A machine of which nothing is known."""

    def data(self) -> NodeData:
        return NodeData()


@dataclass
class Desk:
    """A reporter with all its parts, not started: the test takes the steps."""

    http: Http
    account: Account
    backend: Backend
    ways: Ways
    ledger: LedgerThread
    reporter: Delivery
    states: list[ReportingState] = field(default_factory=list)

    async def add(self, *contributions: Contribution) -> None:
        """Put contributions into the outbox."""
        for each in contributions:
            await self.ledger.run(Ledger.add, each)

    async def state_of(self, each: Contribution) -> OutboxState:
        """Where a contribution is on its way."""
        entry = await self.ledger.outbox.run(Outbox.entry, each.id)
        assert entry is not None
        return entry.state

    async def remark_on(self, each: Contribution) -> str:
        """Why it is where it is."""
        entry = await self.ledger.outbox.run(Outbox.entry, each.id)
        assert entry is not None
        return entry.remark

    async def read_back(self, node_id: str) -> list[Counted]:
        """What the backend has counted for a node."""
        rows: list[Counted] = []
        await self.backend.read_back(node_id, take=rows.extend)
        return rows

    async def hang_up_after(self, seconds: float) -> None:
        """Wait no longer for an answer over HTTP from now on. Connecting may take its time."""
        client = await self.http._opened()
        client.timeout = httpx2.Timeout(self.http.timeout, read=seconds)

    async def until_empty(self) -> None:
        """Take steps until nothing waits and nothing is in doubt, at the reporter's own pace."""
        while True:
            pause = await self.reporter.step()
            left = await self.ledger.outbox.run(Outbox.next_due)
            if left is None and not await self.ledger.outbox.run(Outbox.uncertain):
                return
            await asyncio.sleep(pause)


@asynccontextmanager
async def desk(
    server: SmallBackend,
    folder: Path,
    *,
    pace: DeliveryPace = FAST,
    clock: Clock | None = None,
    budget: Budget | None = None,
    sign_in: bool = True,
    http_again: float = 6 * 3600.0,
    refill: str = "ask",
) -> AsyncIterator[Desk]:
    """A desk on a data folder; its ledger and its sign-in are there the next time."""
    clock = clock or Clock()
    http = Http(server.url, timeout=60.0, budget=budget)
    account = Account(http, store=SecretStore(folder / "account.json"))
    backend = Backend(http, account=account)
    ways = Ways(
        http, backend=backend, node=UnknownNode(), clock=clock.steady, http_again=http_again
    )
    ledger = LedgerThread(folder / "ledger.sqlite", backend=server.url)
    await ledger.open()
    states: list[ReportingState] = []
    state = ContributorState(reporting=ReportingState(backend_url=server.url, encrypted=True))
    reporter = Delivery(
        ledger,
        backend=backend,
        ways=ways,
        store=Store(settings=Settings(refill=refill), state=state),
        on_change=states.append,
        pace=pace,
        clock=clock,
    )
    try:
        await account.restore()
        if sign_in and not account.email:
            server.add_user(EMAIL, PASSWORD)
            await account.sign_in(EMAIL, password=PASSWORD)
        yield Desk(http, account, backend, ways, ledger, reporter, states)
    finally:
        await reporter.close()
        await http.close()
        await ledger.close()
