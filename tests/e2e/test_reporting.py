"""What a real app contributes is on the server, each contribution once."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from app.contributions.ledger import Ledger, LedgerEntry, OutboxState
from tests.support.backend.server import NUMBERS, SmallBackend, listed
from tests.support.callback.callers import Call
from tests.support.processes.apps import PATIENCE, ROOT, StartApp, lone_spec

pytestmark = [pytest.mark.e2e]

EMAIL, PASSWORD = "lab@example.org", "a good password"
OFFERED = lone_spec(session_id=7, training_id="7c9e6679-7425-40de-944b-e07fc1f90ae7")


def read(folder: Path) -> list[LedgerEntry]:
    """What is in an app's ledger."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    try:
        return ledger.all(limit=-1)
    finally:
        ledger.close()


def numbers(report: dict[str, Any]) -> tuple[Any, ...]:
    """By which the server tells one from another."""
    return tuple(report[name] for name in ("sessionId", *NUMBERS))


@pytest.mark.slow
async def test_contributions_arrive_once_over_a_restart_of_the_backend(
    start_app: StartApp, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTRAIN_PASSWORD", PASSWORD)
    with SmallBackend() as backend:
        backend.add_user(EMAIL, PASSWORD)
        backend.sessions = [listed(OFFERED["run_id"], id=OFFERED["training_id"])]
        app = await start_app(
            *("--sign-in", EMAIL, "--backend-url", backend.url, "--report-interval", "10"),
            "--serve",
            spec=OFFERED,
        )
        caller = await call(app)
        await app.wait_for(lambda _line: len(backend.rows) == 1)
        await asyncio.to_thread(backend.stop)
        await asyncio.to_thread(backend.start_again)
        await app.wait_for(lambda _line: len(backend.rows) == 2)
        assert app.last["reporting"] == "on"
        shown = await caller.get("contributions?limit=1000")
        assert await app.stop() == 0
    # samples that waited for a round at the end stay here: they entered none
    everything = await asyncio.to_thread(read, app.folder)
    entries = [entry for entry in everything if entry.contribution.is_reported]
    assert {entry.state for entry in entries} == {OutboxState.CONFIRMED}
    assert {entry.remark for entry in entries} == {"socket.io"}  # as HTTP refuses every report
    reports = [entry.contribution.report() for entry in entries]
    assert sorted(map(numbers, backend.rows)) == sorted(map(numbers, reports))
    (node,) = backend.nodes
    assert {report["participant"] for report in reports} == {node}
    assert backend.nodes[node]["publicKey"] == entries[0].contribution.public_key
    assert [each["id"] for each in shown] == [
        entry.contribution.id for entry in entries[-len(shown) :]
    ]
    assert PASSWORD not in app.log() + app.errors


async def test_signing_in_is_all_that_is_wanted(tmp_path: Path) -> None:
    with SmallBackend() as backend:
        backend.add_user(EMAIL, PASSWORD)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "main.py"), "--sign-in", EMAIL),
            *("--backend-url", backend.url, "--data-dir", str(tmp_path / "data")),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        said = await asyncio.wait_for(process.communicate(PASSWORD.encode() + b"\n"), PATIENCE)
    assert process.returncode == 0
    assert f"Signed in to {backend.url} as {EMAIL}." in said[1].decode()
    log = (tmp_path / "data" / "logs" / "contributor.log").read_text()
    assert "hivemind" not in log  # which takes seconds to load
    kept = tmp_path / "data" / "account.json"
    assert kept.stat().st_mode & 0o777 == 0o600
