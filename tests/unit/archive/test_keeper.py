"""What the fleet has read outlives the app."""

import asyncio
import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.archive import keeper
from app.archive.keeper import ArchiveKeeper
from app.settings.settings import Settings
from app.state.history import History
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.fleet import HOUR
from app.swarm.fleet_sync import FleetSync
from tests.support.backend.reporting import until
from tests.support.machine.machines import record


class Watcher:
    """An app that watches machines, from its start to its end, without a network."""

    def __init__(self, folder: Path, **settings: bool) -> None:
        store = Store(settings=Settings(**settings), state=ContributorState())
        self.machines = FleetSync(
            store,
            membership=SimpleNamespace(node=None),  # type: ignore[arg-type]  no network
            history=History(),
            key_file=folder / "key",
        )
        self.machines.run_id = "run"
        self.archive = ArchiveKeeper(store, machines=self.machines, folder=folder)

    def read(self, ago: float, *, loss: float) -> None:
        """As if the machine had told its loss some seconds ago."""
        now = time.time() - ago
        told = record(time=now, sequence=int(now * 1000), loss=loss)
        self.machines.fleet.take({"key": told}, now)
        for listener in tuple(self.machines._listeners):
            listener()

    def losses(self) -> list[float]:
        """Those of the last hour that are known, oldest first."""
        told = self.machines.fleet.track("key", "loss", seconds=HOUR, now=time.time())
        return [round(value, 3) for value in told[1] if not math.isnan(value)]


async def test_figures_outlive_the_app(tmp_path: Path) -> None:
    first = Watcher(tmp_path)
    await first.archive.open()
    first.read(200, loss=3.0)
    first.read(100, loss=2.5)
    await until(lambda: "key" in first.archive._written)
    await first.archive.close()
    await first.archive.close()

    second = Watcher(tmp_path)
    await second.archive.open()
    second.read(0, loss=2.0)
    await until(lambda: len(second.losses()) == 3)
    assert second.losses() == [3.0, 2.5, 2.0]
    rows = await second.archive.curve("key", seconds=HOUR, step=10)
    assert [round(row[2], 3) for row in rows] == [3.0, 2.5]
    await second.archive.close()


async def test_it_is_written_while_the_app_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SAVE_SECONDS", 0.0)
    app = Watcher(tmp_path)
    await app.archive.open()
    app.read(60, loss=2.5)
    app.read(30, loss=2.4)

    await until(lambda: app.archive._saved_at > 0.0)
    rows = await app.archive.curve("key", seconds=HOUR, step=10)
    assert len(rows) == 2
    await app.archive.close()


async def test_an_app_that_ends_while_it_writes_loses_nothing(tmp_path: Path) -> None:
    app = Watcher(tmp_path)
    await app.archive.open()
    app.archive._saved_at = time.monotonic()  # not by itself
    app.read(60, loss=2.5)
    await until(lambda: "key" in app.archive._written)
    may_write = threading.Event()
    before = asyncio.create_task(app.archive._file.run(lambda _: may_write.wait()))
    await asyncio.sleep(0)
    saving = asyncio.create_task(app.archive.save())
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    may_write.set()
    await before
    await app.archive.close()

    second = Watcher(tmp_path)
    await second.archive.open()
    await until(lambda: second.archive._file._connection is not None)
    assert len(await second.archive.curve("key", seconds=HOUR, step=10)) == 1
    await second.archive.close()


async def test_what_was_written_while_the_clock_was_ahead_keeps_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1800)
    first = Watcher(tmp_path)
    await first.archive.open()
    first.read(100, loss=3.0)
    await until(lambda: "key" in first.archive._written)
    await first.archive.close()

    monkeypatch.setattr(time, "time", real)
    second = Watcher(tmp_path)
    await second.archive.open()
    second.read(30, loss=2.0)
    await until(lambda: "key" in second.archive._written)
    await second.archive.save()
    rows = await second.archive.curve("key", seconds=HOUR, step=10)
    assert [round(row[2], 3) for row in rows] == [2.0, 3.0]
    await second.archive.close()


async def test_a_file_that_can_t_be_used_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "machines.sqlite").mkdir()
    app = Watcher(tmp_path)
    await app.archive.open()
    app.read(60, loss=2.5)
    await until(lambda: "key" in app.archive._written)
    assert await app.archive.curve("key", seconds=HOUR, step=10) == []
    await app.archive.close()
    assert "figures can't be kept" in caplog.text


async def test_nothing_is_kept_where_the_user_wants_none(tmp_path: Path) -> None:
    app = Watcher(tmp_path, record=False)
    await app.archive.open()
    app.read(60, loss=2.5)
    await until(lambda: "key" in app.archive._written)
    await app.archive.save()
    assert await app.archive.curve("key", seconds=HOUR, step=10) == []
    await app.archive.close()
