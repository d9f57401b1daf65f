"""The user's settings: one frozen value, from the file < the environment < the command line."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from app.common.errors import DamagedSettingsError, SettingsError
from app.common.i18n import _
from app.common.validation import complaint_with_value
from app.p2p.network import ReachabilityMode, is_host
from app.settings import file as settings_file
from app.terms.terms import Terms

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_KEY = r"^([A-Za-z0-9+/]{43}=)?$"  # of 32 bytes in base64
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s,]+/tcp/[1-9]\d{0,4}(/p2p/\w+)?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,260}")


NewsKind = Literal["training", "paused", "attention", "milestones"]
"""What a notification is about; ``attention``: something needs the volunteer."""


class Settings(BaseSettings):
    """What can be set. Each field stands in the file under its own name, and in the
    environment under its alias (those without ``COTRAIN_`` are the contract's).

    device: as torch names it, ``cpu``, ``cuda:0``, ``mps``; ``auto`` for the first GPU, or CPU;
    several, each with a trainer of its own, with commas between.
    threads: CPU threads of the trainer; 0 for all cores but one.
    dht_port, server_port: TCP ports of the embedded peer and of the trainer's; when one is
    taken, a free one is used and said. 0 is any free port.
    initial_peers: multiaddrs to enter by, besides the spec's; a comma list in the environment.
    reachability: how others reach this machine's peers: ``auto`` finds out, and takes a relay
    behind a NAT; ``public``: directly, and this machine relays for others; ``relay``: by way of
    another peer alone; ``client``: not at all, we call on others only.
    announce: hosts' names or IP addresses by which others reach this machine, each at the peers'
    own ports, where those that are found out aren't right; also whole multiaddrs, of the embedded
    peer. trusted_relays: multiaddrs of the peers that may relay for us, instead of any.
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
    close_to_tray: closing the window hides it, where the desktop has a tray.
    notifications: what the desktop is told of while the window isn't looked at.
    consent: whether a task from outside may train here: ``ask`` the volunteer, ``always`` for
    callers at ``consent_backends`` (addresses and networks; others are asked about), ``never``.
    terms: when this machine trains, and how much of it; in the environment, each term has a name
    of its own, such as ``COTRAIN_TERMS__IDLE_MINUTES``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        env_prefix="COTRAIN_",  # of fields without an alias: sources are joined by its inner names
        env_nested_delimiter="__",
    )

    device: str = Field(
        "auto", validation_alias="COTRAIN_DEVICE", pattern=r"^[a-z]+(:\d+)?(,[a-z]+(:\d+)?)*$"
    )
    threads: int = Field(0, validation_alias="COTRAIN_THREADS", ge=0, le=1024)
    theme: Literal["system", "light", "dark"] = Field("system", validation_alias="COTRAIN_THEME")
    language: Literal["system", "en", "zh_CN"] = Field(
        "system", validation_alias="COTRAIN_LANGUAGE"
    )
    close_to_tray: bool = Field(False, validation_alias="COTRAIN_CLOSE_TO_TRAY")
    notifications: Annotated[tuple[NewsKind, ...], NoDecode] = Field(
        get_args(NewsKind), validation_alias="COTRAIN_NOTIFICATIONS"
    )
    dht_port: int = Field(8080, validation_alias="HIVEMIND_DHT_PORT", ge=0, le=65535)
    server_port: int = Field(8081, validation_alias="HIVEMIND_SERVER_PORT", ge=0, le=65535)
    initial_peers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="HIVEMIND_INITIAL_PEERS"
    )
    reachability: ReachabilityMode = Field("auto", validation_alias="COTRAIN_REACHABILITY")
    announce: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="COTRAIN_ANNOUNCE")
    trusted_relays: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="COTRAIN_TRUSTED_RELAYS"
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
    terms: Terms = Terms()

    @field_validator(
        "notifications",
        "initial_peers",
        "announce",
        "trusted_relays",
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

    @field_validator("announce")
    @classmethod
    def _are_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not (_MULTIADDR.fullmatch(one) or is_host(one)):
                message = _(
                    "{place!r} must be a host's name, an IP address or a multiaddr, such as"
                    " /ip4/203.0.113.7/tcp/8080"
                )
                raise ValueError(message.format(place=one))
        return value

    @field_validator("trusted_relays")
    @classmethod
    def _are_peers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not (_MULTIADDR.fullmatch(one) and "/p2p/" in one):
                message = _(
                    "{relay!r} must be a multiaddr that ends with the relay's peer id, such as"
                    " /ip4/203.0.113.7/tcp/8080/p2p/QmNb…"
                )
                raise ValueError(message.format(relay=one))
        return value

    @field_validator("backend_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        url = value.strip().rstrip("/").removesuffix("/api/v1")
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname, parts.port
        except ValueError:  # such as for a port that is no number
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise ValueError(_("must be a web address such as https://cotrain.example:3001"))
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(_("must have no user name, query or fragment"))
        return url

    @field_validator("update_url")
    @classmethod
    def _is_a_web_address(cls, value: str) -> str:
        if value and not urlsplit(value).hostname:
            raise ValueError(_("must be a web address such as https://cotrain.example/newest.json"))
        return value

    @field_validator("callback_host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError(_("must be an IP address, such as 127.0.0.1 or 0.0.0.0")) from None

    @field_validator("callback_allowed_hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST.fullmatch(name):
                text = _("{name!r} must be a host's name without a port")
                raise ValueError(text.format(name=name))
        return tuple(name.lower() for name in value)

    @field_validator("callback_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                text = _("{origin!r} must be an origin, such as https://cotrain.example")
                raise ValueError(text.format(origin=origin))
        return tuple(origin.lower() for origin in value)

    @field_validator("consent_backends")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                text = _("{network!r} must be an IP address or a network, such as 10.0.0.0/8")
                raise ValueError(text.format(network=network)) from None
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
        remedy = _("Correct it in {file}, the environment or the command line.")
        raise _explained(error, remedy=remedy.format(file=file)) from error
    except SourceError as error:
        raise SettingsError(
            _("must be an object in JSON."),
            field="COTRAIN_TERMS",
            remedy=_("Or set each term by its own name, such as COTRAIN_TERMS__IDLE_MINUTES=10."),
        ) from error


def load_or_mend(
    file: Path | None, overrides: dict[str, Any] | None = None
) -> tuple[Settings, DamagedSettingsError | None]:
    """As `load`, and goes on without a damaged file; tells of it then."""
    try:
        return load(file, overrides), None
    except DamagedSettingsError as error:
        return load(file, overrides), error


def origins(overrides: dict[str, Any]) -> dict[str, str]:
    """What wins over the settings file at each start, by field name (``terms.idle_minutes`` for
    a term): the environment variable, or the option of the command line, whose ``overrides`` are
    as in `load`."""
    environment = {name.upper() for name in os.environ}  # in either case, as pydantic has it
    aliases = {name: str(field.validation_alias) for name, field in Settings.model_fields.items()}
    aliases |= {f"terms.{name}": f"COTRAIN_TERMS__{name.upper()}" for name in Terms.model_fields}
    found = {name: alias for name, alias in aliases.items() if alias in environment}
    options = {name: f"--{name.replace('_', '-')}" for name in overrides}
    return found | options | {f"terms.{name}": "--term" for name in overrides.get("terms", {})}


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with other values, by field name; of the terms, those that are named.

    Raises `SettingsError`.
    """
    try:
        return Settings(**_merged(settings.model_dump(), changes))
    except ValidationError as error:
        raise _explained(error) from error


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = values | changes
    for name, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(name), dict):
            merged[name] = values[name] | change
    return merged


def _explained(error: ValidationError, *, remedy: str = "") -> SettingsError:
    first = error.errors()[0]
    return SettingsError(
        complaint_with_value(first), field=_field_name(first["loc"]), remedy=remedy
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
    settings_file.write(file, _merged(kept, changes))
