"""How long there was no keyboard or mouse input."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from app.terms.sensors import dbus

IOREG_SECONDS = 2.0

_FAILURES = (
    ImportError,  # no library for it on this system
    OSError,  # no D-Bus, no X server, or no answer from them
    EOFError,
    LookupError,
    RuntimeError,  # jeepney: no usable address of a bus
    TypeError,
    ValueError,  # an answer of another form
    subprocess.SubprocessError,
)


def idle_seconds() -> float:
    """Seconds without input, from the first source that answers.

    Sources are GNOME, the X server or logind on Linux, and the HID system on macOS. The desktop
    reports idleness to logind some minutes late. Raises `LookupError` when no source answers.
    """
    reasons = []
    for source in _sources():
        try:
            return source()
        except _FAILURES as error:
            reasons.append(f"{source.__name__}: {error!r}")
    raise LookupError("; ".join(reasons))


def _sources() -> tuple[Callable[[], float], ...]:
    if sys.platform == "darwin":
        return (of_macos,)
    if "WAYLAND_DISPLAY" in os.environ:
        return of_gnome, of_logind  # XWayland sees only the input of X programs
    return (of_x11, of_logind) if "DISPLAY" in os.environ else (of_logind,)


def of_x11() -> float:
    """Ask the X server's screen saver extension. Raises `OSError` without a server or reply."""
    import xcffib
    import xcffib.screensaver

    try:
        connection: Any = xcffib.connect()
        try:
            root = connection.setup.roots[connection.pref_screen].root
            answer = connection(xcffib.screensaver.key).QueryInfo(root).reply()
            return float(answer.ms_since_user_input) / 1000
        finally:
            connection.disconnect()
    except xcffib.XcffibException as error:
        raise OSError(repr(error)) from error


def of_gnome() -> float:
    """Ask GNOME's compositor."""
    monitor = "org.gnome.Mutter.IdleMonitor"
    path = "/org/gnome/Mutter/IdleMonitor/Core"
    return float(dbus.call("SESSION", monitor, path, monitor, "GetIdletime")) / 1000


def of_logind() -> float:
    """Ask logind, to which the desktop or the terminal reports idleness."""
    if not _of_session("IdleHint"):
        return 0.0
    return max(0.0, time.monotonic() - float(_of_session("IdleSinceHintMonotonic")) / 1e6)


def _of_session(prop: str) -> Any:
    """A property of our login session or, without one, of the user's graphical session."""
    login = "org.freedesktop.login1"
    return dbus.get(
        "SYSTEM", login, "/org/freedesktop/login1/session/auto", f"{login}.Session", prop
    )


def of_macos() -> float:
    """Ask the HID system by way of ``ioreg``."""
    command = ["/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=IOREG_SECONDS
    )
    return in_ioreg(answer.stdout)


def in_ioreg(answer: str) -> float:
    """Seconds without input, from ioreg's output. Raises `LookupError` without HIDIdleTime."""
    found = re.search(r'"HIDIdleTime" = (\d+)', answer)
    if found is None:
        raise LookupError("ioreg shows no HIDIdleTime")
    return int(found[1]) / 1e9  # nanoseconds
