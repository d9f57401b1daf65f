"""Starting real apps."""

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.callback.callers import Call, Caller
from tests.support.network.networks import Host, Internet, internet, why_not
from tests.support.processes.apps import PATIENCE, ROOT, App, StartApp
from tests.support.processes.apps import start_app as start_one
from tests.support.processes.workers import Worker

LIMIT = 600.0
"""Seconds. Some of these tests take 70 of CPU time, in a dozen processes that import torch and
hivemind. A busy machine gives them a tenth of its cores."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give them the time that they need."""
    for item in items:
        ours = item.path.is_relative_to(Path(__file__).parent)
        if ours and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let a test with the mark ``alone`` run beside no other one of this folder: one that has to
    answer within seconds would starve.

    Around all of the test, pytest-timeout included: waiting for one's turn takes as long as the
    other worker's test, and is no part of the time that this one may take.
    """
    if not item.path.is_relative_to(Path(__file__).parent):
        return (yield)
    folder = item.config._tmp_path_factory.getbasetemp().parent
    with turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the lock. Whoever waits for it holds the gate, which keeps later comers from taking it
    first: the kernel is not fair, so a test that is ``alone`` would wait for all others."""
    with (folder / "e2e.gate").open("w") as gate, (folder / "e2e.lock").open("w") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a process that was forked holds the file open, too


@pytest.fixture
def net() -> Iterator[Internet]:
    """A network of hosts on this machine, where it can have one."""
    if reason := why_not():
        pytest.skip(reason)
    with internet() as made:
        yield made


@pytest.fixture
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers in this very process wait long for each other: a busy machine may stand still for
    longer than a peer in the world."""
    for module in ("calls", "board", "meeting", "streams.serving"):
        monkeypatch.setattr(f"app.p2p.{module}.CALL_SECONDS", PATIENCE)
    monkeypatch.setattr("app.p2p.streams.serving.ARRIVAL_SECONDS", PATIENCE)
    monkeypatch.setattr("app.p2p.scout.CONNECT_SECONDS", PATIENCE)
    monkeypatch.setattr("app.p2p.peer.CONNECT_SECONDS", PATIENCE)


@pytest.fixture
async def start_app(tmp_path: Path) -> AsyncIterator[StartApp]:
    """Start headless apps; what still runs at the end of the test is stopped."""
    apps: list[App] = []

    async def start(
        *arguments: str,
        spec: dict[str, Any] | None = None,
        name: str = "",
        host: Host | None = None,
        code: Path = ROOT,
    ) -> App:
        folder = tmp_path / (name or f"app{len(apps)}")
        if spec is not None:
            file = tmp_path / f"{folder.name}.cotrain"
            file.write_text(json.dumps(spec))
            arguments = (*arguments, "--swarm", str(file))
        apps.append(await start_one(folder, *arguments, host=host, code=code))
        return apps[-1]

    yield start
    await asyncio.gather(*(app.stop() for app in apps))


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Makes callers of apps."""
    async with AsyncExitStack() as stack:

        async def make(app: App) -> Caller:
            caller = await Caller.of(app)
            await stack.enter_async_context(caller.client)
            return caller

        yield make


@pytest.fixture
async def hire(tmp_path: Path) -> AsyncIterator[Callable[[], Worker]]:
    """Make workers; they are stopped at the end."""
    workers: list[Worker] = []

    def make() -> Worker:
        folder = tmp_path / f"worker{len(workers)}"
        folder.mkdir()
        workers.append(Worker(folder))
        return workers[-1]

    yield make
    await asyncio.gather(*(each.trainer.stop() for each in workers if hasattr(each, "trainer")))
