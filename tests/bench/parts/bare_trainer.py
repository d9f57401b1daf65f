"""A trainer without an app, of any version of the code: its reports are lines of JSON."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.support.network.networks import Host

ROOT = Path(__file__).parents[3]


class BareTrainer:
    """Trains until it is ended."""

    def __init__(
        self, name: str, folder: Path, *, code: Path = ROOT, host: Host | None = None
    ) -> None:
        """folder: of the swarm; it gets one of its own in there. code: the checkout. host: on which
        it runs; this machine by default, where it talks to itself only."""
        self.name, self.host = name, host
        self._folder = folder / name
        self._code = code
        self.addresses: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        """Of its peer, once it is in the swarm."""
        self.rounds: dict[int, dict[str, Any]] = {}
        """`RoundEnded` by epoch."""
        self.work: dict[str, Any] = {}
        """The last `Work`, without what is 0."""

    async def start(self, spec: dict[str, Any], initial_peers: list[str]) -> None:
        """Spawn it, and tell it to train."""
        self._folder.mkdir(exist_ok=True)
        command = (sys.executable, str(self._code / "main.py"), "--trainer")
        listen = "127.0.0.1" if self.host is None else self.host.address
        self.process = await asyncio.create_subprocess_exec(
            *(command if self.host is None else self.host.within(*command)),
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
            "network": {"listen": [f"/ip4/{listen}/tcp/0"], "local": self.host is None},
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
            elif report["type"] == "Work":
                self.work = report

    def rounds_of(self, peers: int) -> list[dict[str, Any]]:
        """The rounds with so many peers that did not fail."""
        return [
            each for each in self.rounds.values() if each["peers"] == peers and not each["failure"]
        ]

    def worked(self, what: str) -> float:
        """A total of `Work` so far."""
        return float(self.work.get(what, 0))

    def memory(self) -> int:
        """Bytes that its processes hold together, what they share counted once each (PSS)."""
        main = psutil.Process(self.process.pid)
        found = 0
        for each in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += each.memory_full_info().pss
        return found

    def sent(self) -> int:
        """Bytes that have left its host."""
        assert self.host is not None
        file = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(subprocess.check_output(self.host.within("cat", file)))

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


async def comes_true(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait for it, so many seconds at most; returns whether it did."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.5)
    return True
