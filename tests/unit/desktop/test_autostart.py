"""Start at login: the entry's content on each system, and how it is read back."""

import plistlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.common.errors import AutostartError
from app.desktop import autostart
from app.desktop.autostart import Autostart, DesktopEntry, LaunchAgent, RunKey

COMMAND = ["/opt/Co Train/cotrain", "--minimized"]
HARD = ['/opt/a "b"/100%/$HOME/`x`/back\\slash', "--minimized"]


@pytest.fixture
def program(tmp_path: Path) -> str:
    made = tmp_path / "cotrain"
    made.touch(mode=0o755)
    return str(made)


class Registry(SimpleNamespace):
    """A fake of ``winreg`` with the functions that are used."""

    HKEY_CURRENT_USER = "HKCU"
    REG_SZ = 1

    def __init__(self) -> None:
        super().__init__(values={}, path="")

    def CreateKey(self, root: str, path: str) -> "Registry":
        self.path = f"{root}\\{path}"
        return self

    def __enter__(self) -> dict[str, Any]:
        return self.values

    def __exit__(self, *_: object) -> None:
        pass

    def QueryValueEx(self, key: dict[str, Any], name: str) -> tuple[Any, int]:
        if name not in key:
            raise FileNotFoundError
        return key[name], self.REG_SZ

    def SetValueEx(self, key: dict[str, Any], name: str, _: int, kind: int, value: str) -> None:
        key[name] = value

    def DeleteValue(self, key: dict[str, Any], name: str) -> None:
        if name not in key:
            raise FileNotFoundError
        del key[name]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setitem(sys.modules, "winreg", made)
    return made


# --- every system --------------------------------------------------------------------------------


@pytest.fixture(params=["linux", "darwin", "win32"])
def entry(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> autostart.AutostartEntry:
    monkeypatch.setattr(sys, "platform", request.param)
    return autostart.of_this_system().entry


def test_it_is_switched_on_and_off(entry: autostart.AutostartEntry, program: str) -> None:
    ours = Autostart(entry, [program, "--minimized"])
    assert not ours.is_on
    ours.switch(False)  # nothing to remove
    ours.switch(True)
    assert ours.is_on
    assert entry.program() == program
    ours.switch(False)
    assert not ours.is_on


def test_repair_replaces_a_program_that_is_gone(
    entry: autostart.AutostartEntry, program: str
) -> None:
    entry.write(["/gone/cotrain-0.1", "--minimized"])
    Autostart(entry, [program]).repair()
    assert entry.program() == program


def test_repair_leaves_an_existing_program(entry: autostart.AutostartEntry, program: str) -> None:
    """It may be another installation's: a checkout that is tried out must not take its place."""
    entry.write([program, "--minimized"])
    Autostart(entry, ["/another/cotrain"]).repair()
    assert entry.program() == program


def test_repair_doesnt_switch_it_on(entry: autostart.AutostartEntry) -> None:
    Autostart(entry, COMMAND).repair()
    assert entry.program() is None


# --- each in its own form ------------------------------------------------------------------------


def test_desktop_entry_is_where_the_desktop_looks(home: Path) -> None:
    assert autostart.of_this_system().entry == DesktopEntry(
        home / ".config/autostart/cotrain-contributor.desktop"
    )


@pytest.mark.parametrize("command", [COMMAND, HARD], ids=["plain", "hard"])
def test_desktop_entry_quotes_its_command(tmp_path: Path, command: list[str]) -> None:
    entry = DesktopEntry(tmp_path / "autostart" / "a.desktop")
    entry.write(command)
    lines = dict(line.split("=", 1) for line in entry.path.read_text().splitlines() if "=" in line)
    # undo the escapes of a string, then those of double quotes, as a shell does
    shell = ["sh", "-c", f"printf '%s\\n' {lines['Exec'].replace(chr(92) * 2, chr(92))}"]
    words = subprocess.run(shell, check=True, capture_output=True, text=True).stdout.split("\n")
    assert [word.replace("%%", "%") for word in words[:-1]] == command
    assert entry.program() == command[0]
    assert lines["Type"] == "Application"
    assert entry.path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("line", ["Hidden=true", "X-GNOME-Autostart-enabled=false"])
def test_entry_switched_off_by_the_desktop_is_off(tmp_path: Path, line: str) -> None:
    entry = DesktopEntry(tmp_path / "a.desktop")
    entry.path.write_text(f"[Desktop Entry]\nExec=cotrain --minimized\n{line}\n")
    assert entry.program() is None


def test_unquoted_command_is_read(tmp_path: Path) -> None:
    entry = DesktopEntry(tmp_path / "a.desktop")
    entry.path.write_text("[Desktop Entry]\nExec=cotrain --minimized\n")
    assert entry.program() == "cotrain"


def test_launch_agent_starts_once_at_login(tmp_path: Path) -> None:
    entry = LaunchAgent(tmp_path / "LaunchAgents" / "a.plist")
    entry.write(COMMAND)
    assert plistlib.loads(entry.path.read_bytes()) == {
        "Label": "org.cotrain.cotrain-contributor",
        "ProgramArguments": COMMAND,
        "RunAtLoad": True,
        "ProcessType": "Interactive",
    }


def test_damaged_launch_agent_counts_as_off(tmp_path: Path) -> None:
    entry = LaunchAgent(tmp_path / "a.plist")
    entry.path.write_bytes(b"<plist")
    assert not Autostart(entry, COMMAND).is_on


def test_run_key_quotes_its_command(registry: Registry) -> None:
    RunKey().write(COMMAND)
    assert registry.path == r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run"
    assert registry.values == {"cotrain-contributor": '"/opt/Co Train/cotrain" "--minimized"'}


# --- what is started -----------------------------------------------------------------------------


def test_command_of_a_checkout_is_its_python() -> None:
    *python, option = autostart.own_command()
    assert python == [sys.executable, str(Path(autostart.__file__).parents[2] / "main.py")]
    assert option == "--minimized"


def test_command_of_an_appimage_is_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The running program is in a temporary mount, which is gone after this run."""
    monkeypatch.setenv("APPIMAGE", "/home/me/CoTrain.AppImage")
    assert autostart.own_command() == ["/home/me/CoTrain.AppImage", "--minimized"]


def test_command_of_a_frozen_app_is_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert autostart.own_command() == [sys.executable, "--minimized"]


def test_command_includes_the_data_folder(tmp_path: Path) -> None:
    assert autostart.own_command(tmp_path)[-2:] == ["--data-dir", str(tmp_path)]


def test_entry_that_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    entry = DesktopEntry(tmp_path / "file" / "a.desktop")
    with pytest.raises(AutostartError) as caught:
        Autostart(entry, COMMAND).switch(True)
    assert caught.value.field == "start_at_login"
    assert not Autostart(entry, COMMAND).is_on
