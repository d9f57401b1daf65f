"""A trainer without an app, of any version of the code: its reports are lines of JSON."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class BareTrainer:
    """Trains until it is ended."""

    def __init__(self, name: str, folder: Path, *, code: Path = ROOT) -> None:
        """folder: of the swarm; it gets one of its own in there. code: the checkout."""
        self.name = name
        self._folder = folder / name
        self._code = code
        self.addresses: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        """Of its peer, once it is in the swarm."""
        self.rounds: dict[int, dict[str, Any]] = {}
        """`RoundEnded` by epoch."""

    async def start(self, spec: dict[str, Any], initial_peers: list[str]) -> None:
        """Spawn it, and tell it to train."""
        self._folder.mkdir(exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(self._code / "main.py"), "--trainer"),
            cwd=self._code,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"COTRAIN_NICENESS": "0"},
            start_new_session=True,
            limit=2**22,
        )
        self._reading = asyncio.create_task(self._read())
        order = {
            "type": "Start",
            "id": 1,
            "spec": spec,
            "initial_peers": initial_peers,
            "identity_file": str(self._folder / "trainer.pem"),
            "checkpoint_dir": str(self._folder / "checkpoints"),
            "cache_dir": str(self._folder.parent / "cache"),
            "device": "cpu",
            "threads": 1,
            "network": {"listen": ["/ip4/127.0.0.1/tcp/0"], "local": True},
        }
        self._tell(order)

    def _tell(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            report = json.loads(line)
            if report["type"] == "Ready" and not self.addresses.done():
                self.addresses.set_result(report["addresses"])
            elif report["type"] == "RoundEnded":
                self.rounds[report["epoch"]] = report

    async def leave(self) -> None:
        """End it in order, or within half a minute."""
        self._tell({"type": "Stop", "id": 2})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30.0):
                await self.process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End its whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reading
