"""Shown outside of a swarm: four ways into one, and what leaves this machine."""

from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from app.common.i18n import _
from ui.models.actions import Actions
from ui.style.theme import Theme
from ui.widgets.buttons import button
from ui.widgets.card import Card, text_card
from ui.widgets.option_card import option_card


class Welcome(QWidget):
    """Four cards, each with a button, and a text below them."""

    def __init__(self, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self.join = button(_("Join a swarm…"))
        self.start = button(_("Start a swarm…"))
        self.offers = button(_("See what is offered…"))
        self.demo = button(_("Try the demo swarm"))
        grid = QGridLayout()
        grid.setSpacing(16)
        for place, card in enumerate(self._ways()):
            grid.addWidget(card, *divmod(place, 2))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addLayout(grid)
        column.addWidget(self._what_leaves())
        self._connect(actions)

    def _connect(self, actions: Actions) -> None:
        self.join.clicked.connect(lambda: actions.join_wanted.emit(""))
        self.start.clicked.connect(actions.start_wanted)
        self.offers.clicked.connect(actions.offers_wanted)
        self.demo.clicked.connect(actions.try_demo)
        actions.waiting.connect(self._show_waiting)

    def _show_waiting(self, waiting: bool) -> None:
        for one in (self.join, self.offers, self.start, self.demo):
            one.setEnabled(not waiting)

    def _ways(self) -> tuple[Card, ...]:
        return (
            option_card(
                "open",
                _("You were invited"),
                _(
                    "Open the invite file (.cotrain), drop it onto this window, or paste the"
                    " link. You see what it takes of this machine before anything starts."
                ),
                self.join,
                self._theme,
            ),
            option_card(
                "swarm",
                _("You look for a swarm"),
                _("The CoTrain backend lists those that anyone may join."),
                self.offers,
                self._theme,
            ),
            option_card(
                "share",
                _("You want to train a model"),
                _(
                    "Choose a model and data, start the swarm on this machine, and invite others"
                    " with a file, a link or a QR code."
                ),
                self.start,
                self._theme,
            ),
            option_card(
                "start",
                _("You want to see it first"),
                _(
                    "The demo swarm runs on this machine alone, with a second peer beside yours."
                    " It needs no invite, and you see a small model learn within a minute."
                ),
                self.demo,
                self._theme,
            ),
        )

    def _what_leaves(self) -> Card:
        return text_card(
            _("What leaves this machine"),
            _(
                "Other peers get what was learnt (gradients and the model's"
                " parameters), and your peer id and network address. Unless you"
                " switch that off on the Machines page, they also get this"
                " machine's device, load, temperature and speed, under a made-up"
                " name. Your files stay here, an invite can never carry code,"
                " and you can pause or stop training at any time."
            ),
        )
