"""The swarm page: the epoch, the charts, and tables of peers, averaging rounds and faults."""

from PySide6.QtCore import QTimer
from PySide6.QtGui import QFont, QFontMetrics, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
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
from app.state.state import ContributorState
from ui.models.actions import Actions
from ui.models.chart_choices import ChartChoices
from ui.models.session_model import SessionModel
from ui.pages.swarm.tables import (
    PeerRow,
    faults_model,
    peer_rows,
    peers_model,
    role_labels,
    role_of,
    rounds_model,
)
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.charts.training_charts import TrainingCharts
from ui.widgets.choice import Choice
from ui.widgets.empty_state import EmptyState
from ui.widgets.labels import ElidedLabel, label
from ui.widgets.run_cards.epoch import EpochCard
from ui.widgets.table import table

REFRESH_MS = 1000


class SwarmPage(QWidget):
    """Shows the run. While visible it also reads the machines' records, for the peers' aliases."""

    def __init__(
        self, model: SessionModel, actions: Actions, theme: Theme, charts: ChartChoices
    ) -> None:
        """charts: what they show, with those of other pages."""
        super().__init__()
        self.setObjectName("page")
        self._model = model
        self._history = model.session.history
        self.title, self.reach = ElidedLabel(role="page"), label(role="muted")
        self.members = button(_("Members…"), "quiet")
        self.members.clicked.connect(actions.members_wanted)
        self.check = button(_("Check connection…"), "quiet")
        self.check.clicked.connect(actions.check_wanted)
        self.epoch = EpochCard(theme)
        session = model.session
        self.charts = TrainingCharts(
            session.history,
            theme,
            store=session.store,
            timeline=session.timeline,
            choices=charts,
        )
        self.text, self.role = _text_filter(), _role_filter()
        self.peers = peers_model(self)
        self.rounds = rounds_model(self)
        self.faults = faults_model(self)
        self.peers_table = table(self.peers, theme, name=_("Peers"), stretched=4)
        self.rounds_table = table(self.rounds, theme, name=_("Averaging rounds"), stretched=6)
        self.faults_table = table(self.faults, theme, name=_("Faults"), stretched=1)
        self.no_peers, self.no_rounds = EmptyState("swarm", theme), EmptyState("swarm", theme)
        self.no_faults = EmptyState("swarm", theme)
        self.show_peers, self.show_rounds = button(kind="choice"), button(kind="choice")
        self.show_faults = button(kind="choice")
        self.group, self.tables = QButtonGroup(self), QStackedWidget()
        self.empty = EmptyState("swarm", theme)
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
        head.addWidget(self.members)
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
        self.no_faults.say(
            _("No faults"),
            _("Members of averaging rounds are named here that sent nonsense, or were too slow."),
        )
        self.empty.say(
            _("No swarm yet"),
            _("Join a swarm on the overview page: its peers and its progress are shown here."),
        )

    def _tables_head(self) -> QHBoxLayout:
        self.tables.addWidget(_either(self.peers_table, self.no_peers))
        self.tables.addWidget(_either(self.rounds_table, self.no_rounds))
        self.tables.addWidget(_either(self.faults_table, self.no_faults))
        head = QHBoxLayout()
        head.setSpacing(2)
        for place, one in enumerate((self.show_peers, self.show_rounds, self.show_faults)):
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

    # --- only while the page is visible

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
        """Show the swarm and the epoch of a state."""
        swarm = state.swarm
        self.empty.setVisible(swarm is None)
        self.content.setVisible(swarm is not None)
        self.title.set_full(swarm.title if swarm else _("Swarm"))
        self.reach.setText(_reach(state) if swarm else "")
        self.members.setVisible(state.access.closed)
        self.epoch.show_state(state)

    def refresh(self) -> None:
        """Show the peers, the averaging rounds so far and the faults of their members."""
        state = self._model.state
        aliases = self._model.session.machines.fleet.aliases()
        rows = peer_rows(self._history.peers, state.run, aliases, state.faults)
        self.peers.show_rows(rows)
        rounds = list(self._history.rounds.last)
        self.rounds.show_rows(rounds)
        self.faults.show_rows(list(state.faults.last))
        _set_word(self.show_peers, _peers(len(self._history.peers.here)))
        has_own_steps = state.swarm is not None and state.swarm.own_steps
        _set_word(self.show_rounds, _rounds(len(rounds), has_own_steps=has_own_steps))
        _set_word(self.show_faults, _faults(len(state.faults.last)))
        for rows_there, shown, otherwise in (
            (bool(rows), self.peers_table, self.no_peers),
            (bool(rounds), self.rounds_table, self.no_rounds),
            (bool(state.faults.last), self.faults_table, self.no_faults),
        ):
            shown.setVisible(rows_there)
            otherwise.setVisible(not rows_there)
        nothing = _("No exchange yet") if has_own_steps else _("No averaging round yet")
        self.no_rounds.say(nothing, _no_rounds(state))

    def _filter(self) -> None:
        wanted, role = self.text.text().strip().casefold(), self.role.currentData()

        def matches(row: PeerRow) -> bool:
            named = (row.info.peer_id, row.alias, row.info.address)
            fits = not wanted or any(wanted in one.casefold() for one in named)
            return fits and role in ("", role_of(row))

        self.peers.filter_rows(matches)


def _either(shown: QWidget, otherwise: QWidget) -> QWidget:
    """A widget that holds a table and what is shown while the table is empty."""
    made = QWidget()
    column = QVBoxLayout(made)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(shown)
    column.addWidget(otherwise)
    return made


def _set_word(one: QPushButton, text: str) -> None:
    """Set a button's text, with room for bold letters, which Qt's size hint leaves out."""
    one.setText(text)
    font = QFont(one.font())
    font.setBold(True)
    one.setMinimumWidth(QFontMetrics(font).horizontalAdvance(text) + 28)


def _peers(count: int) -> str:
    text = ngettext("{count} peer connected", "{count} peers connected", count)
    return text.format(count=units.count(count))


def _rounds(count: int, *, has_own_steps: bool) -> str:
    text = (
        ngettext("{count} exchange", "{count} exchanges", count)
        if has_own_steps
        else ngettext("{count} averaging round", "{count} averaging rounds", count)
    )
    return text.format(count=units.count(count))


def _faults(count: int) -> str:
    text = ngettext("{count} fault", "{count} faults", count)
    return text.format(count=units.count(count))


def _reach(state: ContributorState) -> str:
    count = state.dht_nodes
    text = ngettext(
        "{count} network node within reach", "{count} network nodes within reach", count
    )
    return text.format(count=units.count(count))


def _no_rounds(state: ContributorState) -> str:
    if state.training is None:
        return _("This machine takes part in averaging rounds while it trains.")
    if state.swarm is not None and state.swarm.own_steps:
        return _(
            "Each machine takes steps of its own. The first exchange of what was learnt comes when"
            " the swarm has gathered its batch, and runs beside computing."
        )
    return _("The first round comes when the swarm has gathered its batch.")


def _text_filter() -> QLineEdit:
    made = QLineEdit()
    made.setPlaceholderText(_("Filter peers"))
    made.setAccessibleName(_("Filter peers by id, alias or address"))
    set_tool_tip(made, _("By id, alias or address"))
    made.setClearButtonEnabled(True)
    return made


def _role_filter() -> Choice:
    made = Choice()
    made.setAccessibleName(_("Roles shown"))
    made.addItem(_("All roles"), "")
    for role, words in role_labels().items():
        made.addItem(words, role)
    return made
