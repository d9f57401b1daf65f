"""The preview of a swarm: what it is, what it takes, and what leaves this machine."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.common.i18n import _
from app.organiser.known import Acquaintance, Standing
from app.state.state import ContributorState
from app.swarm.organisation import vouched
from ui.dialogs.join.files import FilesCard
from ui.dialogs.join.look_row import LookRow
from ui.dialogs.line import LineCard
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.texts import costs
from ui.texts import specs as spec_texts
from ui.texts import states as texts
from ui.texts.costs import Caution
from ui.widgets.buttons import button
from ui.widgets.card import Card, FactsCard, text_card
from ui.widgets.labels import ElidedLabel, label
from ui.widgets.notice import Notice
from ui.widgets.run_cards.about_card import AboutCard

if TYPE_CHECKING:
    from app.spec.estimate import Estimate
    from app.spec.schema import SwarmSpec


class Preview(QScrollArea):
    """Shows a spec with its estimated figures and warnings."""

    doubts_changed = Signal()
    """`is_doubtful` may have changed."""

    def __init__(self, theme: Theme, model: SessionModel) -> None:
        super().__init__()
        self._theme, self._model = theme, model
        self._spec: SwarmSpec | None = None
        self._shown: tuple[object, ...] = ()
        self._changed = False
        self.title = ElidedLabel(role="page")
        self.subtitle = label(role="muted", wrap=True)
        self.signer = label(role="muted", wrap=True)
        self.forged = Notice(theme, serious=True)
        self.trust = QCheckBox(_("I have asked the organiser: this is the right one"))
        self.look = LookRow(model)
        self.about = AboutCard()
        self.cautions = QVBoxLayout()
        self.files = FilesCard(model)
        self.facts = FactsCard(_("What it takes"), _rows())
        self.line = LineCard(model)
        self.why = button(_("How is this computed?"), "quiet")
        self.explanation = Card(_("How the figures are computed"))
        self._lay_out()

    def _lay_out(self) -> None:
        page = QWidget()
        page.setObjectName("page")
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(12)
        column.addWidget(self.title)
        column.addWidget(self.subtitle)
        for widget in (self.signer, self.forged, self.trust):
            column.addWidget(widget)
            widget.hide()
        column.addWidget(self.look)
        column.addWidget(self.about)
        self.cautions.setSpacing(8)
        column.addLayout(self.cautions)
        column.addWidget(self.files)
        column.addLayout(self._cards())
        column.addWidget(self.explanation)
        column.addStretch()
        self.explanation.hide()
        self.trust.toggled.connect(lambda _trusts: self.doubts_changed.emit())
        self.why.setCheckable(True)
        self.why.toggled.connect(self._open_explanation)
        self.line.changed.connect(self._show_line)
        self.facts.header.addWidget(self.why)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName(_("What joining means"))

    def _open_explanation(self, wanted: bool) -> None:
        self.explanation.setVisible(wanted)
        if wanted:  # it is often below the visible part; its position is known after the layout
            QTimer.singleShot(0, self, self._scroll_to_explanation)

    def _scroll_to_explanation(self) -> None:
        self.verticalScrollBar().setValue(self.explanation.y())

    def _cards(self) -> QVBoxLayout:
        cards = QVBoxLayout()
        cards.setSpacing(12)
        cards.addWidget(self.facts)
        cards.addWidget(self.line)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(text_card(_("Leaves this machine"), costs.what_leaves()), 1)
        row.addWidget(text_card(_("Stays here"), costs.what_stays()), 1)
        cards.addLayout(row)
        return cards

    def show_spec(self, spec: "SwarmSpec", state: ContributorState, *, known: bool = False) -> None:
        """Show a swarm, with the figures for the device that is chosen in this state.

        known: it is one of the recent ones.
        """
        self._shown = ()
        for widget in (self.signer, self.forged, self.trust):
            widget.hide()
        self.trust.setChecked(False)
        self._changed = False
        self.doubts_changed.emit()
        self.why.setChecked(False)
        self.verticalScrollBar().setValue(0)
        self._spec = spec
        self.about.show_about(spec.about, note=spec_texts.about_note(spec))
        self.look.show_spec(spec, known=known)
        self.line.begin(spec, state)
        self.reconsider(state)
        self.files.show_spec(spec)

    def show_organiser(self, spec: "SwarmSpec", judged: Acquaintance) -> None:
        """Show who signed the spec, and whether we know them."""
        changed = judged.standing is Standing.CHANGED
        text = vouched(spec, judged)
        self.signer.setText(text)
        self.forged.say(text)
        self.signer.setVisible(judged.standing in (Standing.NEW, Standing.KNOWN))
        self.forged.setVisible(changed)
        self.trust.setVisible(changed)
        self._changed = changed
        self.doubts_changed.emit()

    @property
    def is_doubtful(self) -> bool:
        """Another organiser than before has signed, and the user hasn't accepted that."""
        return self._changed and not self.trust.isChecked()

    @property
    def trusts(self) -> bool:
        """The user accepts that another organiser than before has signed."""
        return not self.trust.isHidden() and self.trust.isChecked()

    def reconsider(self, state: ContributorState) -> None:
        """Update the figures and warnings if the device or the swarm we are in changed."""
        device = costs.chosen_device(state)
        now = (device, state.swarm, bool(state.peer_id))
        if self._spec is None or now == self._shown:
            return
        self._shown = now
        estimated = costs.estimate_for(self._spec, device)
        self.title.set_full(self._spec.name)
        parts = [costs.subtitle(self._spec, estimated)]
        if self._spec.data.source == "mixture":
            parts.append(spec_texts.shares(self._spec.data))
        self.subtitle.setText("\n".join(parts))
        self.facts.show_values(costs.facts(self._spec, estimated, device))
        self.line.show_spec(self._spec, state)
        self._explain(estimated, state)
        _fill(self.cautions, [self._caution(each) for each in self._cautions(estimated, state)])

    def _show_line(self) -> None:
        if self._spec is not None:
            self.line.show_spec(self._spec, self._model.state)

    def _cautions(self, estimated: "Estimate", state: ContributorState) -> tuple[Caution, ...]:
        assert self._spec is not None
        return costs.cautions(self._spec, estimated, state)

    def _explain(self, estimated: "Estimate", state: ContributorState) -> None:
        device = costs.chosen_device(state)
        parts: list[QWidget] = []
        if device is not None:
            parts.append(
                label(_("For {device}").format(device=texts.device_label(device)), "muted")
            )
        for heading, lines in costs.explanation(estimated, device):
            parts.append(label(heading, "strong"))
            parts.append(label(lines, "muted", wrap=True))
        _fill(self.explanation.column, parts)

    def _caution(self, caution: Caution) -> QWidget:
        made = Notice(self._theme, serious=caution.serious)
        made.say(caution.text)
        return made


def _rows() -> dict[str, str]:
    return {
        "memory": _("Memory"),
        "disk": _("Disk"),
        "samples": _("The swarm averages every"),
    }


def _fill(layout: QVBoxLayout, widgets: list[QWidget]) -> None:
    """Replace all widgets of a layout."""
    while (item := layout.takeAt(0)) is not None:
        if (old := item.widget()) is not None:
            old.hide()
            old.deleteLater()
    for widget in widgets:
        layout.addWidget(widget)
