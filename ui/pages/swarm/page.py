"""The swarm: its epoch and curves, who is there, and how each averaging round went."""

import time
from dataclasses import dataclass

from PySide6.QtCore import QTimer
from PySide6.QtGui import QFont, QFontMetrics, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from app.common.i18n import _, ngettext
from app.common.subscription import Subscription
from app.p2p.sightings import PeerInfo, Run
from app.state.history import FinishedRound, SeenPeers
from app.state.state import ContributorState
from ui.models.actions import Actions
from ui.models.rows_model import Column, RowsModel
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.texts import fleet as fleet_texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.charts.charts import Charts
from ui.widgets.empty import Empty
from ui.widgets.epoch import EpochCard
from ui.widgets.labels import ElidedLabel, label
from ui.widgets.table import table

REFRESH_MS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRow:
    """A peer of the table. here: we are connected to it now."""

    info: PeerInfo
    alias: str
    trainer: bool
    here: bool


class SwarmPage(QWidget):
    """Watches the machines' records as well: they tell the peers' aliases."""

    def __init__(self, model: SessionModel, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("page")
        self._model = model
        self._history = model.session.history
        self.title, self.reach = ElidedLabel(role="page"), label(role="muted")
        self.check = button(_("Check connection…"), "quiet")
        self.check.clicked.connect(actions.check_wanted)
        self.epoch = EpochCard(theme)
        self.charts = Charts(model.session.history, theme)
        self.text, self.role = _text_filter(), _role_filter()
        self.peers = _peers_model(self)
        self.rounds = _rounds_model(self)
        self.peers_table = table(self.peers, theme, name=_("Peers"), stretched=3)
        self.rounds_table = table(self.rounds, theme, name=_("Averaging rounds"), stretched=5)
        self.no_peers, self.no_rounds = Empty("swarm", theme), Empty("swarm", theme)
        self.show_peers, self.show_rounds = button(kind="choice"), button(kind="choice")
        self.group, self.tables = QButtonGroup(self), QStackedWidget()
        self.empty = Empty("swarm", theme)
        self.content = QWidget()
        self._watching = Subscription()
        self._timer = QTimer(self, interval=REFRESH_MS)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(16)
        head.addWidget(self.title, 1)
        head.addWidget(self.reach)
        head.addWidget(self.check)
        inner = QVBoxLayout(self.content)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(12)
        inner.addWidget(self.epoch)
        inner.addWidget(self.charts, 4)
        inner.addLayout(self._tables_head())
        inner.addWidget(self.tables, 5)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 24)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self.empty, 1)
        column.addWidget(self.content, 1)
        self.no_peers.say(
            _("Nobody else is here yet"),
            _("Peers are listed as soon as they enter. Invite them from the Swarm menu."),
        )
        self.empty.say(
            _("No swarm yet"),
            _("Join a swarm on the overview page: its peers and its progress are shown here."),
        )

    def _tables_head(self) -> QHBoxLayout:
        self.tables.addWidget(_either(self.peers_table, self.no_peers))
        self.tables.addWidget(_either(self.rounds_table, self.no_rounds))
        head = QHBoxLayout()
        head.setSpacing(2)
        for place, one in enumerate((self.show_peers, self.show_rounds)):
            one.setCheckable(True)
            self.group.addButton(one, place)
            head.addWidget(one)
        self.show_peers.setChecked(True)
        head.addStretch()
        head.addWidget(self.text)
        head.addSpacing(6)
        head.addWidget(self.role)
        return head

    def _connect(self) -> None:
        self._model.changed.connect(self._on_state)
        self.text.textChanged.connect(self._filter)
        self.role.currentIndexChanged.connect(self._filter)
        self.group.idClicked.connect(self._show_table)
        self._timer.timeout.connect(self.refresh)

    def _show_table(self, place: int) -> None:
        self.tables.setCurrentIndex(place)
        for control in (self.text, self.role):
            control.setVisible(place == 0)

    # --- only while someone looks

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watching = self._model.session.machines.watch()
        self.show_state(self._model.state)
        self.refresh()
        self._timer.start()

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()
        self._watching.close()

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():
            self.show_state(state)

    def show_state(self, state: ContributorState) -> None:
        """Show the run as it is."""
        swarm = state.swarm
        self.empty.setVisible(swarm is None)
        self.content.setVisible(swarm is not None)
        self.title.set_full(swarm.title if swarm else _("Swarm"))
        self.reach.setText(_reach(state) if swarm else "")
        self.epoch.show_state(state)

    def refresh(self) -> None:
        """Show who is there, and the rounds so far."""
        state = self._model.state
        aliases = self._model.session.machines.fleet.aliases()
        rows = peer_rows(self._history.peers, state.run, aliases)
        self.peers.show_rows(rows)
        rounds = list(self._history.rounds.last)
        self.rounds.show_rows(rounds)
        _set_word(self.show_peers, _peers(len(self._history.peers.here)))
        _set_word(self.show_rounds, _rounds(len(rounds)))
        for rows_there, shown, otherwise in (
            (bool(rows), self.peers_table, self.no_peers),
            (bool(rounds), self.rounds_table, self.no_rounds),
        ):
            shown.setVisible(rows_there)
            otherwise.setVisible(not rows_there)
        self.no_rounds.say(_("No averaging round yet"), _no_rounds(state))

    def _filter(self) -> None:
        wanted, role = self.text.text().strip().casefold(), self.role.currentData()

        def takes(row: PeerRow) -> bool:
            named = (row.info.peer_id, row.alias, row.info.address)
            fits = not wanted or any(wanted in one.casefold() for one in named)
            return fits and role in ("", _role(row))

        self.peers.filter_rows(takes)


def peer_rows(peers: SeenPeers, run: Run | None, aliases: dict[str, str]) -> list[PeerRow]:
    """The peers that are here, and those that were until lately."""
    trainers = run.trainer_ids if run else frozenset()
    return [
        PeerRow(
            info=info,
            alias=aliases.get(info.peer_id, ""),
            trainer=info.peer_id in trainers,
            here=here,
        )
        for known, here in ((peers.here, True), (peers.gone, False))
        for info in known.values()
    ]


def _either(shown: QWidget, otherwise: QWidget) -> QWidget:
    """Place for a table, and for what is said while it is empty."""
    made = QWidget()
    column = QVBoxLayout(made)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(shown)
    column.addWidget(otherwise)
    return made


def _set_word(one: QPushButton, text: str) -> None:
    """Qt leaves no room for the heavier letters of a checked button."""
    one.setText(text)
    font = QFont(one.font())
    font.setBold(True)
    one.setMinimumWidth(QFontMetrics(font).horizontalAdvance(text) + 28)


def _peers(count: int) -> str:
    text = ngettext("{count} peer connected", "{count} peers connected", count)
    return text.format(count=units.count(count))


def _rounds(count: int) -> str:
    text = ngettext("{count} averaging round", "{count} averaging rounds", count)
    return text.format(count=units.count(count))


def _reach(state: ContributorState) -> str:
    count = state.dht_nodes
    text = ngettext(
        "{count} node of the DHT within reach", "{count} nodes of the DHT within reach", count
    )
    return text.format(count=units.count(count))


def _no_rounds(state: ContributorState) -> str:
    if state.training is None:
        return _("This machine takes part in averaging rounds while it trains.")
    return _("The first round comes when the swarm has gathered its batch.")


def _role(row: PeerRow) -> str:
    return "trainer" if row.trainer else "observer"


def _roles() -> dict[str, str]:
    return {"trainer": _("trainer"), "observer": _("observer")}


def _peers_model(parent: QWidget) -> RowsModel[PeerRow]:
    return RowsModel(_peer_columns(), identity=lambda row: row.info.peer_id, parent=parent)


def _peer_columns() -> tuple[Column[PeerRow], ...]:
    words = _roles()
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
            text=lambda row: words[_role(row)],
            key=_role,
            sample="observer",
            tone=_tone,
        ),
        Column(
            title=_("Address"),
            text=lambda row: row.info.address or units.NONE,
            key=lambda row: row.info.address or None,
            sample="/ip4/10.0.0.7",
            tone=_tone,
        ),
        Column(
            title=_("Way"),
            text=lambda row: fleet_texts.way(row.info),
            key=lambda row: fleet_texts.way(row.info),
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


def _tone(row: PeerRow) -> str:
    return "" if row.here else "faint"


def _rounds_model(parent: QWidget) -> RowsModel[FinishedRound]:
    columns: tuple[Column[FinishedRound], ...] = (
        Column(
            title=_("Time"),
            text=lambda entry: units.clock(entry.time),
            key=lambda entry: -entry.time,
            sample="00:00:00",
        ),
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
            tone=lambda entry: "caution" if entry.failure else "",
        ),
    )
    return RowsModel(columns, identity=lambda entry: (entry.time, entry.epoch), parent=parent)


def _result(entry: FinishedRound) -> str:
    if entry.failure:
        return _("failed: {reason}").format(reason=entry.failure)
    return _("alone") if entry.peers <= 1 else _("all succeeded")


def _text_filter() -> QLineEdit:
    made = QLineEdit()
    made.setPlaceholderText(_("Filter peers"))
    made.setAccessibleName(_("Filter peers by id, alias or address"))
    made.setToolTip(_("By id, alias or address"))
    made.setClearButtonEnabled(True)
    return made


def _role_filter() -> QComboBox:
    made = QComboBox()
    made.setAccessibleName(_("Roles shown"))
    made.addItem(_("All roles"), "")
    for role, words in _roles().items():
        made.addItem(words, role)
    return made
