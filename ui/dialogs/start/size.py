"""The question how large the model is to be: a few sizes, each with how long it would take."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QLabel, QRadioButton, QWidget

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.protocol import Device
from app.spec.form.names import Values
from app.spec.form.sizes import (
    MODEL_SIZES,
    TOKENS_A_PARAMETER,
    size_of,
    spec_of_size,
    training_seconds,
)
from app.state.state import ContributorState
from ui.texts import costs, units
from ui.texts import line as texts
from ui.texts.states import DOT
from ui.widgets.card import Card
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

OWN = ""
"""Sizes that are none of `MODEL_SIZES`: not to be chosen, but what is shown then."""

HOUR, DAY = 3600.0, 24 * 3600.0
MOST_HOURS, MOST_DAYS = 72, 100
GAP = 16


class SizeCard(Card):
    """Rows to choose from. asked: for which machines and lines. advice: which strategy suits."""

    picked = Signal(str)
    """The user wants a size: a key of `MODEL_SIZES`."""

    outdated = Signal()
    """Another device was chosen than the one that the times are for, or it is known by now."""

    def __init__(self, asked: QWidget, advice: QWidget) -> None:
        super().__init__(_("How large?"))
        self.column.setSpacing(12)
        self.buttons: dict[str, QRadioButton] = {}
        self.words: dict[str, QLabel] = {}
        self.note = label(role="small", wrap=True)
        self._group = QButtonGroup(self)
        self._device: Device | None = None
        self.column.addWidget(label(_("1. How large?"), "strong"))
        self.column.addLayout(self._rows())
        for part in (self.note, asked, advice):
            self.column.addWidget(part)

    def _rows(self) -> QGridLayout:
        rows = QGridLayout()
        rows.setHorizontalSpacing(GAP)
        rows.setVerticalSpacing(0)
        rows.setColumnStretch(1, 1)
        for row, (key, name) in enumerate(_names().items()):
            made = QRadioButton(name)
            made.clicked.connect(lambda _checked, key=key: self.picked.emit(key))
            self.buttons[key], self.words[key] = made, label(role="muted", wrap=True)
            self._group.addButton(made)
            rows.addWidget(made, row, 0)
            rows.addWidget(self.words[key], row, 1, Qt.AlignmentFlag.AlignVCenter)
        return rows

    def show_values(
        self,
        values: Values,
        spec: "SwarmSpec | None",
        state: ContributorState,
        assumed: tuple[float, int] | None,
    ) -> None:
        """Show which size the form has, and what each one is.

        spec: of the form, None if it is wrong. assumed: Mbit/s of each line and the number of
        machines, None if these are.
        """
        self._device = costs.chosen_device(state)
        chosen = size_of(values)
        self.buttons[OWN].setEnabled(chosen == OWN)
        self.buttons[chosen].setChecked(True)
        for key, words in self.words.items():
            shown = spec if key == chosen else None
            if shown is None and key != OWN:
                shown = spec_of_size(values, key)
            text = _words(shown, state, assumed, as_it_is=key == chosen)
            words.setText(text)
            self.buttons[key].setAccessibleDescription(text)
        self.note.setText(_note(spec, state, assumed))

    def look_at(self, state: ContributorState) -> None:
        """Say that a state makes the times outdated, if it does."""
        if costs.chosen_device(state) != self._device:
            self.outdated.emit()


def _names() -> dict[str, str]:
    """The sizes in words, by their keys."""
    names = {
        "tiny": _("Tiny, to try out"),
        "small": _("Small"),
        "medium": _("Medium"),
        "gpt2": _("As GPT-2's smallest"),
        "large": _("Large"),
    }
    assert names.keys() == MODEL_SIZES.keys()
    return {**names, OWN: _("As set under More")}


def _words(
    spec: "SwarmSpec | None",
    state: ContributorState,
    assumed: tuple[float, int] | None,
    *,
    as_it_is: bool,
) -> str:
    """A model's parameters, and how long it would take by the strategy that is recommended for it,
    which choosing it brings along. as_it_is: the form has it, perhaps with another strategy."""
    count = _parameters(spec, state)
    if spec is None or count is None:
        return ""
    parts = [_("{number} parameters").format(number=units.short(count))]
    times = _times(spec, state, assumed)
    if times is not None:
        own, recommended = map(about, times)
        parts.append(own if as_it_is else recommended)
        if as_it_is and own != recommended:
            parts.append(_("as recommended below: {time}").format(time=recommended))
    return DOT.join(parts)


def _parameters(spec: "SwarmSpec | None", state: ContributorState) -> int | None:
    """None where the model's sizes make no sense, which the summary says."""
    if spec is None:
        return None
    try:
        return costs.estimate_for(spec, costs.chosen_device(state)).parameters
    except UserFacingError:
        return None


def _times(
    spec: "SwarmSpec", state: ContributorState, assumed: tuple[float, int] | None
) -> tuple[float, float] | None:
    """Seconds, by the spec's strategy and by the recommended one; None where nothing is known: of
    the device, the machines, their lines, or how much weights to begin with have to learn."""
    from app.spec.line import recommend

    if assumed is None or costs.chosen_device(state) is None or spec.pretrained is not None:
        return None
    uplink, peers = assumed
    swarm = texts.swarm_on_lines(spec, state, uplink=uplink, peers=peers)
    best = recommend(spec, swarm).spec
    return training_seconds(spec, swarm), training_seconds(best, swarm)


def about(seconds: float) -> str:
    """A rough duration, as exact as such an estimate is."""
    hours, days = round(seconds / HOUR), round(seconds / DAY)
    if seconds < HOUR:
        return _("less than an hour")
    if hours <= MOST_HOURS:
        return ngettext("about {count} hour", "about {count} hours", hours).format(count=hours)
    if days <= MOST_DAYS:
        return ngettext("about {count} day", "about {count} days", days).format(count=days)
    return _("more than {count} days").format(count=MOST_DAYS)


def _note(
    spec: "SwarmSpec | None", state: ContributorState, assumed: tuple[float, int] | None
) -> str:
    """What the times are of."""
    device = costs.chosen_device(state)
    if device is None:
        return _("How long each takes is estimated once this machine's devices are known.")
    if assumed is None:
        return ""
    count = _parameters(spec, state)
    kind = _("a usual GPU") if costs.device_kind(device) == "gpu" else _("a usual CPU")
    if count and texts.measured_speed(state, parameters=count) is not None:
        kind = _("this machine as it trains now")
    text = ngettext(
        "Estimates, not promises: for {count} machine that computes as {kind}, and {tokens} tokens"
        " a parameter. Easily wrong by a factor of two.",
        "Estimates, not promises: for {count} machines that compute as {kind}, and {tokens} tokens"
        " a parameter. Easily wrong by a factor of two.",
        assumed[1],
    )
    return text.format(count=units.count(assumed[1]), kind=kind, tokens=TOKENS_A_PARAMETER)
