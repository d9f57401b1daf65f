"""Read and write the settings file: migrate older versions, set a damaged file aside."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.common.errors import DamagedSettingsError, FolderError, SettingsError
from app.common.i18n import _
from app.common.paths import set_aside, write_atomically

Content = dict[str, Any]
Migration = Callable[[Content], Content]


def _to_1(content: Content) -> Content:
    """Files of 0.1.0 have no version field; nothing else differs."""
    return content


MIGRATIONS: Sequence[Migration] = (_to_1,)
"""Element n migrates from version n to n + 1; version 0 is a file without a version field. Elements
are only ever appended, since users have files of every version."""

_VERSION_FIELD = "version"


def read(file: Path) -> Content:
    """The fields in the file, migrated to the current version; {} without a file.

    Raises `DamagedSettingsError` for a file that isn't valid, after renaming it, and
    `SettingsError` for one that can't be read or that a later version of this app wrote.
    """
    if (content := _read(file)) is None:
        raise _damaged(file)
    return content


def check(file: Path) -> Content:
    """As `read`, but a file that isn't valid stays where it is; raises `SettingsError` for it."""
    if (content := _read(file)) is None:
        raise SettingsError(
            _("isn't a settings file."),
            field=str(file),
            remedy=_("It must hold an object in JSON, such as {example}.").format(
                example='{"alias": "lab-07"}'
            ),
        )
    return content


def _read(file: Path) -> Content | None:
    """None for a file that isn't valid."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            _("the settings file can't be read: {reason}.").format(reason=error.strerror),
            field=str(file),
        ) from error
    except (ValueError, RecursionError):
        content = None
    version = content.pop(_VERSION_FIELD, 0) if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        return None
    return _migrated(content, version, file)


def _migrated(content: Content, version: int, file: Path) -> Content:
    if version > len(MIGRATIONS):
        raise SettingsError(
            _("the settings were written by a later version of this app."),
            field=str(file),
            remedy=_("Update the app, or give it another folder with --data-dir."),
        )
    for migrate in MIGRATIONS[version:]:
        content = migrate(content)
    return content


def write(file: Path, content: Content) -> None:
    """Replace the file atomically, with mode 0600. Raises `FolderError`."""
    versioned = {_VERSION_FIELD: len(MIGRATIONS)} | content
    try:
        write_atomically(file, json.dumps(versioned, indent=2, ensure_ascii=False).encode())
    except OSError as error:
        raise FolderError(
            _("the settings can't be saved for later starts: {reason}.").format(
                reason=error.strerror or error
            ),
            field=str(file),
            remedy=_("Check that the disk isn't full and that you may write there."),
        ) from error


def _damaged(file: Path) -> DamagedSettingsError:
    """Rename the file; returns the error that tells the user so."""
    aside = set_aside(file)
    return DamagedSettingsError(
        _("the settings file was damaged, so the default settings are used."),
        field=str(file),
        remedy=_("What was in it is kept in {file}.").format(file=aside),
    )
