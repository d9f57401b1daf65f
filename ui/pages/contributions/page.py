"""The contributions page: totals, days, swarms, and the reports to the backend."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QTableView,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.common.subscription import Subscription
from app.contributions.fates import is_reported
from app.contributions.ledger import LedgerTotals
from app.contributions.outbox import OutboxState
from app.contributions.summary import Summary
from app.state.state import ContributorState
from ui.models.achievement import run_to_tell_of
from ui.models.actions import Actions
from ui.models.rows_model import Column, RowsModel
from ui.models.session_model import SessionModel
from ui.models.summary_model import SummaryModel
from ui.pages.contributions.daily_chart import DailyChart
from ui.pages.contributions.reports import ReportsCard
from ui.pages.contributions.totals import ContributionTotalsCard
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.texts import units
from ui.texts.given import contributions as contribution_texts
from ui.texts.given import energy as energy_texts
from ui.texts.given.energy import EnergyRules
from ui.widgets.buttons import button
from ui.widgets.card_row import CardRow
from ui.widgets.empty_state import EmptyState
from ui.widgets.labels import label
from ui.widgets.run_cards.achieved import AchievedLabel
from ui.widgets.save_dialog import ask_where_to_save
from ui.widgets.table import table

GAP = 16
ROWS_IN_FULL = 8
"""Height of the table in rows; it scrolls beyond."""

MOST_UNREPORTED = 3
"""Swarms below the table of which it is said why they are not reported; the others say it in the
tool tip of their row."""

REWARD_SECONDS = 600.0
"""Time between two requests for the reward: the backend limits requests."""


@dataclass(frozen=True, kw_only=True)
class SwarmRow:
    """A swarm and the totals of the contributions to it."""

    run_id: str

    title: str
    """The swarm's title, or its run id if the title isn't known."""

    totals: LedgerTotals

    joules: float | None
    """What its training took, measured or estimated."""

    energy: str
    """The same in words."""

    reported_to: str
    """The backend's host, or a few words on why they are not reported."""

    fate: str
    """The same in full, with what to do."""

    place: int
    """Position by the time of the last contribution; 0 is the latest."""


class ContributionsPage(QScrollArea):
    """Shows the summary of the ledger, which is read only while the page is visible."""

    def __init__(
        self, model: SessionModel, actions: Actions, theme: Theme, summary_model: SummaryModel
    ) -> None:
        super().__init__()
        self._model = model
        self._session = model.session
        self._summary_model = summary_model
        self._titles: dict[str, str] = {}
        self._reward_asked: tuple[str, int | None] | None = None
        self._reward_at = 0.0
        self._watching = Subscription()
        self._learning: asyncio.Task[None] | None = None
        self.export, self.share = button(_("Export…")), button(_("Share as a picture…"))
        self.totals, self.reports, self.days = (
            ContributionTotalsCard(),
            ReportsCard(),
            DailyChart(theme),
        )
        self.rows: RowsModel[SwarmRow] = RowsModel(
            _columns(), identity=lambda row: row.run_id, parent=self
        )
        self.table = table(self.rows, theme, name=_("By swarm"), stretched=0)
        self.empty = EmptyState("contributions", theme)
        self.epoch, self.note = label(role="muted"), label(role="small", wrap=True)
        self.achieved = AchievedLabel(model, role="", titled=True)
        self.unreported = label(role="small", wrap=True)
        self._lay_out()
        self._connect(actions)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(12)
        head.addWidget(label(_("Contributions"), "page"))
        head.addWidget(self.epoch, 1)
        head.addWidget(self.share)
        head.addWidget(self.export)
        page = QWidget()
        page.setObjectName("page")
        column = QVBoxLayout(page)
        column.setContentsMargins(24, 20, 24, 12)
        column.setSpacing(GAP)
        column.addLayout(head)
        column.addWidget(self.achieved)
        column.addWidget(self.empty, 1)
        column.addWidget(CardRow((self.totals, self.reports), least=62, columns=1))
        column.addWidget(self.days)
        column.addWidget(self.table)
        column.addWidget(self.unreported)
        column.addWidget(self.note)
        column.addStretch()
        self.note.hide()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(_("Contributions"))

    def _connect(self, actions: Actions) -> None:
        self._summary_model.changed.connect(self.refresh)
        self._model.changed.connect(self._on_state)
        self.export.clicked.connect(self._choose_file)
        self.share.clicked.connect(actions.achievement_wanted)
        self.reports.account.clicked.connect(actions.account_wanted)
        self.reports.retry.clicked.connect(lambda: self._model.run(self._session.account.retry()))
        self.reports.refill.clicked.connect(lambda: self._model.run(self._session.account.refill()))

    # --- only while the page is visible

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watching = self._summary_model.watch()
        self._learning = self._model.start(self._learn_titles())
        self.refresh()

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watching.close()
        if self._learning is not None:
            self._learning.cancel()

    async def _learn_titles(self) -> None:
        """Find the swarms' titles: the ledger knows only their run ids."""
        recents = await self._session.recents.load()
        self._titles = {recent.spec.run_id: recent.spec.name for recent in recents}
        self.refresh()

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():
            self._show_state(state)

    def refresh(self) -> None:
        """Show the newest summary and state, where anybody sees it."""
        if not self.isVisible():
            return
        summary = self._summary_model.summary
        if summary is not None:
            settings = self._session.store.settings
            self.totals.show_summary(summary, EnergyRules.of(settings))
            self.reports.show_summary(summary, refill=settings.refill)
            self.days.show_days(summary.days)
            rows = self._rows_of(summary)
            self.rows.show_rows(rows)
            self._say_unreported(rows, summary)
            self.table.setFixedHeight(_height_of(self.table, rows=len(summary.swarms)))
            self._ask_for_reward(summary)
            self.achieved.tell(summary, run_to_tell_of(self._session, summary))
        self._show_empty(summary)
        self._show_state(self._model.state)

    def _show_state(self, state: ContributorState) -> None:
        self.reports.show_reporting(state, self._summary_model.summary)
        self.epoch.setText(contribution_texts.epoch_share(state))

    def _show_empty(self, summary: Summary | None) -> None:
        some = (
            summary is not None
            and self._summary_model.problem is None
            and summary.all.contributions > 0
        )
        self.empty.setVisible(not some)
        for part in (self.totals, self.days, self.table):
            part.setVisible(some)
        self.export.setEnabled(some)
        self.share.setEnabled(some)
        self.reports.setVisible(summary is not None)
        if not some:
            self.empty.say(*self._why_empty(summary))

    def _why_empty(self, summary: Summary | None) -> tuple[str, str]:
        problem = self._summary_model.problem
        if problem is not None:
            return _("Your contributions can't be read"), texts.error_text(problem)
        if summary is None:
            return _("Looking…"), _("The app is still starting.")
        return _("Nothing given yet"), _(
            "Once this machine trains in a swarm, its work of each minute"
            " becomes a signed contribution, and all are summed up here."
            " They are kept on this machine whether or not anybody is signed"
            " in."
        )

    def _rows_of(self, summary: Summary) -> list[SwarmRow]:
        swarm = self._model.state.swarm
        titles = self._titles | ({swarm.run_id: swarm.title} if swarm is not None else {})
        reporting = self._model.state.reporting
        rules = EnergyRules.of(self._session.store.settings)
        return [
            SwarmRow(
                run_id=run_id,
                title=titles.get(run_id, run_id),
                totals=totals,
                joules=energy_texts.joules(totals, rules),
                energy=energy_texts.used(totals, rules),
                reported_to=contribution_texts.reported_to(fate, reporting) if fate else "",
                fate=contribution_texts.fate(fate, reporting) if fate else "",
                place=place,
            )
            for place, (run_id, totals) in enumerate(summary.swarms.items())
            for fate in [summary.fates.get(run_id)]
        ]

    def _say_unreported(self, rows: list[SwarmRow], summary: Summary) -> None:
        """Say of the latest swarms that aren't reported why, and what to do."""
        reporting = self._model.state.reporting
        lines = [
            f"{row.title}: {row.fate}"
            for row in rows
            if row.fate and not is_reported(summary.fates[row.run_id], reporting)
        ]
        self.unreported.setText("\n".join(lines[:MOST_UNREPORTED]))
        self.unreported.setVisible(bool(lines))

    # --- the projected reward, from the backend

    def _ask_for_reward(self, summary: Summary) -> None:
        newest = summary.newest
        if newest is None or not self._model.state.reporting.signed_in_as:
            self._reward_asked = None
            self.reports.show_values({"reward": units.NONE})
            return
        asked, now = (newest.participant, newest.session_id), time.monotonic()
        if asked == self._reward_asked and now - self._reward_at < REWARD_SECONDS:
            return
        self._reward_asked, self._reward_at = asked, now
        self._model.run(self._show_reward(newest.participant, newest.session_id))

    async def _show_reward(self, node_id: str, session_id: int | None) -> None:
        assert session_id is not None
        try:
            reward = await self._session.account.projected_reward(node_id, session_id=session_id)
        except UserFacingError:
            text = units.NONE  # the card already says what is wrong with the backend
        else:
            text = contribution_texts.reward(reward)
        self.reports.show_values({"reward": text})

    # --- export

    def _choose_file(self) -> None:
        ask_where_to_save(
            self,
            _("Export all contributions"),
            name="contributions.json",
            kinds={"json": _("Signed documents (*.json)"), "csv": _("Tables (*.csv)")},
            save=self.export_to,
        )

    def export_to(self, path: Path) -> None:
        """Write all contributions to a file, as CSV or JSON by its suffix, and show the outcome."""
        self._model.run(self._export(path))

    async def _export(self, path: Path) -> None:
        try:
            count = await self._session.contributions.export(path)
        except UserFacingError as error:
            self._say(texts.error_text(error))
            return
        text = ngettext(
            "{count} contribution was written to {path}.",
            "{count} contributions were written to {path}.",
            count,
        )
        self._say(text.format(count=units.count(count), path=path))

    def _say(self, text: str) -> None:
        self.note.setText(text)
        self.note.show()


def _columns() -> tuple[Column[SwarmRow], ...]:
    return (
        Column(
            title=_("Swarm"),
            text=lambda row: row.title,
            key=lambda row: row.place,
            sample="a swarm's title",
            tip=lambda row: f"{row.title} ({row.run_id})",
        ),
        Column(
            title=_("Reported to"),
            text=lambda row: row.reported_to,
            key=lambda row: row.reported_to,
            sample="backend.example:3001",
            tip=lambda row: row.fate,
        ),
        _sum(_("Compute time"), "time", lambda totals: totals.compute_time, "20 h 40 min"),
        _sum(_("Samples"), "samples", lambda totals: totals.samples, "1,234,567"),
        _sum(_("Share"), "share", lambda totals: totals.share, "100 %"),
        _sum(_("Sent"), "sent", lambda totals: totals.bytes_sent, "999 MiB"),
        Column(
            title=_("Energy"),
            text=lambda row: row.energy,
            key=lambda row: row.joules,
            sample="≈ 99.9 kWh",
            right=True,
        ),
        _sum(_("Score"), "score", lambda totals: totals.score, "1,234,567"),
        _count(_("Confirmed"), OutboxState.CONFIRMED),
        _count(_("Waiting"), OutboxState.WAITING, OutboxState.SENDING),
        _count(_("Refused"), OutboxState.REFUSED),
    )


def _sum(
    title: str, name: str, key: Callable[[LedgerTotals], float | None], sample: str
) -> Column[SwarmRow]:
    return Column(
        title=title,
        text=lambda row: contribution_texts.total_values(row.totals)[name],
        key=lambda row: key(row.totals),
        sample=sample,
        right=True,
    )


def _count(title: str, *states: OutboxState) -> Column[SwarmRow]:
    def count(row: SwarmRow) -> int:
        return sum(row.totals.counts[state] for state in states)

    return Column(
        title=title,
        text=lambda row: units.count(count(row)),
        key=count,
        sample="12,345",
        right=True,
    )


def _height_of(shown: QTableView, *, rows: int) -> int:
    """The height for the first rows; the others can be scrolled to."""
    of_rows = min(rows, ROWS_IN_FULL) * shown.verticalHeader().defaultSectionSize()
    return shown.horizontalHeader().sizeHint().height() + of_rows + 2 * shown.frameWidth()
