"""Notifications of a Linux desktop, which need no tray.

Over D-Bus, as the "Desktop Notifications Specification" has it. Other systems show them by way of
their tray (see `ui.desktop.tray`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.background import Background
from app.common.paths import APP_NAME

if TYPE_CHECKING:
    from jeepney import Message
    from jeepney.io.asyncio import DBusRouter

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
WORDS_WAIT = 8
"""Signals of the desktop that may wait for us, which are few and small."""

_SERVICE = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"


class Notifications:
    """Shows notifications until `close`. name: the app's, as people read it; icon: its file.
    clicked: called when the user clicks one of ours, with what a Wayland desktop wants to see
    before a window may take the focus, or "".

    The connection is kept: with it, a desktop takes away what came over it.
    """

    def __init__(self, *, name: str, icon: Path, clicked: Callable[[str], None]) -> None:
        self._name = name
        self._icon = icon.as_uri()
        self._clicked = clicked
        self._activation = ""
        self._open = contextlib.AsyncExitStack()
        self._router: DBusRouter | None = None
        self._connecting = asyncio.Lock()
        self._background = Background()
        self._ours: set[int] = set()

    async def show(self, title: str, text: str) -> int | None:
        """Show one; returns its number, or None where this desktop shows none."""
        hints = {"desktop-entry": ("s", APP_NAME)}
        values = (self._name, 0, self._icon, title, text, ["default", title], hints, -1)
        try:
            answer = await self._ask("Notify", "susssasa{sv}i", values)
        except Exception as error:  # noqa: BLE001  no bus, nobody on it, or one that errs
            log.info("the desktop shows no notification: %r", error)
            await self.close()  # the next one tries anew
            return None
        number = int(answer.body[0])
        self._ours.add(number)
        return number

    async def withdraw(self, number: int) -> None:
        """Take one away that is moot."""
        if number in self._ours:
            self._ours.discard(number)
            with contextlib.suppress(Exception):  # it went away by itself, or its server did
                await self._ask("CloseNotification", "u", (number,))

    async def close(self) -> None:
        """Let go of the desktop, and listen to no clicks. May be called twice."""
        await self._background.close()
        self._router = None
        with contextlib.suppress(OSError, EOFError):  # it is gone already
            await self._open.aclose()

    async def _ask(self, method: str, signature: str, values: tuple[Any, ...]) -> "Message":
        from jeepney import DBusAddress, DBusErrorResponse, MessageType, new_method_call

        address = DBusAddress(_PATH, bus_name=_SERVICE, interface=_SERVICE)
        call = new_method_call(address, method, signature, values)
        async with asyncio.timeout(ANSWER_SECONDS):
            router = await self._connected()
            answer: Message = await router.send_and_get_reply(call)
        if answer.header.message_type is MessageType.error:
            raise DBusErrorResponse(answer)
        return answer

    async def _connected(self) -> "DBusRouter":
        from jeepney.io.asyncio import open_dbus_router

        async with self._connecting:
            if self._router is None:
                self._router = await self._open.enter_async_context(open_dbus_router())
                self._listening = self._background.start(self._listen(self._router))
            return self._router

    async def _listen(self, router: "DBusRouter") -> None:
        """Hear which of ours is clicked. The desktop tells that to who showed it, unasked."""
        from jeepney import MatchRule

        rule = MatchRule(type="signal", interface=_SERVICE)
        words: asyncio.Queue[Message]
        with router.filter(rule, bufsize=WORDS_WAIT) as words:
            while True:
                word = await words.get()
                if word.body and word.body[0] in self._ours:
                    self._heard(word)

    def _heard(self, word: "Message") -> None:
        from jeepney import HeaderFields

        match word.header.fields.get(HeaderFields.member):
            case "ActivationToken":
                self._activation = word.body[1]
            case "ActionInvoked":
                self._clicked(self._activation)
            case "NotificationClosed":
                self._ours.discard(word.body[0])
