"""The faults of hivemind that we mend, each seen in the library and mended in ours.

When what is expected of the library fails after an update, the workaround can go.
"""

import asyncio
import json
import sys

import pytest
from apps import PATIENCE, ROOT

pytestmark = [pytest.mark.e2e]


async def test_the_library_loses_gradients_and_weighs_wrongly_and_ours_does_not() -> None:
    script = ROOT / "tests" / "support" / "averagers.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert json.loads(output.splitlines()[-1]) == {
        "library": {"after a failed round": [0, 0, 0, 0], "mean of unequal batches": 3.0},
        "ours": {"after a failed round": [2, 2, 2, 2], "mean of unequal batches": 2.0},
    }
