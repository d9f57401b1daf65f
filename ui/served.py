"""What the window's session does for others: the local API, the lab's commands, notifications.

Their modules are imported after the window's first paint.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.common.logs import RingBuffer
from app.session import Session
from ui.main_window import MainWindow
from ui.models.session_model import SessionModel

if TYPE_CHECKING:
    from app.callback.server import Callback
    from app.lab.service import LabService
    from ui.desktop.notifier import Notifier
    from ui.presence import DesktopPresence


class LazyLab:
    """Lets the lab's admin command this machine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._service: LabService | None = None

    def start(self) -> None:
        """Take commands from now on, if this machine is paired."""
        from app.lab.service import LabService

        self._service = LabService(self._session)
        self._service.open()

    async def close(self) -> None:
        """Take no more commands. May be called twice."""
        if self._service is not None:
            await self._service.close()


class LazyCallback:
    """The local API."""

    def __init__(
        self,
        model: SessionModel,
        window: MainWindow,
        notifier: "Notifier",
        *,
        ring: RingBuffer,
    ) -> None:
        self._model = model
        self._window = window
        self._notifier = notifier
        self._ring = ring
        self._callback: Callback | None = None

    async def start(self) -> None:
        """Start the server.

        Raises:
            SettingsError: the address or the certificate can't be used.
        """
        from app.callback.server import Callback
        from app.callback.sources import sources_of
        from app.tasks.tasks import Tasks
        from ui.dialogs.consent import VolunteerAtWindow

        session = self._model.session
        volunteer = VolunteerAtWindow(self._window, session, self._notifier)
        tasks = Tasks(session, volunteer=volunteer)
        sources = sources_of(
            session.store,
            ledger=session.contributions.ledger,
            machines=session.machines,
            log=self._ring,
        )
        self._callback = Callback(session, tasks=tasks, sources=sources)
        await self._callback.start()

    def show(self) -> None:
        """Show the dialog with the API's address and tokens."""
        from ui.dialogs.local_api import LocalApiDialog

        tokens = self._callback.tokens if self._callback is not None else None
        LocalApiDialog(self._window, self._model, tokens=tokens).open()

    async def close(self) -> None:
        """Stop the server. May be called twice."""
        if self._callback is not None:
            await self._callback.close()


@dataclass(frozen=True)
class Served:
    """What the session does for others, once it is open."""

    callback: LazyCallback
    lab: LazyLab
    presence: "DesktopPresence"

    async def start(self) -> None:
        """Start all of it. Raises `SettingsError` if the local API can't be served."""
        await self.presence.open()
        self.lab.start()
        await self.callback.start()

    async def close(self) -> None:
        """End all of it. May be called twice."""
        await self.lab.close()
        await self.callback.close()
        await self.presence.close()
