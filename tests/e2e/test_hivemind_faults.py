"""The faults of hivemind that we mend, each seen in the library and mended in ours.

When what is expected of the library fails after an update, the workaround can go.
"""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.support.processes.apps import PATIENCE, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize(
    ("trial", "library", "ours"),
    [
        ("failed", [0, 0, 0, 0], [2, 2, 2, 2]),
        ("unequal", 3.0, 2.0),
        ("search", True, False),
    ],
)
async def test_the_library_is_wrong_and_ours_is_right(trial: str, library: Any, ours: Any) -> None:
    assert await outcome("library", trial) == library
    assert await outcome("ours", trial) == ours


async def outcome(kind: str, trial: str) -> Any:
    """Of a trial in ``averagers.py``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "tests/support/training/averagers.py"), kind, trial),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return json.loads(output.splitlines()[-1])
