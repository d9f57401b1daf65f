"""A card for one of several options: what it means, and its button."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from ui.style.icons import ThemedPicture
from ui.style.theme import Theme
from ui.widgets.card import Card, body_text
from ui.widgets.labels import label


def option_card(icon: str, title: str, text: str, button: QPushButton, theme: Theme) -> Card:
    """A card with an icon and a title, one or two sentences, and the button below them."""
    card = Card(title)
    picture = label()
    ThemedPicture(picture, icon, theme, color="accent_text")
    head = QHBoxLayout()
    head.setSpacing(8)
    head.addWidget(picture)
    head.addWidget(label(title, "strong", wrap=True), 1)
    card.column.addLayout(head)
    card.column.addWidget(body_text(text), 1)
    card.column.addWidget(button, 0, Qt.AlignmentFlag.AlignLeft)
    return card
