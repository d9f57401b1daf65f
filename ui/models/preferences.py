"""Reads and changes settings by name; a change is in force at once and saved for later starts."""

import asyncio
from operator import attrgetter
from typing import Any, cast

from PySide6.QtCore import QObject, Signal

from app.common.errors import UserFacingError
from app.desktop.autostart import Autostart
from ui.models.session_model import SessionModel
from ui.style.theme import Theme, ThemeName

START_AT_LOGIN = "start_at_login"
"""Looks like a setting here, but is stored as an autostart entry of the desktop."""


class Preferences(QObject):
    """The settings by name; a field of the terms is named ``terms.idle_minutes`` and so on.

    Args:
        origins: by setting, the environment variable or option that overrides the settings file at
            each start (see `app.settings.settings.origins`).
    """

    changed = Signal(str)
    """Carries the name of a setting that was changed."""

    refused = Signal(str, object)
    """Carries the name of a setting, and the `UserFacingError` why the new value is invalid."""

    def __init__(
        self,
        model: SessionModel,
        theme: Theme,
        *,
        autostart: Autostart,
        origins: dict[str, str],
    ) -> None:
        super().__init__(model)
        self._model = model
        self._theme = theme
        self._autostart = autostart
        self._origins = origins

    def value(self, name: str) -> Any:
        """The value in force."""
        if name == START_AT_LOGIN:
            return self._autostart.is_on
        return attrgetter(name)(self._model.session.store.settings)

    def origin(self, name: str) -> str:
        """The environment variable or option that sets the value at each start, or ""."""
        return self._origins.get(name, "")

    async def repair(self) -> None:
        """Correct the autostart entry if the app was moved since it was written."""
        await asyncio.to_thread(self._autostart.repair)

    def change(self, name: str, value: Any) -> None:
        """Put a new value in force and save it; `changed` or `refused` follows."""
        self._model.run(self._change(name, value))

    async def _change(self, name: str, value: Any) -> None:
        try:
            await self._apply(name, value)
        except UserFacingError as error:
            self.refused.emit(name, error)
        else:
            self.changed.emit(name)

    async def _apply(self, name: str, value: Any) -> None:
        if name == START_AT_LOGIN:
            await asyncio.to_thread(self._autostart.switch, value)
            return
        part, _dot, of_part = name.partition(".")
        await self._model.session.change_settings({part: {of_part: value} if of_part else value})
        if name == "theme":
            self._theme.choose(cast("ThemeName", value))
