"""Bad networks: a cable out for a minute, and a slow and lossy line; what they cost training."""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, row

sys.path[:0] = [str(ROOT)]

from tests.support.network.networks import Host, Internet, internet, why_not  # noqa: E402
from tests.support.network.wide import all_train_together, comes_back, invitation_of, wide_spec  # noqa: E402
from tests.support.processes import apps  # noqa: E402
from tests.support.processes.apps import App  # noqa: E402

CUT_SECONDS = 60
PERIOD_SECONDS = 60
DELAY, LOSS = 0.1, 0.01


def network() -> None:
    """Three apps that train: one is cut off and comes back, then its line becomes a bad one."""
    if reason := why_not():
        row("bad networks", "not measured", reason)
        return
    apps.PATIENCE = 300.0
    with tempfile.TemporaryDirectory() as name, internet() as net:
        asyncio.run(_measure(Path(name), net))


async def _measure(folder: Path, net: Internet) -> None:
    hosts = (net.host("one"), net.host("two"), net.host_behind_nat("nat"))
    running: list[App] = []
    try:
        await _start(folder, hosts, running)
        await all_train_together(*running)
        good = await _epochs(running)
        await _cut(net, hosts[1], running)
        net.slow_down(hosts[1], delay=DELAY / 2, loss=LOSS)
        await all_train_together(*running)
        bad = await _epochs(running)
    finally:
        await asyncio.gather(*(app.stop() for app in running))
    what = f"epochs in {PERIOD_SECONDS} s, {1000 * DELAY:.0f} ms and {LOSS:.0%} loss / good line"
    row(what, f"{bad} / {good}", "three machines, one behind a NAT")


async def _start(folder: Path, hosts: tuple[Host, ...], running: list[App]) -> None:
    file = folder / "wide.cotrain"
    file.write_text(json.dumps(wide_spec()))
    for number, host in enumerate(hosts):
        app = await apps.start_app(folder / f"app{number}", "--swarm", str(file), host=host)
        running.append(app)
        if number == 0:
            await invitation_of(app, file)


async def _epochs(running: list[App]) -> int:
    """How many epochs the swarm gets on while one watches."""
    begin = max(await all_train_together(*running))
    await asyncio.sleep(PERIOD_SECONDS)
    return max(await all_train_together(*running)) - begin


async def _cut(net: Internet, host: Host, running: list[App]) -> None:
    net.cut(host)
    await asyncio.sleep(CUT_SECONDS)
    before = max(int(app.last["epoch"]) for app in running)
    net.restore(host)
    began = time.monotonic()
    await comes_back(running[1])
    row(f"back in the swarm, after {CUT_SECONDS} s without it", _seconds(began), "by itself")
    await all_train_together(*running, beyond=before)
    row("all three average together again", _seconds(began), "nobody restarts anything")


def _seconds(since: float) -> str:
    return f"{time.monotonic() - since:.1f} s"
