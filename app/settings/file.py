"""The file of the settings: read whichever version of this app wrote it, set aside when damaged."""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.common.errors import DamagedSettingsError, SettingsError
from app.common.i18n import _
from app.common.paths import write_atomically

log = logging.getLogger(__name__)

Content = dict[str, Any]
Migration = Callable[[Content], Content]


def _to_1(content: Content) -> Content:
    """The files of 0.1.0 didn't say their version; nothing else was different."""
    return content


MIGRATIONS: Sequence[Migration] = (_to_1,)
"""What leads from version n to n + 1, from a file without a version on. Only ever appended to."""

_KEY = "version"


def read(file: Path) -> Content:
    """The fields that the file holds, under today's names; none without a file.

    Raises `DamagedSettingsError` for a file that is none of ours, which is set aside, and
    `SettingsError` for one that can't be read or that a later version of this app wrote.
    """
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
    version = content.pop(_KEY, 0) if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise _damaged(file)
    return _brought_up_to_date(content, version, file)


def _brought_up_to_date(content: Content, version: int, file: Path) -> Content:
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
    """Replace the file as a whole, readable by its owner alone."""
    versioned = {_KEY: len(MIGRATIONS)} | content
    write_atomically(file, json.dumps(versioned, indent=2, ensure_ascii=False).encode())


def _damaged(file: Path) -> DamagedSettingsError:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = file.with_name(f"{file.stem}.damaged-{stamp}-{os.getpid()}{file.suffix}")
    file.rename(aside)
    log.warning("%s is damaged and was set aside as %s", file, aside)
    return DamagedSettingsError(
        _("the settings file was damaged, so the default settings hold."),
        field=str(file),
        remedy=_("What was in it is kept in {file}.").format(file=aside),
    )
