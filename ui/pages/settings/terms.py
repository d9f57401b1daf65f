"""The volunteer's terms: when and how much this machine trains, and what they allow now."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.state.state import ContributorState
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.pages.settings.schedule import ScheduleEditor
from ui.style.theme import Theme
from ui.texts import terms as terms_texts
from ui.texts.states import error_text
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.card import titled_card
from ui.widgets.forms.fields import Field, line_edit, show_error
from ui.widgets.forms.settings_form import SettingsForm
from ui.widgets.forms.settings_rows import (
    IDLE_MINUTES,
    SettingRow,
    list_row,
    mains_only,
    switch_row,
)
from ui.widgets.labels import label

SCHEDULE = "terms.schedule"


def presets() -> dict[str, tuple[str, Any]]:
    """What many volunteers want: a button's text, and the setting and value that it stands for."""
    return {
        _("Every night"): (SCHEDULE, "mon-sun 22:00-07:00"),
        _("Weekday nights"): (SCHEDULE, "mon-fri 22:00-07:00"),
        _("Only when I'm away"): ("terms.idle_minutes", IDLE_MINUTES),
        _("Quiet: half of the time"): ("terms.compute_share", 50),
    }


class TermsSection(QWidget):
    """Two cards: when this machine trains, and how much of it training may use."""

    def __init__(self, model: SessionModel, preferences: Preferences, theme: Theme) -> None:
        super().__init__()
        self._model = model
        self._preferences = preferences
        self.status = label(role="muted", wrap=True)
        self.presets = [button(text, "quiet") for text in presets()]
        self.hours = label(role="small", wrap=True)
        self.schedule = ScheduleEditor(theme)
        self.when = SettingsForm(_when(), preferences)
        self.amounts = SettingsForm(_amounts(), preferences)
        self._lay_out()
        for preset, (name, value) in zip(self.presets, presets().values(), strict=True):
            preset.clicked.connect(partial(preferences.change, name, value))
        self.schedule.edited.connect(self._take_schedule)
        preferences.changed.connect(self._on_changed)
        preferences.refused.connect(self._on_refused)
        model.changed.connect(self._on_state)

    def _lay_out(self) -> None:
        self._first = titled_card(_("When this machine trains"))
        self._times = self._times_of_the_week()
        for part in (self.status, self._times, self.when):
            self._first.column.addWidget(part)
        self._second = titled_card(_("How much training may use"))
        self._second.column.addWidget(self.amounts)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addWidget(self._first)
        column.addWidget(self._second)

    def _times_of_the_week(self) -> QWidget:
        row = QHBoxLayout()
        row.setSpacing(8)
        for preset in self.presets:
            row.addWidget(preset)
        row.addStretch()
        made = QWidget()
        column = QVBoxLayout(made)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(label(_("Times of the week"), "strong"))
        column.addWidget(self.hours)
        column.addWidget(self.schedule)
        return made

    def look_for(self, words: Sequence[str]) -> bool:
        """As `SettingsForm.look_for`, for both cards."""
        texts = " ".join((_("Times of the week"), *presets())).casefold()
        has_times = all(word in texts for word in words)
        self._times.setVisible(has_times)
        has_when = self.when.look_for(words, under=_("When this machine trains"))
        has_amounts = self.amounts.look_for(words, under=_("How much training may use"))
        self._first.setVisible(has_times or has_when)
        self._second.setVisible(has_amounts)
        return has_times or has_when or has_amounts

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_schedule()
        self.show_state(self._model.state)

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():
            self.show_state(state)

    def show_state(self, state: ContributorState) -> None:
        """Say whether the terms let training run now."""
        self.status.setText(terms_texts.status(state.terms, state.verdict, time.time()))
        for form in (self.when, self.amounts):
            form.warn(terms_texts.unmeasured(state.verdict))

    def _take_schedule(self) -> None:
        chosen = self.schedule.schedule
        if chosen is not None and chosen != self._preferences.value(SCHEDULE):
            self._preferences.change(SCHEDULE, str(chosen))

    def _on_changed(self, name: str) -> None:
        if name == SCHEDULE:
            self._show_schedule()

    def _on_refused(self, name: str, error: UserFacingError) -> None:
        if name == SCHEDULE:
            show_error(self.schedule.error, error_text(error))
            announce(self.schedule.error)

    def _show_schedule(self) -> None:
        chosen = self._preferences.value(SCHEDULE)
        self.schedule.show_schedule(chosen)
        text = _("No day is ticked: at any time.")
        if chosen:
            text = _("Only {times}.").format(times=terms_texts.weekly(chosen))
        self.hours.setText(text)


def limit_row(
    name: str, caption: str, *hints: str, no_limit: int = 0, placeholder: str = ""
) -> SettingRow:
    """A row for a number that may be left empty.

    Args:
        name: the setting's name.
        caption: translated.
        hints: translated sentences below the field.
        no_limit: the setting's value while the field is empty.
        placeholder: what an empty field means; by default "no limit".
    """
    line = line_edit()
    line.setPlaceholderText(placeholder or _("no limit"))

    def to_text(value: Any) -> str:
        return "" if value == no_limit else str(value)

    def to_value(said: str, _old: Any) -> Any:
        return said.strip() or no_limit

    return SettingRow(
        name=name, field=Field(caption, line, " ".join(hints)), to_text=to_text, to_value=to_value
    )


def _when() -> tuple[SettingRow, ...]:
    return (
        limit_row(
            "terms.idle_minutes",
            _("Only when idle for (minutes)"),
            _("Idle means that nobody touches keyboard or mouse."),
        ),
        limit_row(
            "terms.max_temperature",
            _("Highest temperature of the device (°C)"),
            _("Above it, training rests until the device is 5 °C cooler."),
        ),
        list_row(
            "terms.programs",
            _("Not while one of these programs runs"),
            _("Names of processes, separated by commas; a game, for instance."),
        ),
        limit_row(
            "terms.max_others_use",
            _("Highest GPU use by other programs (%)"),
            _("Catches games that you haven't named."),
        ),
        mains_only(),
        switch_row(
            "terms.unmetered_only",
            _("Not on a metered connection"),
            _("As the system knows it (from NetworkManager)."),
        ),
    )


def _amounts() -> tuple[SettingRow, ...]:
    return (
        limit_row(
            "terms.compute_share",
            _("Share of the time to compute (%)"),
            _("It waits after each step; less noise and heat."),
            no_limit=100,
        ),
        limit_row(
            "terms.max_power",
            _("Highest power of the device (W)"),
            _("On average; kept by computing less of the time."),
        ),
        limit_row(
            "terms.max_upload",
            _("Upload for training (Mbit/s)"),
            _(
                "If an averaging round takes longer than the swarm waits, the"
                " swarm goes on without this machine."
            ),
        ),
        limit_row("terms.max_download", _("Download for training (Mbit/s)")),
        limit_row(
            "terms.max_monthly",
            _("Training traffic in a month (GB)"),
            _("Up and down together. Beyond it, training rests until the next month."),
        ),
        limit_row(
            "terms.max_disk",
            _("Checkpoints and training data on the disk (GB)"),
            _("Beyond it, training rests until you make room."),
        ),
        limit_row(
            "terms.max_memory",
            _("Memory of the device (GB)"),
            _("A GPU's own, or on a CPU the computer's. Takes effect when training next starts."),
        ),
        limit_row(
            "threads",
            _("CPU threads"),
            _("Takes effect when training next starts."),
            placeholder=_("all cores but one"),
        ),
    )
