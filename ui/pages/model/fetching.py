"""Fetching the swarm's weights to a machine that doesn't train."""

import asyncio

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.export.fetching import fetch_weights
from app.export.words import step_in_words
from app.state.state import ContributorState
from app.takeout.messages import ExportProgress
from ui.models.session_model import SessionModel
from ui.texts import model as model_texts
from ui.texts.states import error_text
from ui.widgets.banner import announce
from ui.widgets.buttons import SteadyButton
from ui.widgets.labels import label, restyle


class FetchingRow(QWidget):
    """A button that fetches them, or stops that, and how far it is. ``fetched``: there are new
    ones on this machine."""

    fetched = Signal()

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._task: asyncio.Task[None] | None = None
        self._offer = ""
        self.button = SteadyButton("")
        self.status = label(role="muted", wrap=True)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(self.status, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self.toggle)
        model.changed.connect(self._on_state)  # the page may not be shown
        self.hide()

    @property
    def is_fetching(self) -> bool:
        """It is under way."""
        return self._task is not None

    def offer(self, state: ContributorState, kept: int | None) -> None:
        """Offer to fetch what would be newer. kept: the epoch of what this machine has."""
        if state.phase.has_trainer:  # it fetches the weights itself, with the same identity
            self.forget()
            self._offer = ""
        else:
            self._offer = model_texts.what_can_be_fetched(state, kept)
        self._show()

    def _on_state(self, state: ContributorState) -> None:
        if self.is_fetching and (state.phase.has_trainer or state.swarm is None):
            self.forget()

    def forget(self) -> None:
        """Stop it, and drop what was said of another swarm."""
        if self._task is not None:
            self._task.cancel()
        self._say("")

    def toggle(self) -> None:
        """Begin to fetch, or stop that."""
        if self._task is not None:
            self._task.cancel()
            self._say(_("Stopped."))
            return
        self._say(_("Looking for somebody who has the weights…"))
        self._task = self._model.start(self._fetch())
        self._show()

    async def _fetch(self) -> None:
        session = self._model.session
        spec, state = session.swarm.spec, self._model.state
        try:
            if spec is not None:
                found = await fetch_weights(
                    spec,
                    folders=session.folders,
                    settings=session.store.settings,
                    bindings=session.bindings,
                    entries=state.addresses,
                    on_progress=self._take,
                )
                self._say(model_texts.what_was_fetched(found.epoch, from_door=found.from_door))
        except UserFacingError as error:
            self._say(error_text(error), role="error")
        finally:
            self._task = None
            self.fetched.emit()
            self._show()
            announce(self.status)

    def _take(self, progress: ExportProgress) -> None:
        self._say(step_in_words(progress))

    def _say(self, text: str, *, role: str = "muted") -> None:
        restyle(self.status, "role", role)
        self.status.setText(text)
        self.status.setAccessibleName(text)

    def _show(self) -> None:
        self.button.setText(_("Stop") if self.is_fetching else self._offer)
        restyle(self.button, "kind", "danger" if self.is_fetching else "")
        self.button.setVisible(self.is_fetching or bool(self._offer))
        self.setVisible(self.button.isVisibleTo(self) or bool(self.status.text()))
