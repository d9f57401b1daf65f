"""Start at login: an entry where the desktop looks for what it starts.

Each system has its own place and form of it; `of_this_system` knows which. The entry is the one
record of the choice: the desktop's own settings may remove it, and are obeyed.
"""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from app.common.errors import AutostartError
from app.common.i18n import _
from app.common.paths import APP_NAME, ROOT, write_atomically

log = logging.getLogger(__name__)

CommandLine = Sequence[str]

LABEL = f"org.cotrain.{APP_NAME}"
"""Of the launch agent of macOS."""

_RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"


class AutostartEntry(Protocol):
    """What one system has for it. Its methods raise `OSError`."""

    def program(self) -> str | None:
        """The program that is started; None when the entry is missing or switched off."""

    def write(self, command: CommandLine) -> None:
        """Let this be started."""

    def remove(self) -> None:
        """Let nothing be started. Nothing happens without an entry."""


@dataclass(frozen=True)
class Autostart:
    """Whether ``command`` is started at login. Its methods touch the disk: call them in a thread,
    unless a widget needs the answer at once."""

    entry: AutostartEntry
    command: CommandLine

    @property
    def is_on(self) -> bool:
        """It is started at login."""
        with contextlib.suppress(OSError):
            return self.entry.program() is not None
        return False

    def switch(self, on: bool) -> None:
        """Start it at login, or don't. Raises `AutostartError`."""
        try:
            self.entry.write(self.command) if on else self.entry.remove()
        except OSError as error:
            raise AutostartError(
                _("what starts at login can't be changed: {reason}.").format(
                    reason=error.strerror or error
                ),
                field="start_at_login",
            ) from error

    def repair(self) -> None:
        """Name the program anew when the one in the entry is gone: the app was moved, or an
        update has another file name."""
        try:
            program = self.entry.program()
            if program is not None and shutil.which(program) is None:
                self.entry.write(self.command)
        except OSError as error:
            log.warning("what starts at login can't be repaired: %s", error)


def of_this_system(data_dir: Path | None = None) -> Autostart:
    """Starting this app at login. data_dir: the folder it was told to use, if it was."""
    return Autostart(_entry(), own_command(data_dir))


def _entry() -> AutostartEntry:
    if sys.platform == "darwin":
        return LaunchAgent(Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist")
    if sys.platform == "win32":
        return RunKey()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return DesktopEntry(Path(config).expanduser() / "autostart" / f"{APP_NAME}.desktop")


def own_command(data_dir: Path | None = None) -> CommandLine:
    """What starts this app into the tray: its AppImage, its frozen program, or its source."""
    if appimage := os.environ.get("APPIMAGE"):
        program = [appimage]
    elif getattr(sys, "frozen", False):
        program = [sys.executable]
    else:
        program = [sys.executable, str(ROOT / "main.py")]
    where = ["--data-dir", str(data_dir.expanduser().absolute())] if data_dir else []
    return [*program, "--minimized", *where]


# --- Linux and other XDG desktops


@dataclass(frozen=True)
class DesktopEntry:
    """A file of XDG's "Desktop Application Autostart Specification"."""

    path: Path

    def program(self) -> str | None:
        """The first word of its ``Exec``."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        if values.get("Hidden") == "true" or values.get("X-GNOME-Autostart-enabled") == "false":
            return None  # the desktop's own settings switched it off
        return _first_word(values.get("Exec", ""))

    def write(self, command: CommandLine) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = (
            "[Desktop AutostartEntry]",
            "Type=Application",
            "Name=CoTrain Contributor",
            f"Exec={' '.join(_quoted(word) for word in command)}",
            f"Icon={APP_NAME}",
            "Terminal=false",
            "X-GNOME-Autostart-enabled=true",
        )
        write_atomically(self.path, "\n".join((*lines, "")).encode(), mode=0o644)

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _quoted(word: str) -> str:
    r"""A word of ``Exec``. Read twice: as a string, where ``\`` escapes, and as a command line;
    ``%`` would be a field code."""
    for special in ("\\", '"', "`", "$"):
        word = word.replace(special, f"\\{special}")
    return '"' + word.replace("\\", "\\\\").replace("%", "%%") + '"'


def _first_word(command: str) -> str:
    r"""The inverse of `_quoted`, for the first word; words that others wrote may be bare."""
    text = command.strip().replace("\\\\", "\\").replace("%%", "%")
    if not text.startswith('"'):
        return text.split(" ", 1)[0]
    word, place = "", 1
    while place < len(text) and text[place] != '"':
        place += text[place] == "\\"
        word += text[place : place + 1]
        place += 1
    return word


# --- macOS


@dataclass(frozen=True)
class LaunchAgent:
    """A property list that launchd reads at login."""

    path: Path

    def program(self) -> str | None:
        """The first of its arguments."""
        import plistlib
        from xml.parsers.expat import ExpatError

        try:
            content = plistlib.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, ExpatError) as error:  # damaged
            raise OSError(str(error)) from error
        arguments = content.get("ProgramArguments") or [""]
        return None if content.get("Disabled") else str(arguments[0])

    def write(self, command: CommandLine) -> None:
        """Write the list. RunAtLoad without KeepAlive: once at login, and never by itself again."""
        import plistlib

        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "ProcessType": "Interactive",
        }
        write_atomically(self.path, plistlib.dumps(content), mode=0o644)

    def remove(self) -> None:
        """Remove the list."""
        self.path.unlink(missing_ok=True)


# --- Windows


class RunKey:
    """A value of the user's Run key in the registry."""

    def __init__(self) -> None:
        self._registry: Any = import_module("winreg")  # only there is it

    def program(self) -> str | None:
        """The first word of the value."""
        try:
            with self._open() as key:
                value, _kind = self._registry.QueryValueEx(key, APP_NAME)
        except FileNotFoundError:
            return None
        return str(value).removeprefix('"').split('"', 1)[0]

    def write(self, command: CommandLine) -> None:
        """Set the value."""
        quoted = " ".join(f'"{word}"' for word in command)
        with self._open() as key:
            self._registry.SetValueEx(key, APP_NAME, 0, self._registry.REG_SZ, quoted)

    def remove(self) -> None:
        """Delete the value."""
        with self._open() as key, contextlib.suppress(FileNotFoundError):
            self._registry.DeleteValue(key, APP_NAME)

    def _open(self) -> Any:
        return self._registry.CreateKey(self._registry.HKEY_CURRENT_USER, _RUN_KEY)
