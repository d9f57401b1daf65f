"""A label that says what this machine achieved in a run; hidden while there is nothing to say."""

import asyncio

from shiboken6 import isValid

from app.contributions.summary import Summary
from ui.models.achievement import achievement_of
from ui.models.session_model import SessionModel
from ui.texts.given import contributions as contribution_texts
from ui.widgets.labels import PlainLabel


class AchievedLabel(PlainLabel):
    """Reads the run's curves, where these aren't in memory, in a thread."""

    def __init__(self, model: SessionModel, *, role: str, titled: bool) -> None:
        """role: as in `ui.widgets.labels.label`. titled: it begins with the run's title."""
        super().__init__()
        self._model = model
        self._titled = titled
        self._working: asyncio.Task[None] | None = None
        self.setProperty("role", role)
        self.setWordWrap(True)
        self.hide()

    def tell(self, summary: Summary, run_id: str) -> None:
        """Say what was achieved in a run, as soon as that is known."""
        if self._working is not None:
            self._working.cancel()
        self._working = self._model.start(self._tell(summary, run_id))

    async def _tell(self, summary: Summary, run_id: str) -> None:
        achievement = await achievement_of(self._model.session, summary, run_id)
        if not isValid(self):  # the window was closed meanwhile
            return
        text = ""
        if achievement is not None:
            text = contribution_texts.achieved(
                achievement.run_share,
                achievement.loss,
                title=achievement.title if self._titled else "",
            )
        self.setText(text)
        self.setVisible(bool(text))
