"""Cards of the form: fields, and those that hardly anybody changes behind a button."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.common.i18n import _
from ui.dialogs.start.fields import SpecSection
from ui.widgets.buttons import button
from ui.widgets.card import Card
from ui.widgets.forms.fields import Field, FieldGrid
from ui.widgets.labels import label


class SectionCard(Card):
    """A section of the form."""

    def __init__(self, section: SpecSection) -> None:
        super().__init__(section.title)
        self.column.setSpacing(12)
        self.fields = {**section.fields, **section.more}
        """By their names in `app.spec.form.names`."""
        self._more_fields = tuple(section.more.values())
        self._grid = FieldGrid(tuple(section.fields.values()))
        self._more_grid = FieldGrid(self._more_fields)
        self.more = button(_("More…"), "quiet")
        self.more.setCheckable(True)
        self.more.setAutoDefault(False)
        self.more.setAccessibleName(_("More fields: {section}").format(section=section.title))
        head = QHBoxLayout()
        head.addWidget(label(section.title, "strong"), 1)
        head.addWidget(self.more)
        self.column.addLayout(head)
        self.column.addWidget(self._grid)
        self.column.addWidget(self._more_grid)
        self.more.toggled.connect(self._show_more)
        self._show_more(False)

    def _show_more(self, wanted: bool) -> None:
        self._more_grid.setVisible(wanted)
        self.more.setText(_("Fewer") if wanted else _("More…"))

    def arrange(self) -> None:
        """Show the fields that are relevant, and hide the others."""
        self._grid.arrange()
        self._more_grid.arrange()
        self.more.setVisible(any(field.relevant for field in self._more_fields))

    def open_for(self, field: Field) -> None:
        """Show a field of this card."""
        if field in self._more_fields:
            self.more.setChecked(True)


class FoldedCards(QWidget):
    """Sections behind a button, with what the swarm costs on a line above those of averaging."""

    def __init__(self, cards: Sequence[SectionCard], line: QWidget) -> None:
        super().__init__()
        self.cards = cards
        self.more = button("", "quiet")
        self.more.setCheckable(True)
        self.more.setAutoDefault(False)
        self._rest = QWidget()
        rest = QVBoxLayout(self._rest)
        rest.setContentsMargins(0, 0, 0, 0)
        rest.setSpacing(12)
        for card in cards:
            if "training_params.strategy" in card.fields:
                rest.addWidget(line)
            rest.addWidget(card)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self.more, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._rest)
        self.more.toggled.connect(self._show)
        self._show(False)

    def _show(self, wanted: bool) -> None:
        self._rest.setVisible(wanted)
        self.more.setText(
            _("Fewer") if wanted else _("More: model, training, averaging, evaluation, end…")
        )

    def open_for(self, field: Field) -> None:
        """Show a field, if it is of these sections."""
        for card in self.cards:
            if field in card.fields.values():
                self.more.setChecked(True)
                card.open_for(field)
