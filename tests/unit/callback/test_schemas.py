"""Requests generated from the API's own OpenAPI description, valid and nearly valid ones.

No answer may be a defect's (status 500), and each must be as described. The requests are the same
in each run.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from app.callback import access
from app.callback.sources import sources_of
from app.callback.tokens import Role
from tests.support.callback.callbacks import serving
from tests.support.processes.sessions import OfflineSession

EXCLUDED = "positive_data_acceptance"
"""Off, because the description takes any object as a part of a spec; a wrong one gets a 422."""


async def test_no_answer_is_a_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("READS_PER_SECOND", "CHANGES_PER_SECOND"):
        monkeypatch.setattr(access, name, 10**6)
    shown = OfflineSession(tmp_path / "shown")
    await shown.contributions.open()
    async with serving(
        tmp_path / "data",
        sources=sources_of(shown.store, ledger=shown.contributions.ledger, machines=shown.machines),
    ) as served:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"]
        options = ["--no-color", "--generation-deterministic", "--max-examples", "15"]
        token = f"Authorization: Bearer {served.tokens.of(Role.OPERATOR)}"
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            *("--header", token, "--exclude-checks", EXCLUDED),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    await shown.close()
    assert process.returncode == 0, output.decode()
    assert b"Tested: 13" in output, output.decode()
