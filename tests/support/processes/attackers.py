"""Hostile processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.processes.apps import ROOT

HOSTILE = ROOT / "tests" / "support" / "training" / "hostile.py"


@asynccontextmanager
async def hostile(
    attack: str, addresses: Iterable[str], log: Path, **environment: str
) -> AsyncIterator[str]:
    """A hostile peer that has begun; gives the line that it printed then."""
    with log.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HOSTILE), attack, *addresses),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env=os.environ | environment,
        )
        assert process.stdout is not None
        try:
            begun = await process.stdout.readline()
            assert begun, log.read_text()
            yield begun.decode()
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it forked
            await process.wait()
