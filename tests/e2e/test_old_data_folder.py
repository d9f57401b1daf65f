"""The app goes on with a data folder that version 0.1.0 wrote."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.common.signing import MachineKey
from app.contributions.export import check, to_json
from app.contributions.ledger import Ledger, LedgerEntry
from tests.support.processes.apps import StartApp
from tests.support.processes.old_folder import (
    APP_PEER,
    EPOCHS,
    FOLDER,
    PUBLIC_KEY,
    names_in,
    old_folder,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def kept_spec() -> dict[str, Any]:
    """Of the run that the folder has checkpoints of, as they were made."""
    recent = json.loads((FOLDER / "recent-swarms.json").read_bytes())
    return next(each["spec"] for each in recent if each["spec"]["run_id"] == "kept")


def read(folder: Path) -> list[LedgerEntry]:
    """What is in its ledger, the oldest first."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    try:
        return ledger.all(limit=-1)[::-1]
    finally:
        ledger.close()


async def test_training_goes_on_in_an_old_folder(start_app: StartApp, tmp_path: Path) -> None:
    folder = old_folder(tmp_path / "old")
    before = await asyncio.to_thread(read, folder)
    app = await start_app(spec=kept_spec(), name="old")
    await app.trains(epoch=EPOCHS["kept"] + 1)
    assert await app.stop() == 0
    first = next(line for line in app.lines if line["phase"] == "training" and line["epoch"])
    assert first["epoch"] >= EPOCHS["kept"]  # not from nothing
    assert f"in the swarm kept as {APP_PEER}" in app.log()
    assert {line["reporting"] for line in app.lines} != {"off"}  # somebody is signed in
    assert "can't be read" not in app.log() + app.errors
    after = await asyncio.to_thread(read, folder)
    assert [entry.contribution for entry in after[: len(before)]] == [
        entry.contribution for entry in before
    ]
    assert len(after) > len(before)
    key = MachineKey.load_or_create(folder / "identities" / "machine.pem")
    assert check(to_json(after, key=key))["publicKey"] == PUBLIC_KEY  # and signed with it, all
    nothing_was_set_aside(folder)


def nothing_was_set_aside(folder: Path) -> None:
    """All that was there still is, but for the checkpoints that newer ones have replaced."""
    assert not [name for name in names_in(folder) if "damaged" in name]
    assert {without_epoch(name) for name in names_in(folder)} >= {
        without_epoch(name) for name in names_in(FOLDER)
    }
    for name in ("settings.json", "account.json", "callback-tokens.json"):
        assert (folder / name).read_bytes() == (FOLDER / name).read_bytes()
    for role in ("app", "trainer", "machine"):
        name = f"identities/{role}.pem"
        assert (folder / name).read_bytes() == (FOLDER / name).read_bytes()


def without_epoch(name: str) -> str:
    return name.rpartition("epoch-")[0] or name
