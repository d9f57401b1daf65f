"""Notifications on a Linux desktop, which need no tray icon.

They go over D-Bus, as in the "Desktop Notifications Specification". Other systems show them through
the tray icon (see `ui.desktop.tray`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.background import Background
from app.common.paths import APP_NAME
from app.common.plain import one_line, several_lines

if TYPE_CHECKING:
    from jeepney import Message
    from jeepney.io.asyncio import DBusRouter

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
"""Longest wait for the desktop's answer."""

SIGNAL_BUFFER = 8
"""Signals of the desktop that may queue up; they are rare."""

_SERVICE = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"

_FAILURES = (ImportError, OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError)
"""No D-Bus library, no bus, no server on it, or one that answers with an error. jeepney raises a
`KeyError` or `RuntimeError` without a usable address of a bus, and others for a garbled message."""


class Notifications:
    """Shows notifications until `close`.

    name: the app's name for the user. icon: the file of its icon. clicked: called when the user
    clicks a notification, with the XDG activation token that lets a window take the focus under
    Wayland, or "".

    The D-Bus connection stays open, since a desktop removes notifications whose sender is gone.
    """

    def __init__(self, *, name: str, icon: Path, clicked: Callable[[str], None]) -> None:
        self._name = name
        self._icon = icon.as_uri()
        self._clicked = clicked
        self._activation = ""
        self._markup: bool | None = None
        self._open = contextlib.AsyncExitStack()
        self._router: DBusRouter | None = None
        self._connecting = asyncio.Lock()
        self._background = Background()
        self._ours: set[int] = set()

    async def show(self, title: str, text: str) -> int | None:
        """Show a notification as it is written; returns its number, or None when the desktop shows
        none."""
        hints = {"desktop-entry": ("s", APP_NAME)}
        title, text = one_line(title), several_lines(text)
        try:
            if await self._reads_markup():
                text = escape(text, quote=False)
            values = (self._name, 0, self._icon, title, text, ["default", title], hints, -1)
            answer = await self._ask("Notify", "susssasa{sv}i", values)
        except _FAILURES as error:
            log.info("the desktop shows no notification: %r", error)
            await self.close()  # the next call connects again
            return None
        number = int(answer.body[0])
        self._ours.add(number)
        return number

    async def _reads_markup(self) -> bool:
        """Whether the desktop takes a notification's text for HTML. Raises `_FAILURES`."""
        if self._markup is None:
            answer = await self._ask("GetCapabilities", None, ())
            self._markup = "body-markup" in answer.body[0]
        return self._markup

    async def withdraw(self, number: int) -> None:
        """Remove a notification that is outdated; no error if it is gone."""
        if number in self._ours:
            self._ours.discard(number)
            with contextlib.suppress(*_FAILURES):  # it, or its server, is gone already
                await self._ask("CloseNotification", "u", (number,))

    async def close(self) -> None:
        """Close the connection; clicks aren't reported any more. May be called twice."""
        await self._background.close()
        self._router = self._markup = None  # another desktop may answer next time
        with contextlib.suppress(OSError, EOFError):  # the connection is broken already
            await self._open.aclose()

    async def _ask(self, method: str, signature: str | None, values: tuple[Any, ...]) -> "Message":
        """Call a method; returns the reply. Raises `_FAILURES`."""
        from jeepney import DBusAddress, DBusErrorResponse, new_method_call
        from jeepney.io.common import RouterClosed
        from jeepney.wrappers import unwrap_msg

        address = DBusAddress(_PATH, bus_name=_SERVICE, interface=_SERVICE)
        call = new_method_call(address, method, signature, values)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                router = await self._connected()
                answer: Message = await router.send_and_get_reply(call)
            unwrap_msg(answer)  # raises for an error reply
        except (DBusErrorResponse, RouterClosed) as error:
            raise OSError(repr(error)) from error
        return answer

    async def _connected(self) -> "DBusRouter":
        from jeepney.io.asyncio import open_dbus_router

        async with self._connecting:
            if self._router is None:
                self._router = await self._open.enter_async_context(open_dbus_router())
                self._listening = self._background.start(self._listen(self._router))
            return self._router

    async def _listen(self, router: "DBusRouter") -> None:
        """Handle signals about our notifications, which come without a subscription."""
        from jeepney import MatchRule

        rule = MatchRule(type="signal", interface=_SERVICE)
        signals: asyncio.Queue[Message]
        with router.filter(rule, bufsize=SIGNAL_BUFFER) as signals:
            while True:
                signal = await signals.get()
                if signal.body and signal.body[0] in self._ours:
                    self._on_signal(signal)

    def _on_signal(self, signal: "Message") -> None:
        from jeepney import HeaderFields

        match signal.header.fields.get(HeaderFields.member):
            case "ActivationToken":
                self._activation = signal.body[1]
            case "ActionInvoked":
                self._clicked(self._activation)
            case "NotificationClosed":
                self._ours.discard(signal.body[0])
