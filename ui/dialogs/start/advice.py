"""Which strategy suits the model and the line, with the reason, to be taken over with a click."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.common.i18n import _
from app.spec.form import draft
from app.state.state import ContributorState
from ui.dialogs.start.fields import strategy_labels
from ui.texts import line as texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.line import Recommendation
    from app.spec.schema import SwarmSpec


class StrategyAdvice(QWidget):
    """A recommendation for the form as it is."""

    taken = Signal()
    """The user wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.title = label(role="strong", wrap=True)
        self.why = label(role="muted", wrap=True)
        self.take = button(_("Use it"))
        self.values: dict[str, str] = {}
        """What is recommended: the form's values, by their names in `app.spec.form.names`."""
        row = QHBoxLayout()
        row.addWidget(self.title, 1)
        row.addWidget(self.take)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 8, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.why)
        self.take.setAutoDefault(False)
        self.take.setAccessibleName(_("Use the recommended strategy"))
        self.take.clicked.connect(self.taken)

    def show_spec(
        self,
        spec: "SwarmSpec | None",
        state: ContributorState,
        assumed: tuple[float, int] | None,
        *,
        before: "SwarmSpec | None",
    ) -> None:
        """Recommend for this spec, and for Mbit/s of each line and a number of machines.

        before: the spec to recommend from, as it was before an earlier recommendation.
        """
        from app.spec.line import recommend

        self.values = {}
        self.setVisible(None not in (spec, before, assumed))
        if spec is None or before is None or assumed is None:
            return
        uplink, peers = assumed
        swarm = texts.swarm_on_lines(before, state, uplink=uplink, peers=peers)
        found = recommend(before, swarm)
        self.values = draft.strategy_values(found.spec)
        is_there = self.values == draft.strategy_values(spec)
        self.title.setText(_title(found, is_there=is_there))
        self.why.setText(_why(found, is_there=is_there))
        self.take.setVisible(not is_there)


def _title(found: "Recommendation", *, is_there: bool) -> str:
    name = strategy_labels()[found.spec.training.strategy]
    text = _("As recommended: {name}") if is_there else _("Recommended: {name}")
    return text.format(name=name)


def _why(found: "Recommendation", *, is_there: bool) -> str:
    if is_there:
        return found.why
    after = _("It would upload {size} an hour and compute {percent} of the time.").format(
        size=units.size(found.forecast.an_hour),
        percent=units.percent(found.forecast.computing, 1),
    )
    return f"{found.why} {after}"
