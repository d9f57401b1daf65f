"""Apps on hosts of their own: through a NAT, over a bad line, without a cable for a while."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from apps import App, StartApp, tiny_spec, training
from networks import Internet

from app import invite, spec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def swarm() -> dict[str, Any]:
    averaging = {
        "compression": "none",
        "matchmaking_seconds": 2.0,
        "timeout_seconds": 6.0,
        "record_seconds": 10.0,
    }
    return tiny_spec(
        run_id="wide",
        local=False,
        training_params=training(target_batch_size=384, averaging=averaging),
    )


async def invitation_of(app: App, file: Path) -> Path:
    """The invite that its owner would save for others."""
    there = await app.wait_for(lambda line: bool(line["addresses"]))
    invite.save(invite.shared(spec.parse(swarm()), there["addresses"]), file)
    return file


async def all_train_together(*apps: App) -> int:
    """Wait until each has trained with all the others, from now on; returns the last epoch."""
    epochs = await asyncio.gather(*(trains_with(len(apps), app) for app in apps))
    return max(epochs)


async def trains_with(peers: int, app: App, *, beyond: int = -1) -> int:
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


async def test_training_goes_on_whatever_the_network_does(
    net: Internet, start_app: StartApp, tmp_path: Path
) -> None:
    """Three hosts, one of them behind a NAT on a slow and lossy line; another one's cable is
    pulled out. Nobody restarts anything."""
    public, roaming, hidden = net.host("public"), net.host("roaming"), net.host_behind_nat("hid")
    net.slow_down(hidden, delay=0.05, loss=0.01)
    first = await start_app(spec=swarm(), host=public)
    file = await invitation_of(first, tmp_path / "wide.cotrain")
    second = await start_app("--swarm", str(file), host=roaming)
    third = await start_app("--swarm", str(file), host=hidden)
    before = await all_train_together(first, second, third)

    net.cut(roaming)
    await second.wait_for(lambda line: line["reconnect_at"] is not None, after=len(second.lines))
    net.restore(roaming)
    await second.wait_for(lambda line: line["reconnect_at"] is None, after=len(second.lines))

    after = await asyncio.gather(
        *(trains_with(3, app, beyond=before) for app in (first, second, third))
    )
    assert min(after) > before
