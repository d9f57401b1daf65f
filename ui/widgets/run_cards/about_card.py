"""A card with what a swarm is for, as its invite says."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel

from app.common.i18n import _
from app.spec.about import AboutSpec, in_words
from ui.widgets.card import Card
from ui.widgets.labels import label

GAP = 16


class AboutCard(Card):
    """Rows of label and text. Hidden while nothing is said."""

    def __init__(self) -> None:
        super().__init__(_("What this swarm is for"))
        self._rows = QGridLayout()
        self._rows.setHorizontalSpacing(GAP)
        self._rows.setColumnStretch(1, 1)
        self._shown: dict[str, str] = {}
        self.note = label(role="small", wrap=True)
        self.column.addWidget(label(_("What this swarm is for"), "strong"))
        self.column.addLayout(self._rows)
        self.column.addWidget(self.note)
        self.hide()

    def show_about(self, about: AboutSpec | None, *, note: str = "") -> None:
        """Show it. note: how far it may be believed."""
        said = in_words(about)
        if said != self._shown:
            self._shown = said
            self._fill(said)
        self.note.setText(note)
        self.note.setVisible(bool(note))
        self.setVisible(bool(said))

    def _fill(self, said: dict[str, str]) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        top = Qt.AlignmentFlag.AlignTop
        for row, (what, text) in enumerate(said.items()):
            self._rows.addWidget(label(what, "muted"), row, 0, top)
            self._rows.addWidget(_text(text, what), row, 1)


def _text(text: str, name: str) -> QLabel:
    """Plain, and to be copied: a contact is never made a link, whatever its scheme."""
    made = label(text, wrap=True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setAccessibleName(f"{name}: {made.text()}")
    return made
