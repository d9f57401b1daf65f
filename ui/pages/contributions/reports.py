"""The state of reporting to the backend: how many contributions are confirmed, waiting, refused."""

from app.common.i18n import _
from app.contributions.outbox import OutboxState
from app.contributions.summary import Summary
from app.state.facts import ReportingStatus
from app.state.state import ContributorState
from ui.texts import units
from ui.texts.given import contributions as contribution_texts
from ui.widgets.buttons import button
from ui.widgets.card import FactsCard
from ui.widgets.labels import label, restyle


class ReportsCard(FactsCard):
    """A card with the counts and the status. The page connects the buttons."""

    def __init__(self) -> None:
        super().__init__(_("Reports"), _rows())
        self.dot, self.status = label(role="dot"), label(role="muted")
        self.dot.setFixedSize(14, 14)
        self.retry, self.account = button(_("Retry now"), "quiet"), button(kind="quiet")
        self.refill = button(_("Report again"), "quiet")
        self.why, self.refused = label(role="small", wrap=True), label(role="caution", wrap=True)
        self.forgotten = label(role="caution", wrap=True)
        for place, part in enumerate((self.dot, self.status), start=1):
            self.header.insertWidget(place, part)
        for control in (self.refill, self.retry, self.account):
            self.header.addWidget(control)
        for text in (self.forgotten, self.refused, self.why):
            text.setContentsMargins(0, 8, 0, 0)
            self.column.addWidget(text)

    def show_reporting(self, state: ContributorState, summary: Summary | None) -> None:
        """Show the state of reporting, and the account."""
        reporting = state.reporting
        restyle(self.dot, "tone", contribution_texts.TONES[reporting.status])
        self.status.setText(contribution_texts.status(reporting))
        self.why.setText(contribution_texts.explanation(state, summary))
        signed_in = bool(reporting.signed_in_as)
        self.account.setText(_("Account…") if signed_in else _("Sign in…"))
        refused = summary is not None and bool(summary.refusals or summary.kept)
        held_up = reporting.status in (ReportingStatus.WAITING, ReportingStatus.FAILING)
        self.retry.setVisible(signed_in and (refused or held_up))
        self.show_values({"account": reporting.signed_in_as or units.NONE})

    def show_summary(self, summary: Summary, *, refill: str) -> None:
        """Show how many contributions are confirmed, waiting, refused and forgotten.

        refill: the setting.
        """
        forgotten = contribution_texts.forgotten(summary, refill)
        self.forgotten.setText(forgotten)
        self.forgotten.setVisible(bool(forgotten))
        self.refill.setVisible(bool(forgotten) and refill == "ask")
        counts = summary.all.counts
        text = contribution_texts.not_reported(summary)
        self.refused.setText(text)
        self.refused.setVisible(bool(text))
        self.show_values(
            {
                "confirmed": units.count(counts[OutboxState.CONFIRMED]),
                "waiting": units.count(summary.on_their_way),
                "refused": units.count(counts[OutboxState.REFUSED]),
            }
        )


def _rows() -> dict[str, str]:
    return {
        "account": _("Account"),
        "confirmed": _("Confirmed"),
        "waiting": _("Waiting"),
        "refused": _("Refused"),
        "reward": _("Projected reward"),
    }
