"""A D-Bus of the test's own, and services on it that answer with what the test says."""

import subprocess
import threading
from pathlib import Path
from typing import Any, Self

from jeepney import HeaderFields, MessageType, message_bus, new_error, new_method_return
from jeepney.io.blocking import open_dbus_connection

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type><listen>unix:tmpdir={folder}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


class Bus:
    """A dbus-daemon with its socket in a folder; its address is known once it answers."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(folder=folder), encoding="utf-8")

    def __enter__(self) -> Self:
        command = ["dbus-daemon", "--nofork", "--print-address", f"--config-file={self._config}"]
        self._daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._daemon.stdout is not None
        self.address = self._daemon.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.terminate()
        self._daemon.wait()
        assert self._daemon.stdout is not None
        self._daemon.stdout.close()


class Service:
    """Owns a name, and answers each method and property with a signature and a value."""

    def __init__(self, bus: Bus, name: str, answers: dict[str, tuple[str, Any]]) -> None:
        self._answers = answers
        self._connection = open_dbus_connection(bus=bus.address)
        self._connection.send_and_get_reply(message_bus.RequestName(name))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join()
        self._connection.close()

    _closing = False

    def _serve(self) -> None:
        while not self._closing:
            try:
                message = self._connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            if message.header.message_type is MessageType.method_call:
                self._connection.send(self._answer(message))

    def _answer(self, message: Any) -> Any:
        member = message.header.fields[HeaderFields.member]
        wanted = message.body[1] if member == "Get" else member
        if wanted not in self._answers:
            return new_error(message, "org.freedesktop.DBus.Error.UnknownProperty")
        signature, value = self._answers[wanted]
        if member == "Get":
            return new_method_return(message, "v", ((signature, value),))
        return new_method_return(message, signature, (value,))
