"""Start at login: an entry in the place where the desktop looks for programs to start.

Each system has its own place and format; `of_this_system` knows which. The user's choice isn't kept
anywhere else, so if the desktop's own settings remove the entry, that counts.
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
"""The label of the launch agent on macOS."""

_RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"


class AutostartEntry(Protocol):
    """The entry for start at login on one system. Its methods raise `OSError`."""

    def program(self) -> str | None:
        """The program in the entry; None when the entry is missing or switched off."""

    def write(self, command: CommandLine) -> None:
        """Create or replace the entry, so that this command is started."""

    def remove(self) -> None:
        """Remove the entry; no error without one."""


@dataclass(frozen=True)
class Autostart:
    """Switches start at login on and off.

    The methods access the disk: call them in a thread, unless a widget needs the answer at once.
    """

    entry: AutostartEntry
    command: CommandLine
    """Starts the app; written into the entry."""

    @property
    def is_on(self) -> bool:
        """Whether the app is started at login; False when that can't be read."""
        with contextlib.suppress(OSError):
            return self.entry.program() is not None
        return False

    def switch(self, on: bool) -> None:
        """Switch start at login on or off. Raises `AutostartError`."""
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
        """Rewrite the entry when its program doesn't exist any more.

        That happens when the app was moved, or an update has another file name.
        """
        try:
            program = self.entry.program()
            if program is not None and shutil.which(program) is None:
                self.entry.write(self.command)
        except OSError as error:
            log.warning("the entry for start at login can't be repaired: %s", error)


def of_this_system(data_dir: Path | None = None) -> Autostart:
    """Start at login for this system. data_dir: the folder given on the command line, or None."""
    return Autostart(_entry(), own_command(data_dir))


def _entry() -> AutostartEntry:
    if sys.platform == "darwin":
        return LaunchAgent(Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist")
    if sys.platform == "win32":
        return RunKey()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return DesktopEntry(Path(config).expanduser() / "autostart" / f"{APP_NAME}.desktop")


def own_command(data_dir: Path | None = None) -> CommandLine:
    """The command that starts this app in the tray: AppImage, frozen program, or source."""
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
    """A .desktop file, as in the XDG "Desktop Application Autostart Specification"."""

    path: Path

    def program(self) -> str | None:
        """The first word of the file's ``Exec``."""
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
    r"""Quote a word of ``Exec``.

    The desktop unescapes it twice, first as a string and then as a command line, both with ``\``.
    ``%`` is doubled, since it begins a field code.
    """
    for special in ("\\", '"', "`", "$"):
        word = word.replace(special, f"\\{special}")
    return '"' + word.replace("\\", "\\\\").replace("%", "%%") + '"'


def _first_word(command: str) -> str:
    r"""The first word of ``Exec``, unquoted. Other programs may have written it without quotes."""
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
    """A property list (macOS) that launchd reads at login."""

    path: Path

    def program(self) -> str | None:
        """The first of the list's ``ProgramArguments``."""
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
        """Write the list. RunAtLoad without KeepAlive starts the app once, at login."""
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
    """A value under the user's Run key in the registry (Windows)."""

    def __init__(self) -> None:
        self._registry: Any = import_module("winreg")  # exists on Windows only

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
