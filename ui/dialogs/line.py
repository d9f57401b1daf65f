"""A card with what a swarm costs on this machine's line: shared by joining and starting."""

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from typing_extensions import override

from app.common.errors import SpecError, UserFacingError
from app.common.i18n import _
from app.state.state import ContributorState
from ui.models.session_model import SessionModel
from ui.texts import line as texts
from ui.texts import units
from ui.widgets.card import FactsCard
from ui.widgets.forms.fields import Field, FieldGrid, line_edit
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

GAP = 12
LEAST_UPLINK, MOST_UPLINK = 0.001, 100_000.0
MOST_PEERS = 100_000


class LineFields(FieldGrid):
    """The fields of a `LineCard`, which may stand elsewhere."""

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return ends the input of a field, and doesn't join or start the swarm."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)


class LineCard(FactsCard):
    """Asks for the line and the number of machines, and says what the swarm costs then."""

    changed = Signal()
    """The line or the number of machines changed."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__(_("On this line"), texts.rows())
        self._model = model
        self.uplink = Field(_("Upload of each line, Mbit/s"), line_edit())
        self.peers = Field(_("Machines"), line_edit(), _("That train at the same time"))
        self.note = label(role="muted", wrap=True)
        self.asked = LineFields((self.uplink, self.peers))
        self.column.insertWidget(1, self.asked)
        self.column.insertSpacing(2, GAP)
        self.column.addSpacing(GAP // 2)
        self.column.addWidget(self.note)
        for field in (self.uplink, self.peers):
            field.edited.connect(self.changed)
        self.uplink.committed.connect(self._remember)
        self.begin(None, model.state)

    def begin(self, spec: "SwarmSpec | None", state: ContributorState) -> None:
        """Fill in what is known of the line, and of a swarm."""
        session = self._model.session
        uplink, source = texts.known_uplink(session.store.settings, session.history.rounds)
        self.uplink.set_value(f"{uplink:g}")
        self.uplink.set_hint(source)
        self.peers.set_value(str(texts.known_peers(spec, state)))

    def assumed(self) -> tuple[float, int] | None:
        """Mbit/s of each line, and how many machines there are; None where a field is wrong, which
        gets marked."""
        uplink, peers = _number(self.uplink.value), _number(self.peers.value)
        fits = (
            LEAST_UPLINK <= uplink <= MOST_UPLINK,
            1 <= peers <= MOST_PEERS and peers == int(peers),
        )
        self.uplink.show_problem(None if fits[0] else _wrong(_("Mbit/s, such as 20.")))
        self.peers.show_problem(None if fits[1] else _wrong(_("A whole number, such as 8.")))
        return (uplink, int(peers)) if all(fits) else None

    def _remember(self) -> None:
        uplink, settings = _number(self.uplink.value), self._model.session.store.settings
        known, _source = texts.known_uplink(settings, self._model.session.history.rounds)
        if LEAST_UPLINK <= uplink <= MOST_UPLINK and uplink != known:
            self._model.run(self._model.session.change_settings({"uplink": uplink}))

    def show_spec(self, spec: "SwarmSpec | None", state: ContributorState) -> None:
        """Show what a swarm costs; None where there is no right one."""
        from app.spec.line import forecast

        assumed = self.assumed()
        if spec is None or assumed is None:
            self.show_values(dict.fromkeys(texts.rows(), units.NONE))
            self.note.setText("")
            return
        uplink, peers = assumed
        swarm = texts.swarm_on_lines(spec, state, uplink=uplink, peers=peers)
        found = forecast(spec, swarm)
        self.show_values(texts.facts(found))
        self.note.setText(texts.explanation(found, peers=peers))


def _number(text: str) -> float:
    """What a field says; NaN for no number."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan


def _wrong(remedy: str) -> UserFacingError:
    return SpecError(_("isn't possible."), field="", remedy=remedy)
