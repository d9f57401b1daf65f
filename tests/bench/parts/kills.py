"""Four trainers, one of which is killed every half a minute and started again."""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.parts.bare_trainer import BareTrainer, comes_true
from tests.bench.parts.schemes import small_spec

HEAD = (
    "| scheme | seed | kills | samples computed | of use | goodput | against no kills |\n"
    "|---|---|---|---|---|---|---|\n"
)

PEERS = 4
EVERY, AWAY = (20.0, 40.0), 5.0
"""Seconds between two kills, and until it is started again."""

PATIENCE = 600.0
"""Seconds until all have entered."""

AVERAGING = {
    "matchmaking_seconds": 2.0,
    "timeout_seconds": 20.0,
    "record_seconds": 10.0,
}


class Lives:
    """A machine on which a trainer may die and be started again."""

    def __init__(self, name: str, folder: Path, spec: dict[str, object]) -> None:
        self._name, self._folder, self._spec = name, folder, spec
        self._past = {"samples_computed": 0.0, "samples_entered": 0.0}
        self.trainer = BareTrainer(name, folder)

    async def start(self, addresses: list[str]) -> list[str]:
        """Returns its addresses once it is in the swarm."""
        await self.trainer.start(self._spec, addresses)
        return await self.trainer.addresses

    async def die(self) -> None:
        """Killed; another one takes its place."""
        await self.trainer.kill()
        for name in self._past:
            self._past[name] += self.trainer.worked(name)
        self.trainer = BareTrainer(self._name, self._folder)

    def total(self, name: str) -> float:
        """Of all its lives."""
        return self._past[name] + self.trainer.worked(name)


async def measure(scheme: str, *, seed: int, minutes: float) -> None:
    """Print a row; the same time without kills is measured first."""
    quiet = await _run(scheme, None, minutes)
    killed = await _run(scheme, random.Random(seed), minutes)
    cells = (
        *(scheme, seed, killed[2], f"{killed[0]:,.0f}", f"{killed[1]:,.0f}"),
        *(f"{killed[1] / killed[0]:.1%}", f"{killed[1] / quiet[1]:.1%}"),
    )
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


async def _run(scheme: str, draw: random.Random | None, minutes: float) -> tuple[float, float, int]:
    """Samples that were computed, those of them that are not lost, and kills."""
    spec = small_spec("kills", scheme, peers=PEERS, **AVERAGING)
    with tempfile.TemporaryDirectory() as name:
        machines = [Lives(f"t{number}", Path(name), spec) for number in range(PEERS)]
        first, *others = machines
        try:
            addresses = await first.start([])
            await asyncio.gather(*(each.start(addresses) for each in others))
            if not await comes_true(
                lambda: all(each.trainer.rounds_of(PEERS) for each in machines), seconds=PATIENCE
            ):
                raise TimeoutError("they never were in one round")
            began = _totals(machines)
            kills = await _for_a_while(others, addresses, draw, minutes)
            computed, kept = (
                after - before for before, after in zip(began, _totals(machines), strict=True)
            )
        finally:
            await asyncio.gather(*(each.trainer.kill() for each in machines))
    return computed, kept, kills


def _totals(machines: list[Lives]) -> tuple[float, float]:
    """What entered a round is not lost, nor what waits for the next one where a trainer lives."""
    computed, entered = (
        sum(each.total(name) for each in machines)
        for name in ("samples_computed", "samples_entered")
    )
    return computed, entered + sum(each.trainer.worked("samples_pending") for each in machines)


async def _for_a_while(
    machines: list[Lives], addresses: list[str], draw: random.Random | None, minutes: float
) -> int:
    until, kills = time.monotonic() + 60 * minutes, 0
    while (left := until - time.monotonic()) > 0:
        if draw is None:
            await asyncio.sleep(left)
            continue
        await asyncio.sleep(draw.uniform(*EVERY))
        victim = draw.choice(machines)
        await victim.die()
        kills += 1
        await asyncio.sleep(AWAY)
        await victim.start(addresses)
    return kills
