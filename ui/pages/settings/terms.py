"""The volunteer's terms, each saved as it is changed, and what they say now."""

import time
from typing import Any

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.state.state import ContributorState
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.pages.settings.schedule import ScheduleEditor
from ui.texts import terms as terms_texts
from ui.widgets.card import Card
from ui.widgets.forms.form import Field, line_edit
from ui.widgets.forms.settings_form import SettingsForm
from ui.widgets.forms.settings_rows import Row, mains_only, several, switch
from ui.widgets.labels import label

SCHEDULE = "terms.schedule"


class TermsSection(QWidget):
    """Two cards: when this machine trains, and how much of it."""

    def __init__(self, model: SessionModel, preferences: Preferences) -> None:
        super().__init__()
        self._model = model
        self._preferences = preferences
        self.status = label(role="muted", wrap=True)
        self.schedule = ScheduleEditor()
        self.when = SettingsForm(_when(), preferences)
        self.amounts = SettingsForm(_amounts(), preferences)
        self._lay_out()
        self.schedule.edited.connect(self._take_schedule)
        preferences.changed.connect(self._on_changed)
        model.changed.connect(self._on_state)

    def _lay_out(self) -> None:
        first = _card(_("When this machine trains"))
        first.column.addWidget(self.status)
        first.column.addWidget(label(_("Times of the week"), "strong"))
        first.column.addWidget(label(_("Without a tick: at any time."), "small"))
        first.column.addWidget(self.schedule)
        first.column.addWidget(self.when)
        second = _card(_("How much of it"))
        second.column.addWidget(self.amounts)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addWidget(first)
        column.addWidget(second)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_schedule()
        self.show_state(self._model.state)

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():
            self.show_state(state)

    def show_state(self, state: ContributorState) -> None:
        """Say what the terms let this machine do now."""
        self.status.setText(terms_texts.in_force(state.terms, state.verdict, time.time()))

    def _take_schedule(self) -> None:
        chosen = self.schedule.schedule
        if chosen is not None and chosen != self._preferences.value(SCHEDULE):
            self._preferences.change(SCHEDULE, str(chosen))

    def _on_changed(self, name: str) -> None:
        if name == SCHEDULE:
            self._show_schedule()

    def _show_schedule(self) -> None:
        self.schedule.show_schedule(self._preferences.value(SCHEDULE))


def _card(title: str) -> Card:
    card = Card(title)
    card.column.setSpacing(12)
    card.column.addWidget(label(title, "strong"))
    return card


def limit(name: str, caption: str, *hints: str, none: int = 0, empty: str = "") -> Row:
    """A number that may be left empty, which means no limit, or what ``empty`` says."""
    line = line_edit()
    line.setPlaceholderText(empty or _("no limit"))

    def show(value: Any) -> str:
        return "" if value == none else str(value)

    def take(said: str, _old: Any) -> Any:
        return said.strip() or none

    return Row(name=name, field=Field(caption, line, " ".join(hints)), show=show, take=take)


def _when() -> tuple[Row, ...]:
    return (
        limit(
            "terms.idle_minutes",
            _("Only when idle for (minutes)"),
            _("Without a touch of keyboard and mouse."),
        ),
        limit(
            "terms.max_temperature",
            _("Highest temperature of the device (°C)"),
            _("Then it rests until the device is 5 °C cooler."),
        ),
        several(
            "terms.programs",
            _("Not while one of these programs runs"),
            _("Names of processes, separated by commas; a game, for instance."),
        ),
        limit(
            "terms.max_others_use",
            _("Highest GPU use by other programs (%)"),
            _("Catches games that you haven't named."),
        ),
        mains_only(),
        switch(
            "terms.unmetered_only",
            _("Not on a metered connection"),
            _("As NetworkManager knows it."),
        ),
    )


def _amounts() -> tuple[Row, ...]:
    return (
        limit(
            "terms.compute_share",
            _("Share of the time to compute (%)"),
            _("It waits after each step; less noise and heat."),
            none=100,
        ),
        limit(
            "terms.max_power",
            _("Power of the device (W)"),
            _("On average, by computing less of the time."),
        ),
        limit(
            "terms.max_upload",
            _("Upload of tensors (Mbit/s)"),
            _("If a round takes longer than the swarm waits, it goes on without this machine."),
        ),
        limit("terms.max_download", _("Download of tensors (Mbit/s)")),
        limit(
            "terms.max_monthly",
            _("Tensors up and down in a month (GB)"),
            _("Then it rests until the next month."),
        ),
        limit(
            "terms.max_disk",
            _("Checkpoints and training data on the disk (GB)"),
            _("Then it rests until you make room."),
        ),
        limit(
            "terms.max_memory",
            _("Memory of the device (GB)"),
            _("A GPU's own, or on a CPU the computer's. Takes effect when training next starts."),
        ),
        limit(
            "threads",
            _("CPU threads"),
            _("Takes effect when training next starts."),
            empty=_("all cores but one"),
        ),
    )
