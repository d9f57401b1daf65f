"""Each contribution is counted exactly once, whatever happens: at least 300 seeded runs.

A run is a ledger with some contributions, some of them alike, and real reporter processes on it,
one after the other. They are killed (-9) at random moments, and at chosen ones: when the backend
has a request, long before, before or after it counts. Replies are lost, errors answered, pages of
HTML sent, tokens refused, read-backs spoilt. At last one is left in peace to finish.

``FAULT_SEEDS=17,18`` runs those alone, ``FAULT_RUNS=3000`` more of them. A failure names its
seed and keeps the reporters' log. What is drawn is the same for a seed; what the scheduler makes of
it may differ.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from app.backend.secret_store import Secrets, SecretStore
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger
from tests.support.backend.reporting import EMAIL, PASSWORD, contribution
from tests.support.backend.server import Fault, SmallBackend

RUNS = int(os.environ.get("FAULT_RUNS", "300"))
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "").split(",") if seed]
AT_ONCE = 32
PACE = {"first": 0.05, "longest": 0.2, "settle": 1.2, "poll": 0.2}
SLOW = 0.2  # seconds that the backend may take
LATE = 0.6  # seconds after a kill at which it may still count; much less than PACE["settle"]
PATIENCE = 60.0

pytestmark = pytest.mark.e2e


@dataclass
class Zygote:
    """Starts reporters, and knows how each ended."""

    process: asyncio.subprocess.Process
    started: "asyncio.Queue[tuple[int, asyncio.Future[int]]]" = field(default_factory=asyncio.Queue)
    ends: "dict[int, asyncio.Future[int]]" = field(default_factory=dict)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, folder: Path, url: str) -> "tuple[int, asyncio.Future[int]]":
        """A reporter's pid, and its exit status when it has ended."""
        order = {"folder": str(folder), "url": url, "pace": PACE}
        async with self.starting:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            return await self.started.get()  # by now it may have ended already

    async def listen(self) -> None:
        """Take in what it says."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if "pid" in said:
                ended = asyncio.get_running_loop().create_future()
                self.ends[said["pid"]] = ended
                self.started.put_nowait((said["pid"], ended))
            else:
                self.ends.pop(said["ended"]).set_result(said["status"])


@asynccontextmanager
async def zygote() -> AsyncIterator[Zygote]:
    script = Path(__file__).parents[1] / "support" / "backend" / "reporter_process.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    found = Zygote(process)
    listening = asyncio.create_task(found.listen())
    try:
        yield found
    finally:
        for pid in found.ends:
            kill(pid)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Run:
    """One seed: what is reported, what goes wrong."""

    def __init__(self, seed: int, server: SmallBackend, folder: Path) -> None:
        self.node = f"node-{seed}"
        self.draw = random.Random(seed)
        self.server = server
        self.folder = folder
        self.pid = 0
        self.starts = 0
        self.takes_http = self.draw.random() < 0.5
        self.contributions = self._contributions()

    def _contributions(self) -> list[Contribution]:
        some: list[Contribution] = []
        for _ in range(self.draw.randint(2, 5)):
            if some and self.draw.random() < 0.4:  # alike, but another one
                some.append(replace(self.draw.choice(some), id=contribution().id))
            else:
                seconds = self.draw.randrange(60_000) / 1000
                some.append(contribution(participant=self.node, compute_time=seconds))
        return some

    async def prepare(self) -> None:
        """The ledger, the sign-in and the faults to come."""
        self.folder.mkdir()
        token = self.server.token(EMAIL, "refresh", 3600.0)
        store = SecretStore(self.folder / "account.json")
        await store.keep(Secrets(refresh_token=token), url=self.server.url, email=EMAIL)
        await asyncio.to_thread(self._fill)
        if self.takes_http:
            self.server.taking.add(self.node)
        self.server.faults += [self._fault() for _ in range(self.draw.randint(0, 5))]

    def _fill(self) -> None:
        ledger = Ledger.open(self.folder / "ledger.sqlite")
        for each in self.contributions:
            ledger.add(each)
        ledger.close()

    def _fault(self) -> Fault:
        draw = self.draw
        if draw.random() < 0.2:
            fault = draw.choice([{"status": 500}, {"html": True}, {"cut": True}, {"silent": True}])
            return Fault(route="read_back", node=self.node, **fault)
        fault = Fault(route="submit" if self.takes_http else "live", node=self.node)
        fault.counted = draw.random() < 0.5
        fault.delay = draw.choice([0.0, 0.0, draw.uniform(0, SLOW)])
        if draw.random() < 0.4:
            fault.kill = lambda: kill(self.pid)
            fault.late = draw.choice([0.0, 0.0, draw.uniform(0, LATE)])
        self._choose_answer(fault)
        return fault

    def _choose_answer(self, fault: Fault) -> None:
        answers = [{}, {"cut": True}, {"cut": True}, {"silent": True}]
        if fault.route == "live":
            answers += [{"error": True}]
        else:
            answers += [{"status": 500}, {"html": True}, {"status": 502, "html": True}]
            if not fault.counted:  # these say that it wasn't
                answers += [{"status": status} for status in (401, 403, 429)]
                fault.headers = {"Retry-After": "1"}
        for name, value in self.draw.choice(answers).items():
            setattr(fault, name, value)

    async def go(self, zygote: Zygote) -> None:
        """Reporter after reporter; from the sixth on they are left in peace."""
        while True:
            self.starts += 1
            self.pid, ended = await zygote.start(self.folder, self.server.url)
            if self.starts <= 5 and self.draw.random() < 0.6:
                await asyncio.wait({ended}, timeout=self.draw.expovariate(1 / 0.15))
                kill(self.pid)
            if self.starts > 5:
                self._calm_down()
            status = await asyncio.wait_for(ended, PATIENCE)
            if status == 0:
                return
            assert status == -signal.SIGKILL, f"the reporter failed with {status}"

    def _calm_down(self) -> None:
        for fault in [each for each in self.server.faults if each.node == self.node]:
            with suppress(ValueError):  # just taken
                self.server.faults.remove(fault)

    def check(self) -> None:
        """Each is counted once, and confirmed here."""
        rows = [row for row in self.server.rows if row["nodeId"] == self.node]
        counted = Counter(row["computeTime"] for row in rows)
        assert counted == Counter(each.compute_time for each in self.contributions)
        connection = sqlite3.connect(self.folder / "ledger.sqlite")
        states = [state for (state,) in connection.execute("SELECT state FROM contributions")]
        connection.close()
        assert states == ["confirmed"] * len(self.contributions)


@pytest.fixture
def servers() -> Iterator[list[SmallBackend]]:
    """One that keeps all digits as numbers, one with two places as texts."""
    with SmallBackend() as exact, SmallBackend() as rounding:
        exact.row_strings = False
        rounding.places = 2
        for server in (exact, rounding):
            server.limit = 10**9
            server.add_user(EMAIL, PASSWORD)
        yield [exact, rounding]


async def run_seed(
    seed: int, zygote: Zygote, servers: list[SmallBackend], folder: Path
) -> str | None:
    """What went wrong, if anything did."""
    run = Run(seed, servers[seed % len(servers)], folder / str(seed))
    try:
        await run.prepare()
        await run.go(zygote)
        await asyncio.to_thread(run.check)
    except (AssertionError, TimeoutError) as error:
        log = (run.folder / "log").read_text()[-4000:]
        return f"FAULT_SEEDS={seed}: {error!r}\n{log}"
    return None


@pytest.mark.timeout(600)
async def test_each_is_counted_exactly_once(servers: list[SmallBackend], tmp_path: Path) -> None:
    seats = asyncio.Semaphore(AT_ONCE)

    async with zygote() as starter:

        async def one(seed: int) -> str | None:
            async with seats:
                return await run_seed(seed, starter, servers, tmp_path)

        results = await asyncio.gather(*(one(seed) for seed in SEEDS or range(RUNS)))
    wrong = [result for result in results if result is not None]
    assert not wrong, f"{len(wrong)} of {len(results)} runs went wrong:\n" + "\n".join(wrong)
