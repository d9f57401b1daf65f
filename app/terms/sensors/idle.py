"""Since when nobody has touched keyboard and mouse."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from app.terms.sensors import dbus

IOREG_SECONDS = 2.0


def idle_seconds() -> float:
    """Asks the first that knows: on Linux GNOME, the X server, or logind, which the desktop tells
    of idleness some minutes late; on macOS the HID system. Raises `LookupError` when none does."""
    reasons = []
    for source in _sources():
        try:
            return source()
        except Exception as error:  # noqa: BLE001  each library fails in its own way
            reasons.append(f"{source.__name__}: {error!r}")
    raise LookupError("; ".join(reasons))


def _sources() -> tuple[Callable[[], float], ...]:
    if sys.platform == "darwin":
        return (of_macos,)
    if "WAYLAND_DISPLAY" in os.environ:
        return of_gnome, of_logind  # its X server sees only what X programs see
    return (of_x11, of_logind) if "DISPLAY" in os.environ else (of_logind,)


def of_x11() -> float:
    """As the X server's screen saver counts it."""
    import xcffib
    import xcffib.screensaver

    connection: Any = xcffib.connect()
    try:
        root = connection.setup.roots[connection.pref_screen].root
        told = connection(xcffib.screensaver.key).QueryInfo(root).reply()
        return float(told.ms_since_user_input) / 1000
    finally:
        connection.disconnect()


def of_gnome() -> float:
    """As GNOME's compositor counts it."""
    monitor = "org.gnome.Mutter.IdleMonitor"
    path = "/org/gnome/Mutter/IdleMonitor/Core"
    return float(dbus.call("SESSION", monitor, path, monitor, "GetIdletime")) / 1000


def of_logind() -> float:
    """As the session's desktop, or the terminal, told it to logind."""
    if not _of_session("IdleHint"):
        return 0.0
    return max(0.0, time.time() - float(_of_session("IdleSinceHint")) / 1e6)


def _of_session(prop: str) -> Any:
    """Of our session or, without one, of the user's on the display."""
    login = "org.freedesktop.login1"
    return dbus.get(
        "SYSTEM", login, "/org/freedesktop/login1/session/auto", f"{login}.Session", prop
    )


def of_macos() -> float:
    """As the HID system counts it."""
    command = ["/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=IOREG_SECONDS
    )
    return in_ioreg(told.stdout)


def in_ioreg(told: str) -> float:
    """What ``ioreg`` says; it counts nanoseconds. Raises `LookupError` when it says nothing."""
    found = re.search(r'"HIDIdleTime" = (\d+)', told)
    if found is None:
        raise LookupError("ioreg says nothing of HIDIdleTime")
    return int(found[1]) / 1e9
