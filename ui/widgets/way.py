"""A card for one of several ways to go on: what it means, and its button."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from ui.style.icons import ThemedPicture
from ui.style.theme import Theme
from ui.widgets.card import Card, words
from ui.widgets.labels import label


def way_card(icon: str, title: str, text: str, way: QPushButton, theme: Theme) -> Card:
    """A picture and a title, a sentence or two, and the button below them."""
    card = Card(title)
    picture = label()
    ThemedPicture(picture, icon, theme, color="accent_text")
    head = QHBoxLayout()
    head.setSpacing(8)
    head.addWidget(picture)
    head.addWidget(label(title, "strong", wrap=True), 1)
    card.column.addLayout(head)
    card.column.addWidget(words(text), 1)
    card.column.addWidget(way, 0, Qt.AlignmentFlag.AlignLeft)
    return card
