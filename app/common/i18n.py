"""Texts in the user's language.

The gettext catalogues are compiled into ``resources/translations/<language>/LC_MESSAGES``; without
a catalogue, texts are English. ``_`` looks the language up at each call, because modules are
imported before the settings, and with them the language, are read.
"""

import gettext
import locale
import os
from pathlib import Path

DOMAIN = "cotrain"
LANGUAGES = {"en": "English", "zh_CN": "简体中文"}

VARIABLE = "COTRAIN_LANGUAGE"
"""Environment variable that passes the chosen language on to child processes."""

_catalogues: list[gettext.NullTranslations] = [gettext.NullTranslations()]
"""Holds exactly one catalogue, the current one; a list, so that `install` can replace it."""


def install(language: str, folder: Path) -> str:
    """Choose the language of every later ``_``; returns the chosen key of `LANGUAGES`.

    ``language`` is a key of `LANGUAGES`, or ``"system"`` for the desktop's language. ``folder``
    holds the compiled catalogues. An unknown language becomes English.
    """
    chosen = _system_language() if language == "system" else language
    if chosen not in LANGUAGES:
        chosen = "en"
    _catalogues[:] = [gettext.translation(DOMAIN, folder, languages=[chosen], fallback=True)]
    return chosen


def spoken() -> str:
    """The current language of ``_``, a key of `LANGUAGES`."""
    return _catalogues[0].info().get("language", "en")


def _(message: str) -> str:
    """Translate a message into the chosen language."""
    return _catalogues[0].gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Translate a message with the plural form that fits ``count``."""
    return _catalogues[0].ngettext(singular, plural, count)


def _system_language() -> str:
    names = [os.environ.get(name, "") for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")]
    name = next((name for name in names if name), None) or locale.getlocale()[0] or "en"
    return "zh_CN" if name.startswith("zh") else "en"
