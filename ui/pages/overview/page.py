"""The overview page: the state, the swarm's progress, and this machine's figures."""

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.common.subscription import Subscription
from app.contributions.outbox import OutboxState
from app.contributions.summary import Summary
from app.p2p.sightings import Run
from app.state.state import ContributorState, OwnTraining, Phase
from ui.models.actions import Actions
from ui.models.chart_choices import ChartChoices
from ui.models.power_limit import PowerLimit
from ui.models.session_model import SessionModel
from ui.models.summary_model import SummaryModel
from ui.pages.overview.headline import Headline
from ui.pages.overview.lost_swarm import LostSwarmNotice
from ui.pages.overview.welcome import Welcome
from ui.style.theme import Theme
from ui.texts import costs, units
from ui.texts import fleet as fleet_texts
from ui.texts import states as texts
from ui.texts.given import contributions as contribution_texts
from ui.texts.given import energy as energy_texts
from ui.texts.given.energy import EnergyRules
from ui.widgets.buttons import button, icon_button
from ui.widgets.card import FactsCard
from ui.widgets.card_row import CardRow
from ui.widgets.labels import label
from ui.widgets.lazy import Lazy
from ui.widgets.run_cards.about_card import AboutCard
from ui.widgets.run_cards.achieved import AchievedLabel
from ui.widgets.run_cards.epoch import EpochCard

if TYPE_CHECKING:
    from ui.pages.overview.timeline import TimelineCard
    from ui.widgets.charts.training_charts import TrainingCharts

GAP = 16
TOTALS_SHOWN = ("time", "samples", "sent", "energy", "cost")
"""The totals of today that are shown here, by their names in `contribution_texts.total_labels`."""


class Overview(QScrollArea):
    """The page that the window opens with."""

    def __init__(
        self,
        model: SessionModel,
        actions: Actions,
        theme: Theme,
        summary_model: SummaryModel,
        *,
        charts: ChartChoices,
    ) -> None:
        """charts: what they show, with those of other pages."""
        super().__init__()
        self._model = model
        self._actions = actions
        self._summary_model = summary_model
        self._limit = PowerLimit(model)
        self._watching = Subscription()
        self._told_of = ""
        self._closing = False
        self.lost_swarm = LostSwarmNotice(model, actions, theme)
        self.headline = Headline(model.state, actions)
        self.welcome = Welcome(actions, theme)
        self.epoch = EpochCard(theme)
        self.about = AboutCard()
        self.charts = Lazy(lambda: _charts(model, theme, charts))
        self.machine = FactsCard(_("This machine"), _machine_rows())
        self.swarm = FactsCard(_("Swarm"), _swarm_rows())
        self.given_today = FactsCard(_("Given today"), _given_rows())
        self.achieved = AchievedLabel(model, role="small", titled=False)
        self.cost, self.estimated = label(role="small", wrap=True), label(role="small", wrap=True)
        self.network = FactsCard(_("Network"), _network_rows())
        self.happened = Lazy(lambda: _timeline(model, theme))
        self.share = button(_("Invite…"), "quiet")
        self.leave = button(_("Leave"), "quiet")
        self.copy = icon_button("copy", _("Copy the peer id"), theme)
        self._machines_seen = units.NONE
        self._lay_out()
        self._connect()
        self.show_state(model.state)

    def _lay_out(self) -> None:
        page = QWidget()
        page.setObjectName("page")
        column = QVBoxLayout(page)
        column.setContentsMargins(24, 20, 24, 24)
        column.setSpacing(GAP)
        for part in (self.lost_swarm, self.headline, self.welcome, self.epoch):
            # AlignTop: as high as the wrapped texts need at this width, and no higher
            column.addWidget(part, 0, Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.charts, 1)
        column.addWidget(self._cards())
        column.addWidget(self.about)
        column.addWidget(self.happened)
        column.addStretch()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(_("Overview"))

    def _cards(self) -> QWidget:
        self.leave.setAccessibleName(_("Leave the swarm"))
        self.share.setAccessibleName(_("Invite others"))
        self.swarm.header.addWidget(self.share)
        self.swarm.header.addWidget(self.leave)
        self.network.add_control("peer_id", self.copy)
        for card, below in (
            (self.machine, self.cost),
            (self.given_today, self.estimated),
            (self.given_today, self.achieved),
        ):
            card.add_below(below)
        cards = (self.machine, self.swarm, self.given_today, self.network)
        self.cards = CardRow(cards, least=33, columns=2)
        return self.cards

    def _connect(self) -> None:
        self._model.changed.connect(self._on_state)
        self._readings = self._model.session.machines.subscribe(self._on_machines)
        self._summary_model.changed.connect(self._on_summary)
        self._limit.changed.connect(lambda: self._on_state(self._model.state))
        self.share.clicked.connect(self._actions.share_wanted)
        self.leave.clicked.connect(self._actions.leave_wanted)
        self.copy.clicked.connect(self._copy_peer_id)

    def _copy_peer_id(self) -> None:
        QGuiApplication.clipboard().setText(self._model.state.peer_id)

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():  # a hidden page is updated when it is shown
            self.show_state(state)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watching = self._summary_model.watch()
        self._show_given()
        self.show_state(self._model.state)

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watching.close()

    def _on_summary(self) -> None:
        if self.isVisible():
            self._show_given()

    def _show_given(self) -> None:
        if (summary := self._summary_model.summary) is not None:
            self.given_today.show_values(_given(summary, self._rules))
            _say(self.estimated, energy_texts.how_it_is_estimated(summary.today, self._rules))
            self.achieved.tell(summary, self._told_of)

    @property
    def _rules(self) -> EnergyRules:
        return EnergyRules.of(self._model.session.store.settings)

    def _cost(self, state: ContributorState) -> str:
        """What training takes now, or will take."""
        self._limit.look_at(costs.chosen_devices(state))
        summary = self._summary_model.summary
        return energy_texts.running_cost(
            self._model.session.contributions.energy.power,
            None if summary is None else summary.week.power or summary.all.power,
            self._rules,
            most=self._limit.watts,
            trains=state.phase in (Phase.TRAINING, Phase.AVERAGING),
        )

    def show_state(self, state: ContributorState) -> None:
        """Show a state in all cards, unless the app is closing."""
        if self._closing:
            return
        self.lost_swarm.show_state(state)
        self.headline.show_state(state)
        in_swarm = state.swarm is not None
        self.welcome.setVisible(not in_swarm)
        for part in (self.epoch, self.charts, self.cards):
            part.setVisible(in_swarm)
        self.epoch.show_state(state)
        self.about.show_about(None if state.swarm is None else state.swarm.about)
        self._show_what_happened()
        run_id = state.swarm.run_id if state.swarm is not None else ""
        if run_id != self._told_of:
            self._told_of, self._machines_seen = run_id, units.NONE
            self._show_given()
        self.machine.show_values(_machine(state))
        _say(self.cost, self._cost(state))
        self.swarm.show_values(_swarm(state) | {"machines": self._machines_seen})
        self.network.show_values(_network(state))
        self.copy.setEnabled(bool(state.peer_id))
        self.share.setEnabled(bool(state.peer_id))

    def _on_machines(self) -> None:
        """They were read, every few seconds."""
        session = self._model.session
        machines = session.machines.fleet.machines(time.time())
        self._machines_seen = fleet_texts.how_many(machines, lab=session.store.settings.lab)
        self._on_state(self._model.state)

    def _show_what_happened(self) -> None:
        self.happened.setVisible(len(self._model.session.timeline) > 0)
        if (card := self.happened.built) is not None:
            card.refresh()

    def show_closing(self) -> None:
        """Say that the app is closing, and disable all controls."""
        self._closing = True
        self._readings.close()
        self.headline.show_closing()
        self.welcome.setEnabled(False)
        self.share.setEnabled(False)
        self.leave.setEnabled(False)


def _charts(model: SessionModel, theme: Theme, choices: ChartChoices) -> "TrainingCharts":
    from ui.widgets.charts.training_charts import TrainingCharts

    session = model.session
    return TrainingCharts(
        session.history, theme, store=session.store, timeline=session.timeline, choices=choices
    )


def _timeline(model: SessionModel, theme: Theme) -> "TimelineCard":
    from ui.pages.overview.timeline import TimelineCard

    card = TimelineCard(model.session.timeline, theme)
    card.refresh()
    return card


def _say(below: QLabel, text: str) -> None:
    below.setText(text)
    below.setVisible(bool(text))


def _machine_rows() -> dict[str, str]:
    return {
        "precision": _("Precision"),
        "batch": _("Samples a step"),
        "tokens": _("Tokens/s"),
        "steps": _("Steps"),
        "samples": _("Samples computed"),
        "computing": _("Time computing"),
    }


def _machine(state: ContributorState) -> dict[str, str]:
    own = state.training
    resting = state.phase is Phase.PAUSED
    if own is None:
        return dict.fromkeys(_machine_rows(), units.NONE)
    return {
        "precision": _precision(own),
        "batch": units.count(own.micro_batch_size),
        "tokens": units.rate(None if resting else own.tokens_per_second),
        "steps": units.count(own.step),
        "samples": units.count(own.samples),
        "computing": texts.computing(own),
    }


def _precision(own: OwnTraining) -> str:
    if not own.precision:
        return units.NONE
    return (
        _("{precision}, compiled").format(precision=own.precision)
        if own.compiled
        else own.precision
    )


def _swarm_rows() -> dict[str, str]:
    return {
        "trainers": _("Training now"),
        "machines": _("Machines"),
        "peers": _("Peers connected"),
        "rate": _("Samples/s together"),
        "loss": _("Loss, mean"),
        "epoch": _("Epoch"),
    }


def _swarm(state: ContributorState) -> dict[str, str]:
    run = state.run
    known = run or Run()
    return {
        "trainers": units.count(known.trainers),
        "peers": units.count(len(state.peers)) if state.peer_id else units.NONE,
        "rate": units.rate(known.samples_per_second),
        "loss": units.loss(known.loss),
        "epoch": units.count(run.epoch) if run else units.NONE,
    }


def _given_rows() -> dict[str, str]:
    sums = contribution_texts.total_labels()
    fates = {"confirmed": _("Confirmed, all time"), "waiting": _("Waiting")}
    return {name: sums[name] for name in TOTALS_SHOWN} | fates


def _given(summary: Summary, rules: EnergyRules) -> dict[str, str]:
    values = contribution_texts.total_values(summary.today, rules)
    return {name: values[name] for name in TOTALS_SHOWN} | {
        "confirmed": units.count(summary.all.counts[OutboxState.CONFIRMED]),
        "waiting": units.count(summary.on_their_way),
    }


def _network_rows() -> dict[str, str]:
    return {
        "peer_id": _("Peer id"),
        "addresses": _("Listening on"),
        "round_peers": _("Last round with"),
        "round_time": _("Last round took"),
        "round_size": _("Last round sent"),
        "checkpoint": _("Checkpoint of epoch"),
    }


def _network(state: ContributorState) -> dict[str, str]:
    own = state.training
    last = own.last_round if own is not None else None
    saved = own.checkpoint_epoch if own is not None else None
    return {
        "peer_id": units.shortened(state.peer_id, ends=4) or units.NONE,
        "addresses": texts.address_count(state.addresses),
        "round_peers": units.count(last.peers) if last else units.NONE,
        "round_time": units.seconds(last.seconds) if last else units.NONE,
        "round_size": units.size(last.bytes_sent) if last else units.NONE,
        "checkpoint": units.count(saved),
    }
