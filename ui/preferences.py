"""What the user chose for the window itself, kept in the settings file."""

from typing import cast

from ui.session_model import SessionModel
from ui.theme import Choice, Theme


class Preferences:
    """Theme and language."""

    def __init__(self, model: SessionModel, theme: Theme) -> None:
        self._model = model
        self._theme = theme

    @property
    def theme(self) -> str:
        """``system``, ``light`` or ``dark``."""
        return self._theme.choice

    @property
    def language(self) -> str:
        """``system``, or one that the window's next start will have."""
        return self._model.session.settings.language

    def choose_theme(self, choice: str) -> None:
        """Change the theme now, and for later starts."""
        self._theme.choose(cast("Choice", choice))
        self._save("theme", choice)

    def choose_language(self, language: str) -> None:
        """Change the language of later starts: texts are made once, when a widget is."""
        self._save("language", language)

    def _save(self, field: str, value: str) -> None:
        self._model.run(self._model.session.change_settings({field: value}))
