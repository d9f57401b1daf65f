"""Desktop notifications."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable

from app.desktop.notifications import Notifications
from ui.desktop.tray import Tray
from ui.style.theme import ICONS
from ui.texts import states as texts


class Notifier:
    """Shows notifications over D-Bus on Linux, which needs no tray icon, else through the tray.

    ``clicked`` is called when the user clicks a D-Bus notification (see
    `app.desktop.notifications.Notifications`).
    """

    def __init__(self, tray: Tray, *, clicked: Callable[[str], None]) -> None:
        self._tray = tray
        self._bus: Notifications | None = None
        if sys.platform == "linux":
            name = f"{texts.PRODUCT} {texts.PRODUCT_KIND}"
            self._bus = Notifications(name=name, icon=ICONS / "app.svg", clicked=clicked)

    async def show(self, title: str, text: str) -> int | None:
        """Show a notification; returns its number for `showing`, or None if it has none."""
        number = await self._bus.show(title, text) if self._bus is not None else None
        if number is None:
            self._tray.say(title, text)
        return number

    @contextlib.asynccontextmanager
    async def showing(self, title: str, text: str) -> AsyncIterator[None]:
        """Show a notification, and withdraw it at the end of the block where D-Bus is used."""
        number = await self.show(title, text)
        try:
            yield
        finally:
            if number is not None and self._bus is not None:
                await self._bus.withdraw(number)

    async def close(self) -> None:
        """Close the connection to D-Bus. May be called twice."""
        if self._bus is not None:
            await self._bus.close()
