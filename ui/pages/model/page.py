"""The model page: what the swarm's model is, how good it is, who trains it, and what it writes."""

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.subscription import Subscription
from app.state.state import ContributorState
from ui.models.actions import Actions
from ui.models.session_model import SessionModel
from ui.models.summary_model import SummaryModel
from ui.pages.model.samples import SamplesCard
from ui.pages.model.writing import WritingCard
from ui.style.theme import Theme
from ui.texts import costs
from ui.texts import model as model_texts
from ui.texts.states import sentences
from ui.widgets.buttons import allow, button
from ui.widgets.card import FactsCard
from ui.widgets.card_row import CardRow
from ui.widgets.empty_state import EmptyState
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

GAP = 16
MACHINES_MS = 5000
"""How often the names of those who train are read again, while somebody looks."""


class ModelPage(QScrollArea):
    """Shows the model of the swarm that we are in."""

    def __init__(
        self, model: SessionModel, actions: Actions, theme: Theme, summary_model: SummaryModel
    ) -> None:
        super().__init__()
        self._model = model
        self._summary_model = summary_model
        self._session = model.session
        self._run_id = ""
        self._looked: tuple[object, ...] = ()
        self._kept: int | None = None
        self._parameters: int | None = None
        self._estimated: SwarmSpec | None = None
        self._watching, self._learning = Subscription(), Subscription()
        self.export = button(_("Export…"))
        self.empty = EmptyState("model", theme)
        self.facts = FactsCard(_("What it is"), model_texts.fact_labels())
        self.quality = FactsCard(_("How good it is"), model_texts.quality_labels())
        self.trainers = FactsCard(_("Who trains it"), model_texts.trainer_labels())
        self.meaning = label(role="muted", wrap=True)
        self.cards = CardRow((self.facts, self.quality, self.trainers), least=38, columns=1)
        self.writing = WritingCard(model)
        self.samples = SamplesCard(theme)
        self._timer = QTimer(self, interval=MACHINES_MS)
        self._lay_out()
        self._model.changed.connect(self._on_state)
        self._summary_model.changed.connect(self._on_summary)
        self._timer.timeout.connect(self._show_trainers)
        self.writing.fetching.fetched.connect(self._on_fetched)
        self.export.clicked.connect(lambda _checked: actions.export_wanted.emit())

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.addWidget(label(_("Model"), "page"))
        head.addStretch()
        head.addWidget(self.export)
        page = QWidget()
        page.setObjectName("page")
        column = QVBoxLayout(page)
        column.setContentsMargins(24, 20, 24, 24)
        column.setSpacing(GAP)
        column.addLayout(head)
        column.addWidget(self.empty, 1)
        for part in (self.cards, self.meaning, self.writing, self.samples):
            column.addWidget(part, 0, Qt.AlignmentFlag.AlignTop)
        column.addStretch()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(_("Model"))
        self.empty.say(
            _("No model yet"),
            _(
                "A model belongs to a swarm. Join one that you were invited to, or try the demo,"
                " whose model you can watch while it learns to write."
            ),
        )

    # --- only while the page is visible

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watching = self._session.machines.watch()
        self._timer.start()
        self._learning = self._summary_model.watch()
        self._looked = ()
        self.show_state(self._model.state)

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()
        self._watching.close()
        self._learning.close()

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible():
            self.show_state(state)

    def show_state(self, state: ContributorState) -> None:
        """Show a state in all cards."""
        inside = state.swarm is not None
        self.empty.setVisible(not inside)
        for part in (self.cards, self.meaning, self.writing, self.samples):
            part.setVisible(inside)
        if state.swarm is None:
            allow(self.export, why_not=model_texts.nothing_to_export())
            return
        if state.swarm.run_id != self._run_id:
            self._run_id = state.swarm.run_id
            self.writing.forget()
        self._look_for_weights(state)
        spec = self._session.swarm.spec
        self.facts.show_values(model_texts.facts(state, spec, self._count(spec)))
        self.quality.show_values(model_texts.quality(state))
        self.meaning.setText(model_texts.what_quality_means(state))
        self.samples.show_samples(state.samples)

    def _look_for_weights(self, state: ContributorState) -> None:
        """Look on the disk when there may be others."""
        saved = state.training.checkpoint_epoch if state.training is not None else None
        now = (self._run_id, state.phase, saved)
        if now != self._looked:
            self._looked = now
            self._kept = self._session.generation.kept_epoch(self._run_id)
            refusal = self._session.generation.refusal(self._run_id)
            self.writing.show_refusal(refusal)
            allow(self.export, why_not="" if refusal is None else sentences(refusal))
            self._show_trainers()
        self.writing.fetching.offer(state, self._kept)

    def _on_fetched(self) -> None:
        self._looked = ()
        self._on_state(self._model.state)

    def _on_summary(self) -> None:
        if self.isVisible():
            self._show_trainers()

    def _show_trainers(self) -> None:
        machines = self._session.machines.fleet.machines(time.time())
        values = model_texts.trainers(self._model.state, machines, self._began(), self._kept)
        self.trainers.show_values(values)

    def _began(self) -> float | None:
        """When this machine's first contribution to the run began."""
        summary = self._summary_model.summary
        given = summary.swarms.get(self._run_id) if summary is not None else None
        return given.began if given is not None else None

    def _count(self, spec: "SwarmSpec | None") -> int | None:
        """The parameters, by the spec; None where they can't be known without its files."""
        if spec is not self._estimated:
            self._estimated, self._parameters = spec, None
            if spec is not None:
                self._parameters = _parameters(spec)
        return self._parameters


def _parameters(spec: "SwarmSpec") -> int | None:
    try:
        estimate = costs.estimate_for(spec, None)
    except UserFacingError:
        return None  # the trainer will refuse such a model, and say why
    return estimate.parameters if estimate.vocabulary_known else None
