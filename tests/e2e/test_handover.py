"""One instance a data folder: a second start hands over what it was given."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.common.paths import Folders
from app.lifecycle.handover import Request, hand_over
from app.spec import invite
from app.spec import schema as spec
from tests.support.processes.apps import PATIENCE, ROOT, StartApp, lone_spec

pytestmark = [pytest.mark.e2e, pytest.mark.gui]

TINY = spec.parse(lone_spec(title="Tiny"))


async def start(folder: Path, *arguments: str, **options: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "main.py"),
        *("--data-dir", str(folder), *arguments),
        start_new_session=True,
        **options,
    )


async def until(is_so: Callable[[], object]) -> None:
    """Another process tells nobody when it is so far; ask it again and again."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
def folder(short_folder: Path, tmp_path: Path) -> Path:
    return tmp_path / "first"


@pytest.fixture
async def window(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real window, off screen, that has taken its data folder."""
    process = await start(folder)
    door = Folders.under(folder).door_file
    await until(lambda: hand_over(door, Request(show=False)))
    yield process
    if process.returncode is None:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert not door.exists()


def log_of(folder: Path) -> str:
    return (folder / "logs" / "contributor.log").read_text()


async def test_second_start_hands_its_file_over(
    folder: Path, window: asyncio.subprocess.Process, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.cotrain"
    invite.save(TINY, file)
    second = await start(folder, str(file))
    assert await asyncio.wait_for(second.wait(), PATIENCE) == 0
    await until(lambda: "previewing the swarm tiny" in log_of(folder))
    assert window.returncode is None


async def test_second_start_hands_its_link_over(
    folder: Path, window: asyncio.subprocess.Process
) -> None:
    second = await start(folder, "--swarm", invite.as_link(TINY))
    assert await asyncio.wait_for(second.wait(), PATIENCE) == 0
    await until(lambda: "previewing the swarm tiny" in log_of(folder))


async def test_plain_second_start_brings_the_window_to_front(
    folder: Path, window: asyncio.subprocess.Process
) -> None:
    second = await start(folder)
    assert await asyncio.wait_for(second.wait(), PATIENCE) == 0
    await until(lambda: "handed over: no invite" in log_of(folder))


async def test_headless_beside_a_window_says_who_is_there(
    folder: Path, window: asyncio.subprocess.Process
) -> None:
    second = await start(folder, "--headless", "--demo", stderr=asyncio.subprocess.PIPE)
    _output, errors = await asyncio.wait_for(second.communicate(), PATIENCE)
    assert second.returncode == 1
    assert f"is open already (process {window.pid})" in errors.decode()


@pytest.mark.slow
async def test_headless_joins_by_link(start_app: StartApp) -> None:
    app = await start_app("--swarm", invite.as_link(TINY))
    line = await app.trains()
    assert line["run_id"] == "tiny"
    assert await app.stop() == 0
    kept = (app.folder / "recent-swarms.json").read_text()
    assert '"run_id": "tiny"' in kept
