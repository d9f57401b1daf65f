"""Idle time from real servers where there are any, else from recorded answers."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.terms.sensors import dbus, idle, machine
from tests.support.machine.buses import Bus, Service

SESSION = "org.freedesktop.login1.Session"

IOREG = """
  | +-o IOHIDSystem  <class IOHIDSystem, id 0x100000382, registered, matched, active>
  |   | {
  |   |   "IOClass" = "IOHIDSystem"
  |   |   "HIDIdleTime" = 83391250416
  |   |   "HIDParameters" = {"HIDClickTime"=500000000}
"""


@pytest.fixture
def bus(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """One private bus that serves as session bus and system bus."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("there is no dbus-daemon")
    monkeypatch.setattr(dbus, "TIMEOUT_SECONDS", 60.0)
    with Bus(short_folder) as made:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made.address)
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        yield made


@contextmanager
def logind(bus: Bus, **properties: Any) -> Iterator[None]:
    with Service(bus, "org.freedesktop.login1", properties):
        yield


def test_logind_reports_idle_time(bus: Bus) -> None:
    booted = time.monotonic()  # logind tells it by this clock too, which nobody sets
    since = ("t", int(booted / 2 * 1e6))
    with logind(bus, IdleHint=("b", True), IdleSinceHintMonotonic=since):
        assert booted / 2 <= idle.idle_seconds() < booted / 2 + 60


def test_logind_reports_a_session_in_use(bus: Bus) -> None:
    with logind(bus, IdleHint=("b", False), IdleSinceHint=("t", 0)):
        assert idle.idle_seconds() == 0.0


def test_gnome_is_asked_first_under_wayland(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    with (
        Service(bus, "org.gnome.Mutter.IdleMonitor", {"GetIdletime": ("t", 5250)}),
        logind(bus, IdleHint=("b", False)),
    ):
        assert idle.idle_seconds() == 5.25


def test_logind_is_asked_where_there_is_no_gnome(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with logind(bus, IdleHint=("b", False)):
        assert idle.idle_seconds() == 0.0


def test_without_an_answer_a_lookup_error_is_raised(bus: Bus) -> None:
    with pytest.raises(LookupError, match="of_logind"):
        idle.idle_seconds()


def test_without_a_bus_a_lookup_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    with pytest.raises(OSError, match="No such file"):
        dbus.get("SYSTEM", "a.b", "/", "a.b", "Any")


def test_x_server_reports_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "64x64x8", "-noreset"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        try:
            os.close(writing)
            monkeypatch.setenv("DISPLAY", f":{os.read(reading, 16).decode().strip()}")
            monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
            earlier = idle.of_x11()
            assert idle.idle_seconds() >= earlier >= 0.0
        finally:
            os.close(reading)
            server.terminate()


def test_macos_reports_nanoseconds() -> None:
    assert idle.in_ioreg(IOREG) == pytest.approx(83.39, abs=0.01)
    with pytest.raises(LookupError):
        idle.in_ioreg("")


# --- the network


@pytest.mark.parametrize(("word", "metered"), [(0, False), (1, True), (2, False), (3, True)])
def test_metered_is_what_network_manager_knows_or_guesses(
    bus: Bus, word: int, metered: bool
) -> None:
    with Service(bus, "org.freedesktop.NetworkManager", {"Metered": ("u", word)}):
        assert machine.is_metered() is metered
