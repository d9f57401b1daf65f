"""What stands where there is nothing to show yet: why, and what to do."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from ui.icons import ThemedPicture
from ui.theme import Theme
from ui.widgets.labels import label


class Empty(QWidget):
    """A picture, a title and a sentence or two, in the middle."""

    def __init__(self, icon: str, theme: Theme) -> None:
        super().__init__()
        picture = label()
        ThemedPicture(picture, icon, theme, color="muted")
        self.title, self.text = label(role="strong"), label(role="muted", wrap=True)
        self.text.setMaximumWidth(480)
        self.text.setMinimumWidth(320)
        self.text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addStretch()
        for part in (picture, self.title, self.text):
            column.addWidget(part, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch()

    def say(self, title: str, text: str) -> None:
        """Say why there is nothing."""
        self.title.setText(title)
        self.text.setText(text)
