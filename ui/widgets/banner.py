"""The problem banner: what is wrong, and what to do about it. It blocks no other control."""

from PySide6.QtCore import QObject
from PySide6.QtGui import QAccessible, QAccessibleEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from app.common.i18n import _
from app.common.plain import one_line
from app.state.facts import Problem
from ui.style.icons import ThemedPicture
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.buttons import button, icon_button
from ui.widgets.labels import label

OF_THE_NETWORK = frozenset({"initial_peers", "dht_port"})
"""For problems with these settings, the banner offers the connection check."""

MOST = 240
"""Characters of message and of remedy that are shown, since the banner takes room from each page;
the tool tip has the rest."""


class Banner(QFrame):
    """Visible while there is a problem. Whoever lays it out puts it above all pages."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setProperty("card", "problem")
        self._shown: Problem | None = None
        self.message = label(role="strong", wrap=True)
        self.remedy = label(role="muted", wrap=True)
        self.check = button(_("Check connection…"), "quiet")
        self.dismiss = icon_button("close", _("Dismiss the problem"), theme)
        picture = label()
        ThemedPicture(picture, "warning", theme, color="danger")
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(self.message)
        words.addWidget(self.remedy)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 10, 8, 10)
        row.setSpacing(12)
        row.addWidget(picture)
        row.addLayout(words, 1)
        row.addWidget(self.check)
        row.addWidget(self.dismiss)
        self.hide()

    def show_problem(self, problem: Problem | None) -> None:
        """Show a problem; None hides the banner."""
        if problem == self._shown:
            return
        self._shown = problem
        self.setVisible(problem is not None)
        if problem is not None:
            self._say(problem)

    def _say(self, problem: Problem) -> None:
        sentence = texts.problem_sentence(problem)
        for place, text in ((self.message, sentence), (self.remedy, problem.remedy)):
            shown = one_line(text, most=MOST)
            place.setText(shown)
            set_tool_tip(place, text if shown != text else "")
        self.remedy.setVisible(bool(problem.remedy))
        self.check.setVisible(problem.field in OF_THE_NETWORK)
        self.setAccessibleName(f"{sentence} {problem.remedy}".rstrip())
        announce(self)


def announce(widget: QObject) -> None:
    """Let a screen reader read a widget's accessible name, although the focus is elsewhere."""
    QAccessible.updateAccessibility(QAccessibleEvent(widget, QAccessible.Event.Alert))
