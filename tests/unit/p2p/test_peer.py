"""What a peer leaves behind that could not enter a swarm."""

import asyncio
import shutil
import threading
from pathlib import Path

import psutil
import pytest

from app.p2p import peer as module


async def test_a_daemon_that_was_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a process lives on for a moment after it was killed."""
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / "p2pd")
    daemon = await asyncio.create_subprocess_exec(program, "600")
    has_looked = threading.Event()
    kill, lives = psutil.Process.kill, module._lives

    def kill_late(process: psutil.Process) -> None:
        def later() -> None:
            has_looked.wait()
            kill(process)

        threading.Thread(target=later).start()

    def look(process: psutil.Process) -> bool:
        found = lives(process)
        has_looked.set()
        return found

    monkeypatch.setattr(psutil.Process, "kill", kill_late)
    monkeypatch.setattr(module, "_lives", look)
    await module._end_daemons_since(set())
    assert has_looked.is_set()
    assert await asyncio.wait_for(daemon.wait(), module.END_SECONDS) < 0
