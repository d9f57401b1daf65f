"""Starting real apps."""

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.callback.callers import Call, Caller
from tests.support.network.networks import Host, Internet, internet, why_not
from tests.support.processes.apps import App, StartApp
from tests.support.processes.apps import start_app as start_one


@pytest.fixture(autouse=True)
def turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let a test with the mark ``alone`` run beside no other one of this folder: trainers have the
    lowest priority, and one that has to answer within seconds would starve."""
    alone = request.node.get_closest_marker("alone") is not None
    with (tmp_path_factory.getbasetemp().parent / "e2e.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture
def net() -> Iterator[Internet]:
    """A network of hosts on this machine, where it can have one."""
    if reason := why_not():
        pytest.skip(reason)
    with internet() as made:
        yield made


@pytest.fixture
async def start_app(tmp_path: Path) -> AsyncIterator[StartApp]:
    """Start headless apps; what still runs at the end of the test is stopped."""
    apps: list[App] = []

    async def start(
        *arguments: str,
        spec: dict[str, Any] | None = None,
        name: str = "",
        host: Host | None = None,
    ) -> App:
        folder = tmp_path / (name or f"app{len(apps)}")
        if spec is not None:
            file = tmp_path / f"{folder.name}.cotrain"
            file.write_text(json.dumps(spec))
            arguments = (*arguments, "--swarm", str(file))
        apps.append(await start_one(folder, *arguments, host=host))
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
