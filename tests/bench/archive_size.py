"""How large the file of the machines' figures gets: its most rows, a value in every column.

python tests/bench/archive_size.py
"""

import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from app.archive.storage import (  # noqa: E402
    FILE_NAME,
    MIGRATIONS,
    MOST_ROWS,
    STEPS,
    ArchivedMachine,
    save,
)
from app.common.database import open_database  # noqa: E402
from app.swarm.fleet import METRICS  # noqa: E402
from tests.bench.measuring import row  # noqa: E402

MACHINES = 40
NOW = 1.8e9


def machine(number: int, rows: int) -> ArchivedMachine:
    """One with so many rows of numbers that don't pack well."""
    chance = random.Random(number)
    return ArchivedMachine(
        public_key=f"{number:064x}",
        alias=f"machine {number}",
        lab="lab",
        device="NVIDIA GeForce RTX 4070",
        first_seen=NOW,
        last_seen=NOW,
        vouched=True,
        rows=tuple(
            (NOW - index * STEPS[0], *(chance.uniform(0, 300) for _metric in METRICS))
            for index in range(rows)
        ),
    )


def main() -> None:
    """Fill it, and look."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, FILE_NAME)
        connection, _aside = open_database(path, migrations=MIGRATIONS)
        for number in range(MACHINES):
            save(connection, "run", [machine(number, MOST_ROWS // MACHINES)])
        connection.close()
        size = path.stat().st_size
    row(f"machines' figures, {MOST_ROWS:,} rows", f"{size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
