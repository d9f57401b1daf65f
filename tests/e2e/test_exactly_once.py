"""Each contribution is counted exactly once, whatever happens: 50 seeded runs, or more.

A run is a ledger with some contributions, some of them alike, and real reporter processes on it,
one after the other. They are killed (-9) at random moments, and at chosen ones: when the backend
has a request, long before, before or after it counts. Replies are lost, errors answered, pages of
HTML sent, tokens refused, read-backs spoilt, reports refused after they were counted. At last one
is left in peace to finish.

In a quarter of the runs each, the backend forgets all that it knows now and then; the contributions
are for two backends, and the address changes from one reporter to the next; the ledger is cut off
somewhere. In each life of the backend a contribution is counted once.

``FAULT_SEEDS=17,18`` runs those alone, ``FAULT_RUNS=300`` more of them, as `make faults`
does. A failure names its
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
from typing import Any

import pytest

from app.backend.secret_store import Secrets, SecretStore
from app.common.signing import MachineKey
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger
from tests.support.backend.reporting import EMAIL, PASSWORD, contribution
from tests.support.backend.server import Fault, SmallBackend

RUNS = int(os.environ.get("FAULT_RUNS", "50"))
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "").split(",") if seed]
AT_ONCE = 32
PACE = {"first": 0.05, "longest": 0.2, "settle": 1.2, "poll": 0.2, "recall_again": 0.1}
SLOW = 0.2  # seconds that the backend may take
LATE = 0.6  # seconds after a kill at which it may still count; less than PACE["settle"]
PATIENCE = 300.0
WRAPPED = {"statusCode": 400, "message": "Failed to submit contribution: no gas is left"}

pytestmark = pytest.mark.e2e


@dataclass
class Zygote:
    """Starts reporters, and knows how each ended."""

    process: asyncio.subprocess.Process
    started: "asyncio.Queue[tuple[int, asyncio.Future[int]]]" = field(default_factory=asyncio.Queue)
    ends: "dict[int, asyncio.Future[int]]" = field(default_factory=dict)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, folder: Path, url: str, node: str) -> "tuple[int, asyncio.Future[int]]":
        """A reporter's pid, and its exit status when it has ended."""
        order = {"folder": str(folder), "url": url, "node": node, "pace": PACE}
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
    """One seed: what is reported, what goes wrong. servers: those that contributions are for."""

    forgets = damages = alike = False
    troubled = 3  # reporters, before the others are left in peace

    def __init__(
        self, seed: int, *, servers: list[SmallBackend], folder: Path, key: MachineKey
    ) -> None:
        self.node = f"node-{seed}"
        self.draw = random.Random(seed)
        self.servers = servers
        self.server = servers[0]
        self.folder = folder
        self.key = key
        self.pid = 0
        self.starts = 0
        self.takes_http = self.draw.random() < 0.5
        self.contributions = self._contributions()
        self.targets = {each.id: self.draw.choice(servers) for each in self.contributions}

    def _contributions(self) -> list[Contribution]:
        some: list[Contribution] = []
        for number in range(self.draw.randint(2, 5)):
            if self.alike and some and self.draw.random() < 0.4:  # alike, but another one
                some.append(replace(self.draw.choice(some), id=contribution().id))
            else:
                seconds = self.draw.randrange(100, 60_000) / 1000 + 100 * number
                some.append(contribution(participant=self.node, compute_time=seconds))
        return [each.signed(self.key) for each in some]

    async def prepare(self) -> None:
        """The ledger and the faults to come."""
        self.folder.mkdir()
        await asyncio.to_thread(self._fill)
        for server in self.servers:
            if self.takes_http:
                server.taking.add(self.node)
            server.faults += [self._fault() for _ in range(self.draw.randint(0, 5))]

    def _fill(self) -> None:
        for server in self.servers:
            ledger = Ledger.open(self.file, backend=server.url)
            for each in self.contributions:
                if self.targets[each.id] is server:
                    ledger.add(each)
            ledger.close()

    @property
    def file(self) -> Path:
        return self.folder / "ledger.sqlite"

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
            answers += [{"status": 400, "body": WRAPPED}, {"status": 404, "body": WRAPPED}]
            if not fault.counted:  # these say that it wasn't
                answers += [{"status": status} for status in (401, 403, 429)]
                fault.headers = {"Retry-After": "1"}
        for name, value in self.draw.choice(answers).items():
            setattr(fault, name, value)

    async def go(self, zygote: Zygote) -> None:
        """Reporter after reporter; the last ones, one for each server, are left in peace."""
        while self.starts < self.troubled:
            self.server = self.draw.choice(self.servers)
            if await self._report(zygote) and not self._comes_back:
                return
            await asyncio.to_thread(self._trouble)
        self._calm_down()
        for server in self.servers:
            self.server = server
            while not await self._report(zygote):  # a kill that was on its way may still reach it
                pass

    @property
    def _comes_back(self) -> bool:
        """Whether more happens after a reporter had nothing left to do."""
        return self.forgets or self.damages or len(self.servers) > 1

    async def _report(self, zygote: Zygote) -> bool:
        """Let a reporter work; returns whether it has ended by itself."""
        self.starts += 1
        store = SecretStore(self.folder / "account.json")
        token = self.server.token(EMAIL, "refresh", 3600.0)
        await store.keep(Secrets(refresh_token=token), url=self.server.url, email=EMAIL)
        self.pid, ended = await zygote.start(self.folder, self.server.url, self.node)
        if self.starts <= self.troubled and self.draw.random() < 0.6:
            await asyncio.wait({ended}, timeout=self.draw.expovariate(1 / 0.15))
            if self.forgets:
                await asyncio.to_thread(self._trouble)
            kill(self.pid)
        # shielded, since the zygote tells of its end whenever that comes
        status = await asyncio.wait_for(asyncio.shield(ended), PATIENCE)
        assert status in (0, -signal.SIGKILL), f"the reporter failed with {status}"
        return status == 0

    def _trouble(self) -> None:
        if self.forgets and self.draw.random() < 0.5:
            self.server.forget(self.node)
        if self.damages and self.draw.random() < 0.3:
            size = self.file.stat().st_size
            os.truncate(self.file, self.draw.randrange(4096, max(size, 4097)))

    def _calm_down(self) -> None:
        for server in self.servers:
            for fault in [each for each in server.faults if each.node == self.node]:
                with suppress(ValueError):  # just taken
                    server.faults.remove(fault)

    def check(self) -> None:
        """Each is counted once by the backend that it is for, and confirmed here."""
        states = self._states()
        assert set(states.values()) <= {"confirmed"}
        for server in self.servers:
            meant = [each for each in self.contributions if self.targets[each.id] is server]
            left = [each for each in meant if each.id in states]
            counted = self._counted(server.rows)
            assert counted <= times(meant)
            assert counted >= times(left)
            assert self.damages or len(left) == len(meant)
            for life in server.past_lives:
                assert self._counted(life) <= times(meant)

    def _states(self) -> dict[str, str]:
        connection = sqlite3.connect(self.file)
        found = dict(connection.execute("SELECT id, state FROM contributions").fetchall())
        connection.close()
        return found

    def _counted(self, rows: list[dict[str, Any]]) -> Counter[float]:
        return Counter(row["computeTime"] for row in rows if row["nodeId"] == self.node)


class PlainRun(Run):
    alike = True
    troubled = 5


class ForgettingRun(Run):
    forgets = alike = True


class DamagedRun(Run):
    damages = True


KINDS: tuple[type[Run], ...] = (PlainRun, ForgettingRun, Run, DamagedRun)
"""By the seed; `Run` itself has two backends."""


def times(some: list[Contribution]) -> Counter[float]:
    return Counter(each.compute_time for each in some)


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
    seed: int, zygote: Zygote, servers: list[SmallBackend], *, folder: Path, key: MachineKey
) -> str | None:
    """What went wrong, if anything did."""
    kind = KINDS[seed % len(KINDS)]
    one = [servers[seed // len(KINDS) % len(servers)]]
    chosen = servers if kind is Run else one
    run = kind(seed, servers=chosen, folder=folder / str(seed), key=key)
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
    key = await asyncio.to_thread(MachineKey.load_or_create, tmp_path / "machine.pem")

    async with zygote() as starter:

        async def one(seed: int) -> str | None:
            async with seats:
                return await run_seed(seed, starter, servers, folder=tmp_path, key=key)

        results = await asyncio.gather(*(one(seed) for seed in SEEDS or range(RUNS)))
    wrong = [result for result in results if result is not None]
    assert not wrong, f"{len(wrong)} of {len(results)} runs went wrong:\n" + "\n".join(wrong)
