"""Swarms of apps on hosts of their own: a spec, its invite, and waiting for training together."""

import asyncio
from pathlib import Path
from typing import Any

from app.spec import invite
from app.spec import schema as spec
from tests.support.processes.apps import App, tiny_spec, training


def wide_spec() -> dict[str, Any]:
    """The tiny spec, for several machines."""
    averaging = {
        "compression": "none",
        "matchmaking_seconds": 2.0,
        "timeout_seconds": 6.0,
        "record_seconds": 10.0,
    }
    return tiny_spec(
        run_id="wide",
        local=False,
        training_params=training(target_batch_size=1024, averaging=averaging),
    )


async def invitation_of(app: App, file: Path) -> Path:
    """The invite that an app's owner would save for others."""
    there = await app.wait_for(lambda line: bool(line["addresses"]))
    invite.save(invite.shared(spec.parse(wide_spec()), there["addresses"]), file)
    return file


async def all_train_together(*apps: App, beyond: int = -1) -> list[int]:
    """Wait until each trains with all the others, from now on, in an epoch beyond; returns which
    epoch each is in."""
    return await asyncio.gather(*(_trains_with(len(apps), app, beyond) for app in apps))


async def _trains_with(peers: int, app: App, beyond: int) -> int:
    line = await app.wait_for(
        lambda line: (
            line["phase"] in ("training", "averaging")
            and line["peers"] == peers
            and line["loss"] is not None
            and (line["epoch"] or 0) > beyond
        ),
        after=len(app.lines),
    )
    return int(line["epoch"])


async def loses_the_swarm(app: App) -> None:
    """Wait until it says so."""
    await app.wait_for(lambda line: line["reconnect_at"] is not None, after=len(app.lines))


async def comes_back(app: App) -> None:
    """Wait until it says so."""
    await app.wait_for(lambda line: line["reconnect_at"] is None, after=len(app.lines))
