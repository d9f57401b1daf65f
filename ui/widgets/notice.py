"""A warning: a sign and a text in a frame."""

from PySide6.QtWidgets import QFrame, QHBoxLayout

from ui.style.icons import ThemedPicture
from ui.style.theme import Theme
from ui.widgets.labels import label


class Notice(QFrame):
    """A warning. serious: in the colour of a problem instead of a caution."""

    def __init__(self, theme: Theme, *, serious: bool = False) -> None:
        super().__init__()
        self.setProperty("card", "problem" if serious else "caution")
        picture, self.text = label(), label(wrap=True)
        ThemedPicture(picture, "warning", theme, color="danger" if serious else "caution")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 12, 8)
        row.setSpacing(12)
        row.addWidget(picture)
        row.addWidget(self.text, 1)

    def say(self, text: str) -> None:
        """Set the text."""
        self.text.setText(text)
        self.setAccessibleName(text)
