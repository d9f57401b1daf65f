"""Machines of a lab that only watch, until the standard input ends:

    python tests/bench/lab_machines.py FOLDER MACHINES

Prints where their swarm can be entered, as a JSON list. The admin's key lies in ``FOLDER/admin``.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.support.lab.observers import Observer, all_open, lab_key  # noqa: E402


async def main(root: Path, count: int) -> None:
    """Open them one after the other."""
    key = lab_key(root / "admin").public_key
    async with AsyncExitStack() as stack:
        observers = (Observer(root, f"lab-{number:02}", key) for number in range(count))
        print(json.dumps(await all_open(observers, stack)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
