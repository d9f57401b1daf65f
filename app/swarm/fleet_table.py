"""The machines as a table for a spreadsheet."""

import csv
import io
from collections.abc import Sequence

from app.common import plain
from app.swarm.fleet import Machine

_COLUMNS = (
    *("machine", "lab", "state", "warnings", "device"),
    *("samples_per_second", "tokens_per_second", "loss", "epoch", "gpu_use"),
    *("gpu_memory_used", "gpu_memory", "cpu_use", "memory_used", "memory"),
    *("temperature", "power", "up_seconds", "samples", "rounds", "computing", "bytes_sent"),
    *("crashes", "failed_rounds", "refused", "disk_free"),
    *("last_error", "app_version", "last_seen", "public_key"),
)


def as_csv(machines: Sequence[Machine]) -> str:
    """A table for a spreadsheet: one machine a line, units as in `MachineRecord`, last_seen in
    seconds since the epoch."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(machine, name) for name in _COLUMNS] for machine in machines)
    return stream.getvalue()


def _cell(machine: Machine, name: str) -> object:
    match name:
        case "machine":
            return plain.cell(machine.record.alias)
        case "warnings":
            return " ".join(machine.concerns)
        case "public_key" | "last_seen":
            return plain.cell(getattr(machine, name))
        case _:
            return plain.cell(getattr(machine.record, name))
