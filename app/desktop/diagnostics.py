"""Write an archive for a bug report: logs, settings, versions and hardware, without private data.

Removed or replaced wherever they occur: tokens, passwords and keys, e-mail addresses, the names of
this machine and its user, IP addresses other than loopback's, the paths of home and data folder.
"""

import getpass
import ipaddress
import json
import logging
import platform
import re
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.common import logs
from app.common.errors import DiagnosticsError
from app.common.i18n import _
from app.common.paths import Folders
from app.desktop import about
from app.machine import landlock
from app.machine.hardware import SystemProbe
from app.settings.settings import Settings

log = logging.getLogger(__name__)

MAX_LOG_BYTES = 5_000_000
"""Of each log file, at most its last so many bytes."""

HARDWARE_SECONDS = 10.0
"""Longest wait for the drivers' figures."""

_PRIVATE_SETTINGS = frozenset(
    {
        *("alert_lab", "alert_urls", "alias", "lab", "backend_url", "callback_allowed_hosts"),
        *("callback_origins", "update_url", "announce", "initial_peers", "trusted_relays"),
    }
)
"""Settings that name a person or a server; the archive only says whether they are set."""

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?![\w:])")
_PRIVATE_KEYS = re.compile(
    r"-----BEGIN [^-]+-----.*?(-----END [^-]+-----|\Z)|ssh-rsa \S+", re.DOTALL
)
_SECRET = re.compile(
    r"(?<![\w+/=-])(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[\w+/-]{40,}={0,2}(?![\w+/-])"
)
_PEER = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|12D3Koo[1-9A-HJ-NP-Za-km-z]{45}")


def default_name() -> str:
    """The suggested file name of the archive."""
    return f"cotrain-diagnostics-{time.strftime('%Y%m%d-%H%M')}.zip"


def collect(target: Path, *, folders: Folders, settings: Settings) -> None:
    """Write the archive with mode 0600. Takes a second or two, so call it in a thread.

    Raises `DiagnosticsError` when it can't be written.
    """
    private = Private(folders)
    try:
        target.touch(mode=0o600)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in _entries(folders, settings):
                archive.writestr(name, private.scrub(text))
    except OSError as error:
        raise DiagnosticsError(
            _("the archive can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(target),
            remedy=_("Choose another folder."),
        ) from error


class Private:
    """The private data that must not leave this machine; `scrub` replaces it in a text."""

    def __init__(self, folders: Folders) -> None:
        self._words = [(word, "[secret]") for word in _secrets_in(folders)]
        self._words += [(str(Path.home()), "~"), (str(folders.data), "[data]")]
        self._names = _names_of_machine_and_user()

    def scrub(self, text: str) -> str:
        """Replace private data with placeholders such as ``[secret]``; the rest stays as it is."""
        for word, instead in self._words:
            text = text.replace(word, instead)
        text = _PRIVATE_KEYS.sub("[key]", logs.redact(text))
        text = _EMAIL.sub("[e-mail]", text)
        text = _IPV4.sub(_replace_address, text)
        text = _IPV6.sub(_replace_address, text)
        text = _SECRET.sub(_replace_unless_peer, text)
        return self._names.sub("[name]", text) if self._names is not None else text


def _secrets_in(folders: Folders) -> Iterator[str]:
    """The words of 8 or more characters in the app's files of tokens."""
    for file in (folders.callback_tokens, folders.account_file, folders.instance_file):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield from re.findall(r"[^\s\"'{}\[\]:,]{8,}", text)


def _names_of_machine_and_user() -> re.Pattern[str] | None:
    names = {socket.gethostname(), platform.node(), socket.gethostname().partition(".")[0]}
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError):  # the system has no name for this user
        log.info("this user has no name")
    wanted = sorted(names - {"", "localhost", "root"}, key=len, reverse=True)
    pattern = "|".join(map(re.escape, wanted))
    return re.compile(rf"(?i)(?<!\w)({pattern})(?!\w)") if wanted else None


def _replace_address(found: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(found.group())
    except ValueError:  # not an address but a time, a version or a hash
        return found.group()
    return found.group() if address.is_loopback or address.is_unspecified else "[address]"


def _replace_unless_peer(found: re.Match[str]) -> str:
    return found.group() if _PEER.fullmatch(found.group()) else "[secret]"


# --- the archive's files


def _entries(folders: Folders, settings: Settings) -> Iterator[tuple[str, str]]:
    yield "versions.json", _json(_versions())
    yield "settings.json", _json(_settings(settings))
    yield "hardware.json", _json(_hardware())
    yield "files.txt", "\n".join(_listing(folders))
    for file in sorted(folders.logs.glob("*.log*")):
        yield f"logs/{file.name}", _end_of(file)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _versions() -> dict[str, Any]:
    known = about.load()
    return {
        "version": known.version,
        "commit": known.commit,
        "packaged": hasattr(sys, "frozen"),
        "system": platform.platform(),
        "python": sys.version,
        "confinement": landlock.offered(),
        "parts": {part.name: part.version for part in known.parts},
    }


def _settings(settings: Settings) -> dict[str, Any]:
    """The settings; of private ones, only whether they are set."""
    return {
        name: bool(value) if name in _PRIVATE_SETTINGS else value
        for name, value in settings.model_dump(mode="json").items()
    }


def _hardware() -> dict[str, Any]:
    """A driver that hangs may be what the archive is written for: it isn't waited for."""
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: found.append(_figures()), daemon=True)
    asking.start()
    asking.join(HARDWARE_SECONDS)
    known = found[0] if found else {"unknown": "the drivers gave no answer"}
    return known | {"processor": platform.machine()}


def _figures() -> dict[str, Any]:
    probe = SystemProbe()
    try:
        reading = asdict(probe.read())
    finally:
        probe.close()
    for gpu in reading["gpus"]:
        del gpu["uuid"]
    return reading


def _listing(folders: Folders) -> Iterator[str]:
    """The files in the data folder with their sizes, to recognise a full disk or a lost file."""
    for path in sorted(folders.data.rglob("*")):
        if path.is_file():
            yield f"{path.stat().st_size:>12} {path.relative_to(folders.data)}"


def _end_of(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - MAX_LOG_BYTES))
        return stream.read().decode(errors="replace")
