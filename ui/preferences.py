"""What the user chose for the window itself, kept in the settings file."""

from pathlib import Path
from typing import cast

from app import settings
from ui.session_model import SessionModel
from ui.theme import Choice, Theme


class Preferences:
    """Theme and language."""

    def __init__(self, model: SessionModel, theme: Theme) -> None:
        self._model = model
        self._theme = theme
        self.language: str = model.session.settings.language

    @property
    def theme(self) -> str:
        """``system``, ``light`` or ``dark``."""
        return self._theme.choice

    def choose_theme(self, choice: str) -> None:
        """Change the theme now, and for later starts."""
        self._theme.choose(cast("Choice", choice))
        self._save("theme", choice)

    def choose_language(self, language: str) -> None:
        """Change the language of later starts: texts are made once, when a widget is."""
        self.language = language
        self._save("language", language)

    def _save(self, field: str, value: str) -> None:
        self._model.call(lambda: settings.save(self._file, {field: value}))

    @property
    def _file(self) -> Path:
        return self._model.session.folders.settings_file
