"""What one sees before there is a swarm: how this goes, in three steps."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.i18n import _
from ui.icons import ThemedPicture
from ui.theme import Theme
from ui.widgets.card import Card
from ui.widgets.labels import label


class Welcome(QWidget):
    """Three cards, side by side."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(16)
        for icon, title, text in _steps():
            row.addWidget(_step(icon, title, text, theme), 1)


def _steps() -> tuple[tuple[str, str, str], ...]:
    return (
        (
            "open",
            _("Get into a swarm"),
            _(
                "Whoever runs a training gives you a swarm file (.cotrain). Open it here, or drop"
                " it onto this window. The demo swarm needs none: it runs on this machine alone,"
                " with a second peer beside yours."
            ),
        ),
        (
            "start",
            _("Train when you like"),
            _(
                "You first only watch. Your device starts to work when you press Start training,"
                " and rests when you pause or stop. What it has learnt stays in a checkpoint."
            ),
        ),
        (
            "share",
            _("What leaves this machine"),
            _(
                "Other peers get what was learnt (gradients and the model's parameters), your"
                " peer id and network address. Your files stay here, and a swarm file can never"
                " carry code."
            ),
        ),
    )


def _step(icon: str, title: str, text: str, theme: Theme) -> Card:
    card = Card(title)
    picture = label()
    ThemedPicture(picture, icon, theme, color="accent_text")
    head = QHBoxLayout()
    head.setSpacing(8)
    head.addWidget(picture)
    head.addWidget(label(title, "strong", wrap=True), 1)
    words = label(text, "muted", wrap=True)
    words.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    column = QVBoxLayout()
    column.setSpacing(8)
    column.addLayout(head)
    column.addWidget(words, 1)
    card.column.addLayout(column)
    return card
