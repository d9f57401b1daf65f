"""Shown instead of a table or page that has no content yet: why, and what to do."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from ui.style.icons import ThemedPicture
from ui.style.theme import Theme
from ui.widgets.labels import label

TEXT_WIDTH = 440


class EmptyState(QWidget):
    """An icon, a title and one or two sentences, centred."""

    def __init__(self, icon: str, theme: Theme) -> None:
        super().__init__()
        picture = label()
        ThemedPicture(picture, icon, theme, color="muted")
        self.title, self.text = label(role="strong"), label(role="muted", wrap=True)
        self.text.setFixedWidth(TEXT_WIDTH)
        self.text.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        row = QHBoxLayout()  # gives the text the height that it needs at this width
        row.addStretch()
        row.addWidget(self.text)
        row.addStretch()
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addStretch()
        for part in (picture, self.title):
            column.addWidget(part, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addLayout(row)
        column.addStretch()

    def say(self, title: str, text: str) -> None:
        """Set the title and the text that say why there is no content."""
        self.title.setText(title)
        self.text.setText(text)
