"""The dialog to start a swarm: four questions, and behind *More* all fields of a spec."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.common.errors import SpecError, UserFacingError
from app.common.i18n import _, ngettext
from app.spec.form import draft
from app.spec.form.names import relevant
from app.spec.form.sizes import resized
from ui.dialogs.dialog import resize_on_screen
from ui.dialogs.line import LineCard
from ui.dialogs.start.advice import StrategyAdvice
from ui.dialogs.start.fields import questions, sections, title_field
from ui.dialogs.start.following import FollowingFields
from ui.dialogs.start.mixture import MixtureRows
from ui.dialogs.start.section import FoldedCards, SectionCard
from ui.dialogs.start.size import SizeCard
from ui.models.session_model import SessionModel
from ui.texts import costs, units
from ui.texts import states as texts
from ui.widgets.buttons import button
from ui.widgets.forms.fields import Field
from ui.widgets.labels import label, restyle

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

CHECK_MS = 200
"""Delay after the last key, before the form is checked and the memory is estimated."""

_CHOICES = (
    "dataset_info.source",
    "dataset_info.tokenizer.kind",
    "evaluation.text",
    "organiser.access",
    "pretrained.source",
    "training_params.adapters.train",
    "training_params.strategy",
)
"""Fields that decide which other fields are shown."""


class StartDialog(QDialog):
    """The title and four questions (size, data, who may join, what for), all else folded away; a
    line with the estimated figures, and the choice to train at once."""

    accepted_spec = Signal(object, bool)
    """Carries the `SwarmSpec` to start, and whether to train at once."""

    def __init__(self, model: SessionModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model
        self._own_run_id = False  # the user typed the run id; it no longer follows the title
        self._tried = False
        self.title = title_field()
        self.line, self.advice = LineCard(model), StrategyAdvice()
        self.sizes = SizeCard(self.line.asked, self.advice)
        self.mixture = MixtureRows()
        self._asked = [SectionCard(section) for section in questions()]
        self._data = self._asked[0]
        self.folded = FoldedCards([SectionCard(section) for section in sections()], self.line)
        self.cards = [*self._asked, *self.folded.cards]
        self.fields = {"title": self.title}
        """From top to bottom by their names in `app.spec.form.names`, but for those of a mixture's
        parts."""
        for card in self.cards:
            self.fields |= card.fields
        self.strategy = FollowingFields({n: self.fields[n] for n in draft.strategy_fields()})
        self.area = QScrollArea()
        self.summary = label(wrap=True)
        self.train = QCheckBox(_("Train on this machine at once"))
        self.cancel = button(_("Cancel"))
        self.start = button(_("Start the swarm"), "primary")
        self._checking = QTimer(self, singleShot=True, interval=CHECK_MS)
        self._lay_out()
        self._connect()
        self._follow_title("")
        self._follow_choices()
        self._check()

    def _lay_out(self) -> None:
        self.setWindowTitle(_("Start a swarm"))
        resize_on_screen(self, 760, 640)
        self.train.setChecked(True)
        page = QWidget()
        page.setObjectName("page")
        cards = QVBoxLayout(page)
        cards.setContentsMargins(0, 0, 8, 0)
        cards.setSpacing(12)
        for part in (self.title, self.sizes, *self._asked, self.folded):
            cards.addWidget(part)
        cards.addStretch(1)
        self._data.column.addWidget(self.mixture)
        self.area.setWidget(page)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it scrolls to the focused field itself
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.addWidget(label(_("Start a swarm"), "page"))
        column.addWidget(self.area, 1)
        column.addWidget(self.summary)
        column.addLayout(self._buttons())

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.train)
        row.addStretch()
        row.addWidget(self.cancel)
        row.addWidget(self.start)
        self.start.setDefault(True)
        self.cancel.setAutoDefault(False)
        return row

    def _connect(self) -> None:
        for field in self.fields.values():
            field.edited.connect(self._checking.start)
        self.mixture.edited.connect(self._checking.start)
        self.mixture.changed.connect(self._follow_choices)
        self.mixture.changed.connect(self._checking.start)
        self.fields["title"].edited.connect(lambda: self._follow_title(self.fields["title"].value))
        self.fields["run_id"].edited.connect(self._on_run_id)
        for name in _CHOICES:
            self.fields[name].edited.connect(self._follow_choices)
        self.line.changed.connect(self._checking.start)
        self.advice.taken.connect(self._take)
        self.sizes.picked.connect(self._resize_model)
        self.sizes.outdated.connect(self._checking.start)
        self._model.changed.connect(self.sizes.look_at)
        self.folded.more.toggled.connect(
            lambda _open: QTimer.singleShot(
                0, self, lambda: self.area.verticalScrollBar().setValue(self.folded.y())
            )
        )
        self._checking.timeout.connect(self._check)
        self.cancel.clicked.connect(self.reject)
        self.start.clicked.connect(self.try_to_start)

    # --- fields that depend on others

    def _follow_title(self, title: str) -> None:
        if not self._own_run_id:
            field = self.fields["run_id"]
            blocked = field.control.blockSignals(True)
            field.set_value(draft.suggested_run_id(title))
            field.control.blockSignals(blocked)

    def _on_run_id(self) -> None:
        self._own_run_id = bool(self.fields["run_id"].value.strip())

    def _follow_choices(self) -> None:
        values = self.values
        for name, field in self._all_fields.items():
            field.relevant = relevant(name, values)
        for card in self.cards:
            card.arrange()
        self.mixture.arrange()
        self.mixture.setVisible(self._is_mixed)

    def _resize_model(self, size: str) -> None:
        """Fill in a size, with the strategy that is recommended for it."""
        before = self.strategy.before(self.values)
        new = {**before, **resized(before, size)}
        with self.strategy.filling():
            for name, field in self.fields.items():
                if field.value != new[name]:
                    field.set_value(new[name])
        self._take()

    def _take(self) -> None:
        """Fill in what is recommended for the form, now and as it changes."""
        self.strategy.follow()
        self._check()

    # --- checking

    @property
    def _is_mixed(self) -> bool:
        return self.fields["dataset_info.source"].value == "mixture"

    @property
    def _all_fields(self) -> dict[str, Field]:
        """From top to bottom, with those of a mixture's parts if there is one."""
        found: dict[str, Field] = {"title": self.title}
        for card in self.cards:
            found |= card.fields
            if card is self._data and self._is_mixed:
                found |= self.mixture.fields
        return found

    @property
    def values(self) -> dict[str, str]:
        """The form's values as text, by the fields' names in `app.spec.form.names`."""
        return {name: field.value for name, field in self._all_fields.items()}

    @property
    def organiser(self) -> tuple[str, bool] | None:
        """How the spec is to be signed: by which name, and whether the swarm is closed."""
        access = self.fields["organiser.access"].value
        return None if access == "open" else (self.values["organiser.name"], access == "closed")

    def _check(self) -> "tuple[SwarmSpec | None, dict[str, SpecError]]":
        """Check all values. Mistakes are marked only after the user has tried to start."""
        self._checking.stop()
        spec, wrong = draft.check(self.values)
        self._show_line(spec)
        if spec is not None and self.strategy.take(self.advice.values):
            spec, wrong = draft.check(self.values)
            self._show_line(spec)
        self.sizes.show_values(self.values, spec, self._model.state, self.line.assumed())
        if spec is not None:
            self._say(self._what_it_takes(spec))
        else:
            count = len(wrong)
            text = ngettext("{count} value is wrong.", "{count} values are wrong.", count)
            self._say(text.format(count=count), wrong=True)
        if self._tried:
            for name, field in self._all_fields.items():
                field.show_problem(wrong.get(name))
        return spec, wrong

    def _show_line(self, spec: "SwarmSpec | None") -> None:
        state = self._model.state
        try:
            self.line.show_spec(spec, state)
            before, _wrong = draft.check(self.strategy.before(self.values))
            self.advice.show_spec(spec, state, self.line.assumed(), before=before)
        except UserFacingError:  # the model's sizes make no sense, which the summary says
            self.line.show_spec(None, state)
            self.advice.show_spec(None, state, None, before=None)

    def _what_it_takes(self, spec: "SwarmSpec") -> str:
        device = costs.chosen_device(self._model.state)
        try:
            found = costs.estimate_for(spec, device)
        except UserFacingError as error:
            return texts.error_text(error)
        facts = costs.facts(spec, found, device)
        parameters = _("{number} parameters").format(number=units.short(found.parameters))
        memory = _("memory {size}").format(size=facts["memory"])
        line = costs.about_line(spec, found, self._model.state)
        return "\n".join(
            (
                texts.DOT.join((parameters, memory)),
                *(each.text for each in line),
            )
        )

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self.summary.setText(text)
        restyle(self.summary, "role", "error" if wrong and self._tried else "muted")

    def try_to_start(self) -> None:
        """Start the swarm if all values are right; else mark the mistakes and go to the first."""
        self._tried = True
        spec, wrong = self._check()
        if spec is not None:
            self.accepted_spec.emit(spec, self.train.isChecked())
            self.accept()
            return
        self._go_to(next(field for name, field in self._all_fields.items() if name in wrong))

    def _go_to(self, field: Field) -> None:
        self.folded.open_for(field)
        field.control.setFocus(Qt.FocusReason.OtherFocusReason)
        QTimer.singleShot(0, field, lambda: self.area.ensureWidgetVisible(field))
