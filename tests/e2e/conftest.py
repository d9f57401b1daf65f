"""Starting real apps."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from apps import ROOT, App, StartApp
from callers import Call, Caller


@pytest.fixture
async def start_app(tmp_path: Path) -> AsyncIterator[StartApp]:
    """Start headless apps; what still runs at the end of the test is stopped."""
    apps: list[App] = []

    async def start(*arguments: str, spec: dict[str, Any] | None = None, name: str = "") -> App:
        folder = tmp_path / (name or f"app{len(apps)}")
        if spec is not None:
            file = tmp_path / f"{folder.name}.cotrain"
            file.write_text(json.dumps(spec))
            arguments = (*arguments, "--swarm", str(file))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "main.py"),
            *("--headless", "--threads", "1", "--callback-port", "0"),
            *("--data-dir", str(folder), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        apps.append(App(process, folder))
        return apps[-1]

    yield start
    for app in apps:
        await app.stop()


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Makes callers of apps."""
    async with AsyncExitStack() as stack:

        async def make(app: App) -> Caller:
            caller = await Caller.of(app)
            await stack.enter_async_context(caller.client)
            return caller

        yield make
