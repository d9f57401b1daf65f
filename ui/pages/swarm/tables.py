"""The rows and columns of the swarm page's tables: peers and averaging rounds."""

import time
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QWidget

from app.common.i18n import _
from app.p2p.sightings import PeerInfo, Run
from app.state.facts import MemberFault, MemberFaults
from app.state.history import FinishedRound, SeenPeers
from ui.models.rows_model import Column, RowsModel
from ui.texts import fleet as fleet_texts
from ui.texts import states, units


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRow:
    """A row of the peers' table."""

    info: PeerInfo

    alias: str
    """From the machine's record; "" if it isn't known."""

    trainer: bool
    """Whether the peer trains in the current run."""

    here: bool
    """Whether we are connected to the peer now."""

    faults: tuple[MemberFault, ...] = ()
    """What it did in our averaging rounds."""


def peer_rows(
    peers: SeenPeers, run: Run | None, aliases: dict[str, str], faults: MemberFaults
) -> list[PeerRow]:
    """The rows for the connected peers, and for those that left lately.

    aliases: by peer id.
    """
    trainers = run.trainer_ids if run else frozenset()
    at_fault = {each.peer_id for each in faults.last}
    return [
        PeerRow(
            info=info,
            alias=aliases.get(info.peer_id, ""),
            trainer=info.peer_id in trainers,
            here=here,
            faults=faults.of(info.peer_id) if info.peer_id in at_fault else (),
        )
        for known, here in ((peers.here, True), (peers.gone, False))
        for info in known.values()
    ]


def role_of(row: PeerRow) -> str:
    """``trainer`` or ``observer``."""
    return "trainer" if row.trainer else "observer"


def role_labels() -> dict[str, str]:
    """The roles, with their labels."""
    return {"trainer": _("trainer"), "observer": _("observer")}


def peers_model(parent: QWidget) -> RowsModel[PeerRow]:
    """The model of the peers' table, without rows."""
    return RowsModel(_peer_columns(), identity=lambda row: row.info.peer_id, parent=parent)


def _peer_columns() -> tuple[Column[PeerRow], ...]:
    words = role_labels()
    return (
        Column(
            title=_("Peer"),
            text=lambda row: units.shortened(row.info.peer_id),
            key=lambda row: (not row.here, row.info.peer_id),
            sample="12D3Ko…x7YzQp",
            tip=lambda row: row.info.peer_id,
            tone=_tone,
        ),
        Column(
            title=_("Alias"),
            text=lambda row: row.alias or units.NONE,
            key=lambda row: row.alias.casefold() or None,
            sample="machine-0000",
            tone=_tone,
        ),
        Column(
            title=_("Role"),
            text=lambda row: words[role_of(row)],
            key=role_of,
            sample="observer",
            tone=_tone,
        ),
        _averaging_column(),
        Column(
            title=_("Address"),
            text=lambda row: row.info.address or units.NONE,
            key=lambda row: row.info.address or None,
            sample="/ip4/10.0.0.7",
            tone=_tone,
        ),
        Column(
            title=_("Connection"),
            text=lambda row: fleet_texts.connection(row.info),
            key=lambda row: fleet_texts.connection(row.info),
            sample="relayed",
            tone=_tone,
        ),
        Column(
            title=_("Latency"),
            text=lambda row: fleet_texts.latency(row.info.latency),
            key=lambda row: row.info.latency,
            sample="123 ms",
            right=True,
            tone=_tone,
        ),
        Column(
            title=_("Last seen"),
            text=lambda row: fleet_texts.last_seen(row.info.last_seen, time.time()),
            key=lambda row: -row.info.last_seen,
            sample="59 min ago",
            right=True,
            tone=_tone,
        ),
    )


def _averaging_column() -> Column[PeerRow]:
    return Column(
        title=_("In averaging"),
        text=lambda row: fleet_texts.standing(row.faults, time.time()) or units.NONE,
        key=lambda row: fleet_texts.standing(row.faults, time.time()) or None,
        sample=_("left out"),
        tip=lambda row: "\n".join(fleet_texts.fault(each, time.time()) for each in row.faults),
        tone=lambda row: "caution" if row.faults else "faint",
    )


def _tone(row: PeerRow) -> str:
    return "" if row.here else "faint"


def _time_column() -> Column[Any]:
    """When an entry was made, the newest first."""
    return Column(
        title=_("Time"),
        text=lambda entry: units.clock(entry.time),
        key=lambda entry: -entry.time,
        sample="00:00:00",
    )


def rounds_model(parent: QWidget) -> RowsModel[FinishedRound]:
    """The model of the averaging rounds\' table, without rows."""
    columns: tuple[Column[FinishedRound], ...] = (
        _time_column(),
        Column(
            title=_("Epoch"),
            text=lambda entry: units.count(entry.epoch),
            key=lambda entry: entry.epoch,
            sample="1,234",
            right=True,
        ),
        Column(
            title=_("Peers"),
            text=lambda entry: units.count(entry.peers),
            key=lambda entry: entry.peers,
            sample="123",
            right=True,
        ),
        Column(
            title=_("Took"),
            text=lambda entry: units.seconds(entry.seconds),
            key=lambda entry: entry.seconds,
            sample="12.3 s",
            right=True,
        ),
        Column(
            title=_("Sent"),
            text=lambda entry: units.size(entry.bytes_sent),
            key=lambda entry: entry.bytes_sent,
            sample="1023 MiB",
            right=True,
        ),
        Column(
            title=_("Own samples"),
            text=lambda entry: units.count(entry.samples),
            key=lambda entry: entry.samples,
            sample="12,345",
            right=True,
        ),
        Column(
            title=_("Result"),
            text=_result,
            key=_result,
            sample=_("failed"),
            tone=lambda entry: "caution" if entry.failure or entry.arrived < 1.0 else "",
        ),
    )
    return RowsModel(columns, identity=lambda entry: (entry.time, entry.epoch), parent=parent)


def _result(entry: FinishedRound) -> str:
    if entry.failure:
        return _("failed: {reason}").format(reason=entry.failure)
    if entry.arrived < 1.0:
        return states.parts_arrived(entry.arrived)
    return _("alone") if entry.peers <= 1 else _("all succeeded")


def faults_model(parent: QWidget) -> RowsModel[MemberFault]:
    """The model of the table of what other members did in averaging rounds, without rows."""
    columns: tuple[Column[MemberFault], ...] = (
        _time_column(),
        Column(
            title=_("What happened"),
            text=lambda entry: fleet_texts.fault(entry, time.time()),
            key=lambda entry: (entry.fault.text, entry.peer_id),
            sample="12D3Ko…x7YzQp",
            tone=lambda entry: "caution" if entry.is_evicted(time.time()) else "",
        ),
        Column(
            title=_("Peer"),
            text=lambda entry: entry.peer_id,
            key=lambda entry: entry.peer_id,
            sample="12D3Ko…x7YzQp",
        ),
    )
    return RowsModel(columns, identity=lambda entry: (entry.peer_id, entry.fault), parent=parent)
