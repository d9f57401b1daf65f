"""Between the fleet and its archive, from `open` to `close`."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from app.archive.export import write
from app.archive.storage import (
    FILE_NAME,
    MIGRATIONS,
    STEPS,
    ArchivedMachine,
    ArchiveRow,
    load,
    rows_of,
    save,
    thin,
)
from app.common.background import Background
from app.common.database import DatabaseThread
from app.common.subscription import Subscription
from app.state.store import ReadableStore
from app.swarm.fleet import DAY, FINE_SECONDS, HOUR, ROUGH_SECONDS, Machine
from app.swarm.fleet_sync import FleetSync

SAVE_SECONDS = 60.0
"""What a crash may cost of the archive."""

THIN_SECONDS = 3600.0

MACHINES_A_SLICE = 50
"""Machines whose figures are gathered before the loop goes on: some milliseconds."""


class ArchiveKeeper:
    """Writes what the fleet reads, and gives machines that appear again the last day's figures."""

    def __init__(self, store: ReadableStore, *, machines: FleetSync, folder: Path) -> None:
        """store: its setting ``record`` says whether anything is written. folder: of the file."""
        self._store = store
        self._machines = machines
        self._path = folder / FILE_NAME
        self._file = DatabaseThread(self._path, migrations=MIGRATIONS, name="the machines' figures")
        self._background = Background()
        self._readings = Subscription()
        self._opening: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._run_id = ""
        self._written: dict[str, float] = {}  # up to when each machine's figures are in the file
        self._saved_at = self._thinned_at = -SAVE_SECONDS

    async def open(self) -> None:
        """Begin to open the file, whose check may take a second, and to write."""
        self._opening = self._background.start(self._file.open())
        self._readings = self._machines.subscribe(self._news.set)
        self._keeping = self._background.start(self._keep())

    async def close(self) -> None:
        """Write what is new, and close the file. May be called twice, and without `open`."""
        self._readings.close()
        if self._opening is not None:
            await self._opening
        await self._background.close()
        await self.save()
        await self._file.close()

    async def curve(self, public_key: str, *, seconds: float, step: float) -> list[ArchiveRow]:
        """A machine's figures over the last ``seconds``, as means over ``step`` seconds."""
        since = time.time() - seconds
        run_id = self._machines.run_id
        return await self._file.run(load, run_id, public_key, since=since, step=step) or []

    async def export(self, path: Path) -> None:
        """Write all figures of the swarm's machines to a file. Raises as `export.write` does."""
        await self.save()
        await asyncio.to_thread(write, path, file=self._path, run_id=self._machines.run_id)

    async def _keep(self) -> None:
        if self._opening is not None:
            await self._opening
        while True:
            await self._news.wait()
            self._news.clear()
            await self._take_back()
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                await self.save()
            if time.monotonic() - self._thinned_at >= THIN_SECONDS:
                self._thinned_at = time.monotonic()
                await self._file.run(thin, time.time())

    async def _take_back(self) -> None:
        """Put the last day's figures of machines that are new in the fleet before their first."""
        run_id = self._machines.run_id
        if run_id != self._run_id:
            self._run_id, self._written = run_id, {}
        now = time.time()
        for machine in self._machines.fleet.machines(now):
            if machine.public_key in self._written:
                continue
            key = machine.public_key
            fine = await self._file.run(load, run_id, key, since=now - HOUR, step=FINE_SECONDS)
            rough = await self._file.run(load, run_id, key, since=now - DAY, step=ROUGH_SECONDS)
            if run_id != self._machines.run_id:
                return
            self._machines.fleet.restore(key, fine=fine or [], rough=rough or [])
            self._written[key] = max((row[0] for row in fine or []), default=0.0)

    async def save(self) -> None:
        """Write what is new of all machines, up to the last whole step."""
        self._saved_at = time.monotonic()
        if not self._store.settings.record:
            return
        run_id, now = self._machines.run_id, time.time()
        until = now // STEPS[0] * STEPS[0]  # the last step may still change
        # what was written while the clock was ahead: up to then nothing would be new
        self._written = {key: at if at <= now else 0.0 for key, at in self._written.items()}
        machines = [
            each
            for each in self._machines.fleet.machines(now)
            if each.last_seen > self._written.get(each.public_key, 0.0)
        ]
        for start in range(0, len(machines), MACHINES_A_SLICE):
            if run_id != self._run_id or run_id != self._machines.run_id:
                return  # to another swarm meanwhile
            part = self._new_figures(machines[start : start + MACHINES_A_SLICE], now, until)
            await self._file.run(save, run_id, part)
            if run_id == self._run_id:  # and not before: the app may end while they are written
                self._written |= {each.public_key: until for each in part}

    def _new_figures(
        self, machines: Sequence[Machine], now: float, until: float
    ) -> list[ArchivedMachine]:
        found = []
        for machine in machines:
            key, record = machine.public_key, machine.record
            since = max(self._written.get(key, 0.0), now - HOUR)
            times, *values = self._machines.fleet.tracks(key, since=since, until=until)
            rows = rows_of(times, *values)
            found.append(
                ArchivedMachine(
                    public_key=key,
                    alias=record.alias,
                    lab=record.lab,
                    device=record.device,
                    first_seen=machine.first_seen,
                    last_seen=machine.last_seen,
                    vouched=machine.vouched,
                    rows=rows,
                )
            )
        return found
