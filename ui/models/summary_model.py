"""The totals of this machine's contributions, for the widgets that show them."""

from PySide6.QtCore import QObject, QTimer, Signal

from app.common.errors import UserFacingError
from app.common.subscription import Subscription
from app.contributions.summary import Summary
from ui.models.paced_reader import PacedReader
from ui.models.session_model import SessionModel

REFRESH_MS = 60_000
"""The totals also change at midnight, when the ledger doesn't."""


class SummaryModel(QObject):
    """Computes the totals when the ledger has changed, while a visible widget watches."""

    changed = Signal()
    """`summary` or `problem` changed."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model)
        self.summary: Summary | None = None
        """None until the ledger was read."""
        self.problem: UserFacingError | None = None
        """Why the ledger can't be read, if it can't."""
        self._contributions = model.session.contributions
        self._watchers = 0
        self._reader = PacedReader(model, self._read)
        self._ledger_changes = self._contributions.ledger.subscribe(self._refresh)
        self._timer = QTimer(self, interval=REFRESH_MS)
        self._timer.timeout.connect(self._refresh)
        self._timer.start()

    def watch(self) -> Subscription:
        """Keep the totals up to date until the subscription is closed."""
        self._watchers += 1
        self._refresh()
        return Subscription(self._look_away)

    def _look_away(self) -> None:
        self._watchers -= 1

    def _refresh(self) -> None:
        if self._is_wanted:
            self._reader.want()

    @property
    def _is_wanted(self) -> bool:
        return self._watchers > 0 and self._contributions.ledger.is_open

    async def _read(self) -> None:
        if not self._is_wanted:  # any more
            return
        try:
            self.summary, self.problem = await self._contributions.summary(), None
        except UserFacingError as error:
            self.problem = error
        self.changed.emit()

    def close(self) -> None:
        """Stop reading the ledger. May be called twice."""
        self._reader.close()
        self._timer.stop()
        self._ledger_changes.close()
