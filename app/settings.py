"""The user's settings: one frozen value, from the file < the environment < the command line."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app import settings_file
from app.errors import DamagedSettingsError, SettingsError

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_KEY = r"^([A-Za-z0-9+/]{43}=)?$"  # of 32 bytes in base64
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,260}")


class Settings(BaseSettings):
    """What can be set. Each field stands in the file under its own name, and in the
    environment under its alias (those without ``COTRAIN_`` are the contract's).

    device: as torch names it, ``cpu``, ``cuda:0``, ``mps``; ``auto`` for the first GPU, or CPU.
    threads: CPU threads of the trainer; 0 for all cores but one.
    dht_port, server_port: TCP ports of the embedded peer and of the trainer's; when one is
    taken, a free one is used and said. 0 is any free port.
    initial_peers: multiaddrs to enter by, besides the spec's; a comma list in the environment.
    report_interval: seconds of training that one contribution is about.
    backend_url: of the CoTrain backend, without ``/api/v1``. Nothing is sent there before somebody
    signs in.
    debug: log in detail, and measure how long the loop stalls.
    update_url, update_key: where the newest version is published, and the publisher's public key
    (base64); nobody is asked unless both are given.
    publish_machine: let the swarm see this machine's figures, under ``alias`` (a made-up name
    unless set; the host's name is never used) and ``lab``, by which an admin finds the machines.
    callback: serve the local API. callback_host, callback_port: where; the next free port when
    that one is taken, 0 for any. callback_allowed_hosts: names in a ``Host`` header besides
    loopback's; callback_origins: web pages' origins that may call; callback_certificate,
    callback_key: PEM files, for https.
    consent: whether a task from outside may train here: ``ask`` the volunteer, ``always`` for
    callers at ``consent_backends`` (addresses and networks; others are asked about), ``never``.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    device: str = Field("auto", validation_alias="COTRAIN_DEVICE", pattern=r"^[a-z]+(:\d+)?$")
    threads: int = Field(0, validation_alias="COTRAIN_THREADS", ge=0, le=1024)
    theme: Literal["system", "light", "dark"] = Field("system", validation_alias="COTRAIN_THEME")
    language: Literal["system", "en", "zh_CN"] = Field(
        "system", validation_alias="COTRAIN_LANGUAGE"
    )
    dht_port: int = Field(8080, validation_alias="HIVEMIND_DHT_PORT", ge=0, le=65535)
    server_port: int = Field(8081, validation_alias="HIVEMIND_SERVER_PORT", ge=0, le=65535)
    initial_peers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="HIVEMIND_INITIAL_PEERS"
    )
    report_interval: int = Field(60, validation_alias="COTRAIN_REPORT_INTERVAL", ge=10, le=86400)
    backend_url: str = Field("http://backend:3001", validation_alias="BACKEND_URL")
    debug: bool = Field(False, validation_alias="DEBUG")
    update_url: str = Field("", validation_alias="COTRAIN_UPDATE_URL")
    update_key: str = Field("", validation_alias="COTRAIN_UPDATE_KEY", pattern=_KEY)
    publish_machine: bool = Field(True, validation_alias="COTRAIN_PUBLISH_MACHINE")
    alias: str = Field("", validation_alias="COTRAIN_ALIAS", max_length=40)
    lab: str = Field("", validation_alias="COTRAIN_LAB", max_length=40)
    callback: bool = Field(True, validation_alias="COTRAIN_CALLBACK")
    callback_host: str = Field("127.0.0.1", validation_alias="COTRAIN_CALLBACK_HOST")
    callback_port: int = Field(8000, validation_alias="PORT", ge=0, le=65535)
    callback_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="COTRAIN_CALLBACK_ALLOWED_HOSTS"
    )
    callback_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="COTRAIN_CALLBACK_ORIGINS"
    )
    callback_certificate: str = Field("", validation_alias="COTRAIN_CALLBACK_CERTIFICATE")
    callback_key: str = Field("", validation_alias="COTRAIN_CALLBACK_KEY")
    consent: Literal["ask", "always", "never"] = Field("ask", validation_alias="COTRAIN_CONSENT")
    consent_backends: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.0/8", "::1"), validation_alias="COTRAIN_CONSENT_BACKENDS"
    )

    @field_validator(
        "initial_peers",
        "callback_allowed_hosts",
        "callback_origins",
        "consent_backends",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("backend_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        url = value.strip().rstrip("/").removesuffix("/api/v1")
        parts = urlsplit(url)
        _ = parts.port  # raises when it is none
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a web address such as https://cotrain.example:3001")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have no user name, query or fragment")
        return url

    @field_validator("update_url")
    @classmethod
    def _is_a_web_address(cls, value: str) -> str:
        if value and not urlsplit(value).hostname:
            raise ValueError("must be a web address such as https://cotrain.example/newest.json")
        return value

    @field_validator("callback_host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("must be an IP address, such as 127.0.0.1 or 0.0.0.0") from None

    @field_validator("callback_allowed_hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST.fullmatch(name):
                raise ValueError(f"{name!r} must be a host's name without a port")
        return tuple(name.lower() for name in value)

    @field_validator("callback_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} must be an origin, such as https://cotrain.example")
        return tuple(origin.lower() for origin in value)

    @field_validator("consent_backends")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(
                    f"{network!r} must be an IP address or a network, such as 10.0.0.0/8"
                ) from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line first, then the environment; `load` adds the file behind them."""
        return init_settings, env_settings


def load(file: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the settings; ``overrides`` are the command line's, by field name. file: None for a
    safe start, which goes without it.

    Raises `SettingsError` with the field and what it may be; a missing file is fine. A damaged one
    is set aside, which `DamagedSettingsError` tells: without it, the next call succeeds.
    """
    stored = {} if file is None else settings_file.read(file)

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **sources: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            first = super().settings_customise_sources(settings_cls, *args, **sources)
            return (*first, InitSettingsSource(settings_cls, init_kwargs=stored))

    try:
        return WithFile(**(overrides or {}))
    except ValidationError as error:
        remedy = f"Correct it in {file}, the environment or the command line."
        raise _explained(error, remedy=remedy) from error


def load_or_mend(
    file: Path | None, overrides: dict[str, Any] | None = None
) -> tuple[Settings, DamagedSettingsError | None]:
    """As `load`, and goes on without a damaged file; tells of it then."""
    try:
        return load(file, overrides), None
    except DamagedSettingsError as error:
        return load(file, overrides), error


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with other values, by field name. Raises `SettingsError`."""
    try:
        return Settings(**(settings.model_dump() | changes))
    except ValidationError as error:
        raise _explained(error) from error


def _explained(error: ValidationError, *, remedy: str = "") -> SettingsError:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    return SettingsError(
        f"{message} (it is {first['input']!r}).", field=_field_name(first["loc"]), remedy=remedy
    )


def _field_name(location: tuple[int | str, ...]) -> str:
    """As it stands in the environment if it comes from there, else as in the file."""
    first, *rest = (str(part) for part in location)
    if first not in os.environ:
        names = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
        first = names.get(first, first)
    return ".".join((first, *rest))


def save(file: Path, changes: dict[str, Any]) -> None:
    """Write changed fields into the file, keeping the others; never what only the environment
    or the command line said. The caller has validated them with `changed`."""
    try:
        kept = settings_file.read(file)
    except DamagedSettingsError:
        kept = {}
    settings_file.write(file, kept | changes)
