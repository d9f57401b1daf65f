"""Starting real apps."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import ROOT, App, StartApp
from networks import Host, Internet, internet, why_not


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
        command = (
            *(sys.executable, str(ROOT / "main.py"), "--headless", "--threads", "1"),
            *("--callback-port", "0", "--data-dir", str(folder), *arguments),
        )
        process = await asyncio.create_subprocess_exec(
            *(host.within(*command) if host else command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        apps.append(App(process, folder))
        return apps[-1]

    yield start
    await asyncio.gather(*(app.stop() for app in apps))
