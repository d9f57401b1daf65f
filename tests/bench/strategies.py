"""How the strategies do: loss, lines, kills, growth, and what that means for large swarms.

    python tests/bench/strategies.py [loss] [line] [kills] [growth] [forecast]
        [--peers N…] [--seeds N] [--schemes NAME…] [--rate 20mbit] [--minutes M]

Without a name all run, which takes hours. Each prints a Markdown table, for `docs/strategies.md`.

loss: held-out loss at equal tokens, of virtual peers (`local_steps.py`).
line: real trainers of a model of 124 million parameters, each on a host of its own whose upload is
    limited: bytes on the wire a step, and the part of the time that is computed. Needs root.
kills: four trainers, one of which is killed every half a minute and started again.
growth: 2 to 16 trainers: rounds, groups and memory.
forecast: 100 and 1,000 volunteers, by the arithmetic of `app/spec/line.py`.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.bench.parts import growth, kills, lines, volunteers  # noqa: E402
from tests.bench.parts.schemes import SCHEMES  # noqa: E402


def loss(wanted: argparse.Namespace) -> None:
    """Virtual peers, with schemes of that script."""
    peers = [str(each) for each in wanted.peers or (2, 4, 8)]
    schemes = ("dense:every=30", "dense:every=100", "sparse:keep=128,every=10", "sparse:every=30")
    script = str(ROOT / "tests" / "bench" / "local_steps.py")
    options = ("--seeds", str(wanted.seeds), "--peers", *peers, "--scheme", *schemes)
    subprocess.run([sys.executable, script, *options], check=True)


def line(wanted: argparse.Namespace) -> None:
    """On slow lines."""
    for peers in wanted.peers or (2, 4):
        asyncio.run(lines.measure(peers, wanted.schemes, rate=wanted.rate, rounds=wanted.rounds))


def deaths(wanted: argparse.Namespace) -> None:
    """Among kills."""
    for scheme in wanted.schemes:
        for seed in range(wanted.seeds):
            asyncio.run(kills.measure(scheme, seed=seed, minutes=wanted.minutes))


def larger(wanted: argparse.Namespace) -> None:
    """With more and more peers."""
    for scheme in wanted.schemes:
        for peers in wanted.peers or (2, 4, 8, 16):
            asyncio.run(growth.measure(scheme, peers, rounds=wanted.rounds))


def forecast(_wanted: argparse.Namespace) -> None:
    """Volunteers."""
    volunteers.forecasts()


PARTS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "loss": (loss, ""),
    "line": (line, lines.HEAD),
    "kills": (deaths, kills.HEAD),
    "growth": (larger, growth.HEAD),
    "forecast": (forecast, volunteers.HEAD),
}
"""Each with the head of its table, unless it prints that itself."""


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=(*PARTS, []), metavar="PART")
    parser.add_argument("--peers", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", default="20mbit", help="of an upload, in tc's words")
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    wanted = parser.parse_args()
    for name in wanted.parts or PARTS:
        run, head = PARTS[name]
        sys.stdout.write(f"\n{name}\n\n{head}")
        sys.stdout.flush()
        run(wanted)


if __name__ == "__main__":
    main()
