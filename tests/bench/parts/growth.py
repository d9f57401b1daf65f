"""More and more trainers of a small model: seconds of a round, groups, failures, memory."""

import asyncio
import collections
import statistics
import sys
import tempfile
from pathlib import Path

from tests.bench.parts.bare_trainer import BareTrainer, comes_true
from tests.bench.parts.schemes import small_spec

HEAD = (
    "| peers | scheme | rounds | of all peers | failed | median seconds | longest |"
    " MB a peer |\n|---|---|---|---|---|---|---|---|\n"
)

AVERAGING = {
    "matchmaking_seconds": 5.0,
    "timeout_seconds": 60.0,
    "record_seconds": 30.0,
}

PATIENCE = 1800.0
"""Seconds for a swarm."""


async def measure(scheme: str, peers: int, *, rounds: int) -> None:
    """Print a row: what all peers say of the rounds after the first that was of all."""
    spec = small_spec("growth", scheme, peers=peers, **AVERAGING)
    with tempfile.TemporaryDirectory() as name:
        trainers = [BareTrainer(f"t{number}", Path(name)) for number in range(peers)]
        first, *others = trainers
        try:
            await first.start(spec, [])
            addresses = await first.addresses
            for each in others:
                await each.start(spec, addresses)
            if not await comes_true(lambda: bool(first.rounds_of(peers)), seconds=PATIENCE):
                raise TimeoutError(f"{peers} never were in one round")
            began = first.rounds_of(peers)[0]["epoch"]
            # A peer that stands still is missing in what is counted.
            await comes_true(
                lambda: min(max(each.rounds, default=0) for each in trainers) >= began + rounds,
                seconds=PATIENCE,
            )
            memory = statistics.fmean(each.memory() for each in trainers)
        finally:
            await asyncio.gather(*(each.kill() for each in trainers))
    said = [
        each.rounds[epoch]
        for epoch in range(began + 1, began + rounds + 1)
        for each in trainers
        if epoch in each.rounds
    ]
    sizes = collections.Counter(each["peers"] for each in said if not each["failure"])
    seconds = [each["seconds"] for each in said]
    cells = (
        *(peers, scheme, rounds, f"{sizes[peers] / len(said):.0%}"),
        sum(bool(each["failure"]) for each in said),
        *(f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}", f"{memory / 1e6:,.0f}"),
    )
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()
