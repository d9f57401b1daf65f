"""Read, check, change and write the settings, from all their sources.

The command line wins over the environment, and the environment over the file.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource
from pydantic_settings import SettingsError as SourceError

from app.common.errors import DamagedSettingsError, SettingsError
from app.common.i18n import _
from app.common.validation import complaint, complaint_with_value
from app.settings import file as settings_file
from app.settings.settings import Settings
from app.terms.terms import Terms


def load(file: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the settings. A missing file is no error.

    file: None for a safe start, which ignores the file. overrides: the command line's values by
    field name. Raises `SettingsError` for an invalid value, and `DamagedSettingsError` for a
    damaged file, after renaming it, so that the next call succeeds.
    """
    stored = {} if file is None else settings_file.read(file)
    try:
        return _validated(stored, overrides or {})
    except ValidationError as error:
        raise _as_settings_error(error.errors()[0], remedy=_correct_it(file)) from error


def mistakes(file: Path | None, overrides: dict[str, Any]) -> list[SettingsError]:
    """Everything that is wrong in the file, the environment and the command line; changes nothing.

    file, overrides: as in `load`.
    """
    try:
        _validated({} if file is None else settings_file.check(file), overrides)
    except ValidationError as error:
        return [_as_settings_error(each, remedy=_correct_it(file)) for each in error.errors()]
    except SettingsError as error:
        return [error]
    return []


def _correct_it(file: Path | None) -> str:
    return _("Correct it in {file}, the environment or the command line.").format(file=file)


def _validated(stored: dict[str, Any], overrides: dict[str, Any]) -> Settings:
    """The settings from all sources. Raises `ValidationError`, and `SettingsError` for terms that
    can't be read from the environment."""

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **sources: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            first = super().settings_customise_sources(settings_cls, *args, **sources)
            return (*first, InitSettingsSource(settings_cls, init_kwargs=stored))

    try:
        return WithFile(**overrides)
    except SourceError as error:
        raise SettingsError(
            _("must be an object in JSON."),
            field="COTRAIN_TERMS",
            remedy=_("Or set each term by its own name, such as COTRAIN_TERMS__IDLE_MINUTES=10."),
        ) from error


def load_or_mend(
    file: Path | None, overrides: dict[str, Any] | None = None
) -> tuple[Settings, DamagedSettingsError | None]:
    """Read the settings as `load` does, ignoring a damaged file; returns its error or None too."""
    try:
        return load(file, overrides), None
    except DamagedSettingsError as error:
        return load(file, overrides), error


def origins(overrides: dict[str, Any]) -> dict[str, str]:
    """The environment variables and command-line options that override the settings file.

    From the field's name (``terms.idle_minutes`` for a term) to the name of the variable or
    option. overrides: as in `load`.
    """
    environment = {name.upper() for name in os.environ}  # pydantic ignores their case
    aliases = {name: str(field.validation_alias) for name, field in Settings.model_fields.items()}
    aliases |= {f"terms.{name}": f"COTRAIN_TERMS__{name.upper()}" for name in Terms.model_fields}
    found = {name: alias for name, alias in aliases.items() if alias in environment}
    options = {name: f"--{name.replace('_', '-')}" for name in overrides}
    return found | options | {f"terms.{name}": "--term" for name in overrides.get("terms", {})}


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """A copy of the settings with other values, by field name; ``terms`` may hold only some terms.

    Raises `SettingsError` for an invalid value.
    """
    try:
        return Settings(**_merged(settings.model_dump(), changes))
    except ValidationError as error:
        raise _as_settings_error(error.errors()[0]) from error


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = values | changes
    for name, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(name), dict):
            merged[name] = values[name] | change
    return merged


def _as_settings_error(found: ErrorDetails, *, remedy: str = "") -> SettingsError:
    field = _field_name(found["loc"])
    is_secret = field.lower().endswith("alert_urls")
    said = f"{complaint(found)}." if is_secret else complaint_with_value(found)
    return SettingsError(said, field=field, remedy=remedy)


def _field_name(location: tuple[int | str, ...]) -> str:
    """The variable's name if the value comes from the environment, else the name in the file."""
    first, *rest = (str(part) for part in location)
    if first not in os.environ:
        names = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
        first = names.get(first, first)
    return ".".join((first, *rest))


def save(file: Path, changes: dict[str, Any]) -> None:
    """Write changed fields into the file and keep the other fields in it.

    Values that come from the environment or the command line aren't written. The caller has
    validated the changes with `changed`. Raises `SettingsError`, or `FolderError` where the file
    can't be written.
    """
    try:
        kept = settings_file.read(file)
    except DamagedSettingsError:
        kept = {}
    settings_file.write(file, _merged(kept, changes))
