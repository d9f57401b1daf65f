"""Takes from the session what the local API shows beyond the calls that the backend makes."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.callback.host import Sources
from app.common.logs import RingBuffer
from app.contributions.fates import SwarmFate, explained, fates_of, is_reported
from app.contributions.ledger import Ledger, LedgerEntry, LedgerThread, LedgerTotals
from app.contributions.outbox import OutboxState
from app.contributions.recall import forgotten_count
from app.machine.hardware import Reading
from app.state.facts import ReportingState
from app.state.store import ReadableStore
from app.swarm.fleet import Machine
from app.swarm.fleet_sync import FleetSync

FORGOTTEN = "the backend had confirmed it, and no longer knows it"
"""The remark on a contribution that the backend has forgotten."""


def sources_of(
    store: ReadableStore,
    *,
    ledger: LedgerThread,
    machines: FleetSync,
    log: RingBuffer | None = None,
) -> Sources:
    """All sources: what this machine gave, the swarm's machines, this machine's figures and its
    log."""
    return Sources(
        contributions=LedgerSource(store, ledger),
        machines=FleetSource(machines),
        figures=OwnFigures(ledger, machines),
        log=log,
    )


class LedgerSource:
    """This machine's contributions."""

    def __init__(self, store: ReadableStore, ledger: LedgerThread) -> None:
        self._store = store
        self._ledger = ledger

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first, as signed and with the state of reporting."""
        return [entry_as_json(entry) for entry in await self.newest(limit=limit)]

    async def newest(self, *, limit: int) -> Sequence[LedgerEntry]:
        """The same, as they are in the ledger."""
        return await self._ledger.run(Ledger.all, limit=limit)

    async def totals(self) -> LedgerTotals:
        """Sums over all of them."""
        return await self._ledger.run(Ledger.totals)

    async def reporting(self) -> Mapping[str, Any]:
        """How reporting them goes, and where those to each swarm go."""
        fates = await self._ledger.outbox.run(fates_of)
        forgotten = await self._ledger.outbox.run(forgotten_count)
        state = self._store.state.reporting
        return {
            "status": state.status.value,
            "backend_url": state.backend_url,
            "reason": state.reason,
            "remedy": state.remedy,
            "next_try": state.next_try and datetime.fromtimestamp(state.next_try, UTC),
            "forgotten": forgotten,
            "swarms": {run_id: _fate_as_json(fate, state) for run_id, fate in fates.items()},
        }


def _fate_as_json(fate: SwarmFate, state: ReportingState) -> dict[str, Any]:
    reported = is_reported(fate, state)
    return {
        "session_id": fate.session_id,
        "training_id": fate.training_id,
        "reported_to": fate.backend if reported else None,
        "why_not": None if reported else explained(fate, state),
    }


def entry_as_json(entry: LedgerEntry) -> dict[str, Any]:
    """A contribution as JSON, with its signature and the state of reporting."""
    contribution = entry.contribution
    return contribution.document() | {
        "signature": contribution.signature,
        "score": contribution.score,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "remark": entry.remark if entry.forgotten_at is None else FORGOTTEN,
        "backend": entry.backend,
        "forgotten": entry.forgotten_at is not None,
    }


class FleetSource:
    """The swarm's machines, by their records in the DHT."""

    def __init__(self, machines: FleetSync) -> None:
        self._machines = machines

    async def machines(self) -> bytes:
        """The machines of the swarm that we are in, as a JSON array, made in a thread."""
        return await asyncio.to_thread(_packed, await self._machines.read())

    def known(self) -> Sequence[Machine]:
        """The same machines, as they were read last: nobody is asked."""
        return self._machines.fleet.machines(time.time())

    @property
    def own_key(self) -> str:
        """The public key of this machine; "" before it is loaded."""
        return self._machines.public_key

    @property
    def own_alias(self) -> str:
        """The name of this machine; "" before it has one."""
        return self._machines.alias


def _packed(machines: Iterable[Machine]) -> bytes:
    # one by one: the encoder doesn't give up Python's lock while it works
    return b"[%s]" % b",".join(msgspec.json.encode(machine_as_json(each)) for each in machines)


def machine_as_json(machine: Machine) -> dict[str, Any]:
    """A machine as JSON, with all fields of its record; units as in `MachineRecord`."""
    told = msgspec.structs.asdict(machine.record)
    for name in ("version", "sequence", "time"):  # these describe the record, not the machine
        del told[name]
    return told | {
        "public_key": machine.public_key,
        "first_seen": datetime.fromtimestamp(machine.first_seen, UTC),
        "last_seen": datetime.fromtimestamp(machine.last_seen, UTC),
        "warnings": list(machine.concerns),
    }


class OwnFigures:
    """The figures of this machine's hardware and of its outbox."""

    def __init__(self, ledger: LedgerThread, machines: FleetSync) -> None:
        self._ledger = ledger
        self._machines = machines

    async def reading(self) -> Reading:
        """The current figures of this machine's hardware."""
        return await self._machines.reading()

    async def outbox(self) -> Mapping[OutboxState, int]:
        """How many of this machine's contributions are in each state."""
        totals = await self._ledger.run(Ledger.totals)
        return totals.counts

    async def forgotten(self) -> int:
        """How many of them the backend had confirmed and no longer knows."""
        return await self._ledger.outbox.run(forgotten_count)
