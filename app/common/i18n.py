"""Texts in the user's language.

Catalogues are gettext's, compiled into ``resources/translations/<language>/LC_MESSAGES``;
without one, English is shown. ``_`` looks the language up at each call, so that a text is
right even when its module was imported before the settings were read.
"""

import gettext
import locale
import os
from pathlib import Path

DOMAIN = "cotrain"
LANGUAGES = {"en": "English", "zh_CN": "简体中文"}

VARIABLE = "COTRAIN_LANGUAGE"
"""Of the environment: it tells the processes that we start which language to speak."""

_catalogues: list[gettext.NullTranslations] = [gettext.NullTranslations()]
"""The one in force, in a list so that `install` can replace it."""


def install(language: str, folder: Path) -> str:
    """Choose the language of every later ``_``; returns the language that is in force.

    ``language`` is a key of `LANGUAGES`, or ``"system"`` for the desktop's own.
    """
    chosen = _system_language() if language == "system" else language
    if chosen not in LANGUAGES:
        chosen = "en"
    _catalogues[:] = [gettext.translation(DOMAIN, folder, languages=[chosen], fallback=True)]
    return chosen


def spoken() -> str:
    """The language that ``_`` speaks, a key of `LANGUAGES`."""
    return _catalogues[0].info().get("language", "en")


def _(message: str) -> str:
    """The message in the chosen language."""
    return _catalogues[0].gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The singular or plural message for ``count``, in the chosen language."""
    return _catalogues[0].ngettext(singular, plural, count)


def _system_language() -> str:
    names = [os.environ.get(name, "") for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")]
    name = next((name for name in names if name), None) or locale.getlocale()[0] or "en"
    return "zh_CN" if name.startswith("zh") else "en"
