"""Cards: an empty frame, one with rows of label and value, one with a text."""

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ui.widgets.labels import ElidedLabel, label, line

ROW_HEIGHT = 28
CONTROL_HEIGHT = 32


class Card(QFrame):
    """A frame on a page; put its content into ``column``. name: for screen readers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.setAccessibleName(name)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(16, 14, 16, 14)
        self.column.setSpacing(8)


class FactsCard(Card):
    """Rows of label and value. The labels are fixed; the values change with the state."""

    def __init__(self, title: str, rows: Mapping[str, str]) -> None:
        """rows: each row's label, by the name that `show_values` uses."""
        super().__init__(title)
        self.column.setSpacing(0)
        self._values: dict[str, ElidedLabel] = {}
        self._ends: dict[str, QHBoxLayout] = {}
        self.header = QHBoxLayout()
        self.header.addWidget(label(title, "strong"))
        self.header.addStretch()
        head = QWidget()
        head.setFixedHeight(CONTROL_HEIGHT)
        head.setLayout(self.header)
        self.header.setContentsMargins(0, 0, 0, 4)
        self.column.addWidget(head)
        for name, text in rows.items():
            self._add_row(name, text)
        self.column.addStretch()

    def _add_row(self, name: str, text: str) -> None:
        value = ElidedLabel(role="strong", right=True)
        row = QWidget()
        row.setMinimumHeight(ROW_HEIGHT)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(label(text, "muted"))
        layout.addWidget(value, 1)
        self.column.addWidget(line())
        self.column.addWidget(row)
        self._values[name] = value
        self._ends[name] = layout

    def add_control(self, name: str, control: QWidget) -> None:
        """Add a control to the end of a row."""
        self._ends[name].addWidget(control)

    def add_below(self, below: QWidget) -> None:
        """Add a widget under the rows."""
        below.setContentsMargins(0, 8, 0, 0)
        self.column.insertWidget(self.column.count() - 1, below)

    def show_values(self, values: Mapping[str, str]) -> None:
        """Set the values of some rows, by the rows' names."""
        for name, text in values.items():
            self._values[name].set_full(text)

    def value(self, name: str) -> str:
        """A row's whole value, even if it is elided."""
        return self._values[name].full


def titled_card(title: str) -> Card:
    """A card with a title, for larger content such as a form."""
    card = Card(title)
    card.column.setSpacing(12)
    card.column.addWidget(label(title, "strong"))
    return card


def body_text(text: str) -> QLabel:
    """A muted, wrapped text, aligned to the top."""
    made = label(text, "muted", wrap=True)
    made.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    return made


def text_card(title: str, text: str) -> Card:
    """A card with a title and a text."""
    card = Card(title)
    card.column.addWidget(label(title, "strong"))
    card.column.addWidget(body_text(text), 1)
    return card
