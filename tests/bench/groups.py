"""Do the peers of a swarm average in one group? So many real trainers of this machine, for a while.

    python tests/bench/groups.py [--peers N] [--epochs N] [--code FOLDER]

For each epoch: how many averaged in one group, by what each peer says of its round. At the end, in
how many epochs the group was whole. --code: another checkout, to compare with. The first epochs,
until all have entered, don't count.
"""

import argparse
import asyncio
import collections
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.parts.bare_trainer import BareTrainer  # noqa: E402
from tests.support.processes.apps import tiny_spec, training  # noqa: E402

MATCHMAKING_SECONDS = 3.0
SPEC = tiny_spec(
    run_id="groups",
    training_params=training(
        target_batch_size=16384,
        averaging={
            "compression": "none",
            "matchmaking_seconds": MATCHMAKING_SECONDS,
            "timeout_seconds": 30.0,
            "record_seconds": 20.0,
        },
    ),
)


async def run(peers: int, epochs: int, code: Path) -> None:
    """Let them train, and say how they averaged."""
    with tempfile.TemporaryDirectory(prefix="groups-") as name:
        first, *rest = (BareTrainer(str(each), Path(name), code=code) for each in range(peers))
        await first.start(SPEC, [])
        started = [first]
        try:
            entries = await first.addresses
            for each in rest:
                await each.start(SPEC, entries)
                started.append(each)
            await _watch(started, epochs)
        finally:
            await asyncio.gather(*(each.kill() for each in started))


async def _watch(trainers: list[BareTrainer], epochs: int) -> None:
    """Wait until all have trained in so many epochs together, then print the table."""
    deadline = time.monotonic() + 60.0 * epochs
    begin = None
    while time.monotonic() < deadline:
        await asyncio.sleep(1.0)
        if begin is None and all(each.rounds for each in trainers):
            begin = max(max(each.rounds) for each in trainers) + 1
        if begin is not None and min(max(each.rounds) for each in trainers) >= begin + epochs:
            break
    if begin is None:
        sys.exit("not all peers came into the swarm")
    whole, parts = 0, []
    for epoch in range(begin, begin + epochs):
        rounds = [each.rounds[epoch] for each in trainers if epoch in each.rounds]
        sizes = collections.Counter(0 if each["failure"] else each["peers"] for each in rounds)
        whole += sizes == {len(trainers): len(trainers)}
        parts += [each.get("arrived", 1.0) for each in rounds if not each["failure"]]
        slowest = max((each["seconds"] for each in rounds), default=0.0)
        failures = sorted({each["failure"] for each in rounds if each["failure"]})
        said = ", ".join(f"{count} × in a group of {size}" for size, count in sorted(sizes.items()))
        _say(f"epoch {epoch}: {said}; {slowest:.1f} s {'; '.join(failures)}")
    _say(f"whole group: {whole} of {epochs} epochs; least part of a round: {min(parts):.0%}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--code", type=Path, default=ROOT)
    wanted = parser.parse_args()
    asyncio.run(run(wanted.peers, wanted.epochs, wanted.code.absolute()))


if __name__ == "__main__":
    main()
