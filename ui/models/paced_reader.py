"""Reads the ledger after its changes no more often than is of use to a reader."""

from collections.abc import Callable, Coroutine
from typing import Any

from PySide6.QtCore import QObject, QTimer

from ui.models.session_model import SessionModel

REST_MS = 5000
"""Least time between two readings. Reports are delivered on the thread that reads, so that a
thousand of them would wait for a thousand sums."""


class PacedReader(QObject):
    """Runs one reading at a time; changes during it and `REST_MS` after it make one more, then.

    read: what to run. An exception in it is shown as a problem.
    """

    def __init__(self, model: SessionModel, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__(model)
        self._model = model
        self._read = read
        self._reading = self._wanted = self._closed = False
        self._rest = QTimer(self, singleShot=True)
        self._rest.timeout.connect(self._go_on)

    def want(self) -> None:
        """Read now, or as soon as the last reading is long enough ago."""
        self._wanted = True
        self._go_on()

    def _go_on(self) -> None:
        if self._wanted and not (self._closed or self._reading or self._rest.isActive()):
            self._wanted, self._reading = False, True
            self._model.run(self._run())

    async def _run(self) -> None:
        try:
            await self._read()
        finally:
            self._reading = False
        if not self._closed:
            self._rest.start(REST_MS)

    def close(self) -> None:
        """Read no more. May be called twice."""
        self._closed = True
        self._rest.stop()
