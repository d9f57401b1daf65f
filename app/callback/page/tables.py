"""Rows of the page's tables, some at a time: a browser never gets more than it shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.common.logs import LogLine
from app.common.paths import without_home
from app.common.plain import one_line, several_lines
from app.contributions.ledger import LedgerEntry, LedgerTotals
from app.p2p.sightings import PeerInfo
from app.state.history import SeenPeers
from app.swarm.fleet import Machine, totals

MOST_ROWS = 100
"""Of one answer."""

MOST_LOG_LINES = 300
MOST_OF_A_LINE = 2000
"""Characters."""

TableRow = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Which rows of a table are wanted."""

    descending: bool
    text: str
    """What a row must contain, in upper or lower case."""

    offset: int
    limit: int

    def of(self, rows: Iterable[TableRow], *, sort: str, searched: Sequence[str]) -> dict[str, Any]:
        """The rows, how many match, and how many there are.

        sort: the column to sort by; rows without a value come last. searched: columns with texts.
        """
        given, wanted = list(rows), self.text.casefold()
        found = [row for row in given if any(wanted in row[name].casefold() for name in searched)]
        known = [row for row in found if row[sort] is not None]
        known.sort(key=lambda row: _sortable(row[sort]), reverse=self.descending)
        unknown = [row for row in found if row[sort] is None]
        shown = [*known, *unknown][self.offset : self.offset + self.limit]
        return {"total": len(given), "matching": len(found), "rows": shown}


def _sortable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


# --- machines

MACHINE_TEXTS = ("alias", "lab", "device", "state")


def machine_row(machine: Machine, *, own_key: str) -> TableRow:
    """A machine as the page shows it."""
    record = machine.record
    return {
        "alias": one_line(record.alias),
        "lab": one_line(record.lab),
        "device": one_line(record.device),
        "state": one_line(record.state),
        "samples_per_second": record.samples_per_second,
        "loss": record.loss,
        "epoch": record.epoch,
        "gpu_use": record.gpu_use,
        "temperature": record.temperature,
        "last_seen": machine.last_seen,
        "concerns": [each.value for each in machine.concerns],
        "last_error": one_line(record.last_error),
        "here": bool(own_key) and machine.public_key == own_key,
    }


def machine_table(
    machines: Sequence[Machine], excerpt: Excerpt, *, sort: str, own_key: str
) -> dict[str, Any]:
    """The machines of the swarm, and sums over those that are there."""
    sums = totals(machines)
    rows = [machine_row(each, own_key=own_key) for each in machines]
    return excerpt.of(rows, sort=sort, searched=MACHINE_TEXTS) | {
        "sums": {
            "machines": sums.machines,
            "training": sums.training,
            "samples_per_second": sums.samples_per_second,
            "need_a_look": sums.need_a_look,
        }
    }


# --- peers

PEER_TEXTS = ("peer_id", "address")


def peer_table(peers: SeenPeers, excerpt: Excerpt, *, sort: str) -> dict[str, Any]:
    """The connected peers, and those that were connected in the last half-hour."""
    here = [_peer_row(each, connected=True) for each in peers.here.values()]
    gone = [_peer_row(each, connected=False) for each in peers.gone.values()]
    return excerpt.of([*here, *gone], sort=sort, searched=PEER_TEXTS)


def _peer_row(peer: PeerInfo, *, connected: bool) -> TableRow:
    return {
        "peer_id": one_line(peer.peer_id),
        "address": one_line(peer.address),
        "last_seen": peer.last_seen,
        "latency": peer.latency,
        "relayed": peer.relayed,
        "connected": connected,
    }


# --- contributions and log


def contribution_row(entry: LedgerEntry) -> TableRow:
    """A contribution as the page shows it."""
    done = entry.contribution
    return {
        "ended_at": done.ended_at,
        "run_id": one_line(done.run_id),
        "compute_time": done.compute_time,
        "samples": done.samples,
        "score": done.score,
        "state": entry.state.value,
        "remark": one_line(entry.remark),
    }


def sums_of(sums: LedgerTotals) -> TableRow:
    """Sums over all contributions."""
    return {
        "contributions": sums.contributions,
        "compute_time": sums.compute_time,
        "samples": sums.samples,
        "tokens": sums.tokens,
        "score": sums.score,
        "states": {state.value: count for state, count in sums.counts.items()},
    }


def log_rows(lines: Sequence[LogLine], *, level: int, text: str) -> list[TableRow]:
    """The newest lines of our own parts, newest first; libraries' lines stay in the log file."""
    wanted = text.casefold()
    found = (
        line
        for line in reversed(lines)
        if not line.library and line.level >= level and wanted in line.text.casefold()
    )
    return [
        {
            "time": line.time,
            "level": line.level,
            "source": line.source,
            "text": without_home(several_lines(line.text, most=MOST_OF_A_LINE)),
        }
        for line, _ in zip(found, range(MOST_LOG_LINES), strict=False)
    ]
