"""Notifications over D-Bus, against a fake bus with a notification service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jeepney")  # installed on Linux only

from jeepney import DBusAddress, Message, Parser, new_error, new_method_return, new_signal
from jeepney.low_level import HeaderFields

from app.desktop.notifications import Notifications

ICON = Path("/icons/app.svg")
DESKTOP = DBusAddress("/org/freedesktop/Notifications", interface="org.freedesktop.Notifications")


class Desktop:
    """A bus for one client, which also answers as the desktop's notification service."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.refuses = False
        self.capabilities = ["body", "body-markup"]
        self._streams: list[asyncio.StreamWriter] = []
        self._sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.append(writer)
        await reader.readuntil(b"\r\n")  # AUTH EXTERNAL
        writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await reader.readuntil(b"BEGIN\r\n")
        parser = Parser()
        while data := await reader.read(4096):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                self._answer(message)

    def _answer(self, call: Message) -> None:
        method = call.header.fields[HeaderFields.member]
        if method == "Hello":
            self._send(new_method_return(call, "s", (":1.1",)))
            return
        if method == "GetCapabilities" and not self.refuses:
            self._send(new_method_return(call, "as", (self.capabilities,)))
            return
        self.calls.append((method, call.body))
        if self.refuses:
            self._send(new_error(call, "org.example.Refused"))
        elif method == "Notify":
            self._send(new_method_return(call, "u", (len(self.calls),)))
        else:
            self._send(new_method_return(call))

    def say(self, signal: str, signature: str, *values: Any) -> None:
        self._send(new_signal(DESKTOP, signal, signature, values))

    def _send(self, message: Message) -> None:
        self._sent += 1
        self._streams[-1].write(message.serialise(self._sent))

    def hang_up(self) -> None:
        for stream in self._streams:
            stream.close()


@pytest.fixture
async def desktop(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desktop]:
    address = short_folder / "bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={address}")
    made = Desktop()
    server = await asyncio.start_unix_server(made.serve, address)
    yield made
    made.hang_up()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def clicks() -> "asyncio.Queue[str]":
    return asyncio.Queue()


@pytest.fixture
async def ours(clicks: "asyncio.Queue[str]") -> AsyncIterator[Notifications]:
    made = Notifications(name="CoTrain", icon=ICON, clicked=clicks.put_nowait)
    yield made
    await made.close()


async def test_notification_is_shown_and_withdrawn(desktop: Desktop, ours: Notifications) -> None:
    number = await ours.show("Paused", "It is hot.")
    assert number == 1
    await ours.withdraw(number)
    await ours.withdraw(number)  # withdrawn already: no request
    (_, shown), (method, withdrawn) = desktop.calls
    assert shown[:5] == ("CoTrain", 0, "file:///icons/app.svg", "Paused", "It is hot.")
    assert shown[5] == ["default", "Paused"]
    assert (method, withdrawn) == ("CloseNotification", (1,))


async def test_click_on_our_notification_is_reported(
    desktop: Desktop, ours: Notifications, clicks: "asyncio.Queue[str]"
) -> None:
    number = await ours.show("Paused", "It is hot.")
    desktop.say("ActionInvoked", "us", 999, "default")  # another program's
    desktop.say("ActivationToken", "us", number, "token")
    desktop.say("ActionInvoked", "us", number, "default")
    assert await clicks.get() == "token"
    assert clicks.empty()


@pytest.mark.parametrize(
    ("capabilities", "shown"),
    [
        (["body", "body-markup"], "&lt;img src=/dev/zero&gt; &amp;amp; it\ufffd[31m\nends"),
        (["body"], "<img src=/dev/zero> &amp; it\ufffd[31m\nends"),
    ],
)
async def test_markup_of_others_is_shown_as_it_is_written(
    desktop: Desktop, ours: Notifications, capabilities: list[str], shown: str
) -> None:
    desktop.capabilities = capabilities
    await ours.show("<b>Paused</b>\n", "<img src=/dev/zero> &amp; it\x1b[31m\nends")
    ((_, call),) = desktop.calls
    assert call[3:5] == ("<b>Paused</b> ", shown)


async def test_error_of_the_desktop_gives_none(desktop: Desktop, ours: Notifications) -> None:
    desktop.refuses = True
    assert await ours.show("Paused", "It is hot.") is None


async def test_missing_bus_gives_none(
    ours: Notifications, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    assert await ours.show("Paused", "It is hot.") is None


async def test_bus_that_comes_back_is_used_again(desktop: Desktop, ours: Notifications) -> None:
    assert await ours.show("One", "") == 1
    desktop.hang_up()
    await ours.show("Two", "")  # may be lost: the broken connection may not be noticed yet
    assert await ours.show("Three", "") is not None
