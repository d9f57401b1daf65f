"""The settings as the window changes them: in force at once, and kept for later starts."""

import asyncio
from operator import attrgetter
from typing import Any, cast

from PySide6.QtCore import QObject, Signal

from app.common.errors import UserFacingError
from app.desktop.autostart import Autostart
from ui.models.session_model import SessionModel
from ui.style.theme import Choice, Theme

START_AT_LOGIN = "start_at_login"
"""Stands among the settings here, but is kept where the desktop looks for it."""


class Preferences(QObject):
    """Read and changed by name; a term's is ``terms.idle_minutes``. ``changed`` tells that one
    has, ``refused`` that a value can't be, with the `UserFacingError`.

    origins: what wins over the settings file at each start (see `app.settings.settings.origins`).
    """

    changed = Signal(str)
    refused = Signal(str, object)

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
        """What is in force."""
        if name == START_AT_LOGIN:
            return self._autostart.is_on
        return attrgetter(name)(self._model.session.store.settings)

    def origin(self, name: str) -> str:
        """The environment variable or option that gives its value at each start, or ""."""
        return self._origins.get(name, "")

    async def repair(self) -> None:
        """Let what starts at login be where the app is now."""
        await asyncio.to_thread(self._autostart.repair)

    def change(self, name: str, value: Any) -> None:
        """Let another value be in force."""
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
            self._theme.choose(cast("Choice", value))
