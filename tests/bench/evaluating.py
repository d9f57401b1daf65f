"""What evaluations and samples cost: two trainers side by side, one of them without.

    python tests/bench/evaluating.py [SECONDS]

Each trains the demo's model with one thread, alone in its swarm, for so many seconds after its
first epoch. Prints a line of JSON: the ratio of their samples per second of CPU time, which other
programs on the machine hardly change, and that of their samples per second.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from app import protocol
from app.demo import demo_spec
from app.p2p.network import Network, listening
from app.training.supervisor import Trainer

SECONDS = 120.0


class Measured:
    """A trainer, and how far it has got."""

    def __init__(self, folder: Path, *, evaluates: bool) -> None:
        self.evaluates = evaluates
        self.evaluations = self.samples = 0
        self.began = asyncio.Event()
        self._folder = folder
        self._process = psutil.Process()

    def note(self, report: protocol.Report) -> None:
        match report:
            case protocol.Hello(pid=pid):
                self._process = psutil.Process(pid)
            case protocol.Progress(samples=samples):
                self.samples = samples
            case protocol.RoundEnded():
                self.began.set()
            case protocol.Evaluated():
                self.evaluations += 1

    async def start(self) -> None:
        self.trainer = await Trainer.spawn(on_report=self.note)
        await self.trainer.command(
            protocol.Start,
            spec=demo_spec().to_json(),
            initial_peers=(),
            identity_file=str(self._folder / "trainer.pem"),
            checkpoint_dir=str(self._folder / "checkpoints"),
            cache_dir=str(self._folder / "cache"),
            device="cpu",
            threads=1,
            evaluates=self.evaluates,
            network=Network(listen=listening(0, local=True), local=True),
        )
        await self.began.wait()

    def reading(self) -> tuple[int, float, float]:
        """Samples so far, seconds of CPU time, monotonic time."""
        cpu = self._process.cpu_times()
        return self.samples, cpu.user + cpu.system, time.monotonic()


async def measure(seconds: float) -> dict[str, Any]:
    """Train with both at the same time."""
    with tempfile.TemporaryDirectory() as scratch:
        both = [Measured(Path(scratch, str(on)), evaluates=on) for on in (True, False)]
        for each in both:
            Path(scratch, str(each.evaluates)).mkdir()
        await asyncio.gather(*(each.start() for each in both))
        before = [each.reading() for each in both]
        await asyncio.sleep(seconds)
        after = [each.reading() for each in both]
        await asyncio.gather(*(each.trainer.stop() for each in both))
    done, cpu, wall = (
        [end[place] - begin[place] for begin, end in zip(before, after, strict=True)]
        for place in range(3)
    )
    return {
        "by_cpu_time": done[0] / cpu[0] / (done[1] / cpu[1]),
        "by_time": done[0] / wall[0] / (done[1] / wall[1]),
        "evaluations": both[0].evaluations,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(float(sys.argv[1]) if sys.argv[1:] else SECONDS))))
