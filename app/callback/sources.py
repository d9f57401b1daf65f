"""Takes from the session what the local API shows beyond the calls that the backend makes."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.callback.host import Sources
from app.contributions.ledger import Ledger, LedgerEntry, LedgerThread
from app.contributions.outbox import OutboxState
from app.machine.hardware import Reading
from app.swarm.fleet import Machine
from app.swarm.fleet_sync import FleetSync

FORGOTTEN = "the backend had confirmed it, and no longer knows it"
"""The remark on a contribution that the backend has forgotten."""


def sources_of(ledger: LedgerThread, machines: FleetSync) -> Sources:
    """All sources: what this machine gave, the swarm's machines, and this machine's figures."""
    return Sources(
        contributions=LedgerSource(ledger),
        machines=FleetSource(machines),
        figures=OwnFigures(ledger, machines),
    )


class LedgerSource:
    """This machine's contributions."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger

    async def contributions(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest contributions, newest first, as signed and with the state of reporting."""
        return [entry_as_json(entry) for entry in await self._ledger.run(Ledger.all, limit=limit)]


def entry_as_json(entry: LedgerEntry) -> dict[str, Any]:
    """A contribution as JSON, with its signature and the state of reporting."""
    contribution = entry.contribution
    return contribution.document() | {
        "signature": contribution.signature,
        "score": contribution.score,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "remark": entry.remark if entry.forgotten_at is None else FORGOTTEN,
    }


class FleetSource:
    """The swarm's machines, by their records in the DHT."""

    def __init__(self, machines: FleetSync) -> None:
        self._machines = machines

    async def machines(self) -> bytes:
        """The machines of the swarm that we are in, as a JSON array, made in a thread."""
        return await asyncio.to_thread(_packed, await self._machines.read())


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
