"""The user's settings as one frozen value.

The command line wins over the environment, and the environment over the file.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
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
from app.p2p.network import ReachabilityMode
from app.settings import checks
from app.settings import file as settings_file
from app.terms.terms import Terms

_KEY = r"^([A-Za-z0-9+/]{43}=)?$"  # 32 bytes in base64, or nothing


NewsKind = Literal["training", "paused", "attention", "milestones"]
"""What a notification is about; ``attention`` means that the volunteer has to do something."""


TrackerName = Literal["none", "trackio", "wandb"]


class Settings(BaseSettings):
    """All settings. A field has its own name in the file, and its alias in the environment.

    The aliases without ``COTRAIN_`` are fixed by the contract. Lists are comma-separated in the
    environment and on the command line.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        env_prefix="COTRAIN_",  # for `terms`: an alias would keep its sources from being merged
        env_nested_delimiter="__",
    )

    device: str = Field(
        "auto", validation_alias="COTRAIN_DEVICE", pattern=r"^[a-z]+(:\d+)?(,[a-z]+(:\d+)?)*$"
    )
    """Torch's name: ``cpu``, ``cuda:0``, ``mps``; ``auto`` is the first GPU, or else the CPU. Each
    of several, separated by commas, gets a trainer of its own."""

    threads: int = Field(0, validation_alias="COTRAIN_THREADS", ge=0, le=1024)
    """CPU threads of the trainer; 0 for all cores but one."""

    theme: Literal["system", "light", "dark"] = Field("system", validation_alias="COTRAIN_THEME")
    language: Literal["system", "en", "zh_CN"] = Field(
        "system", validation_alias="COTRAIN_LANGUAGE"
    )
    close_to_tray: bool = Field(False, validation_alias="COTRAIN_CLOSE_TO_TRAY")
    """Closing the window hides it, if the desktop has a tray."""
    go_back: bool = Field(True, validation_alias="COTRAIN_GO_BACK")
    """At its start, the app enters the swarm again that it was in when it ended, and trains if it
    did."""

    notifications: Annotated[tuple[NewsKind, ...], NoDecode] = Field(
        get_args(NewsKind), validation_alias="COTRAIN_NOTIFICATIONS"
    )
    """What the desktop notifies about while the window isn't in front."""

    dht_port: int = Field(8080, validation_alias="HIVEMIND_DHT_PORT", ge=0, le=65535)
    """TCP port of the embedded peer; 0 for any. If it is taken, a free one is used and reported."""

    server_port: int = Field(8081, validation_alias="HIVEMIND_SERVER_PORT", ge=0, le=65535)
    """TCP port of the trainer's peer; as `dht_port`."""
    initial_peers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias="HIVEMIND_INITIAL_PEERS"
    )
    """Multiaddrs of peers to join a swarm by, besides those in its spec."""

    reachability: ReachabilityMode = Field("auto", validation_alias="COTRAIN_REACHABILITY")
    """How others reach our peers. ``auto`` finds out, and uses a relay behind a NAT; ``public``:
    directly, and we relay for others; ``relay``: only through a relay; ``client``: not at all, we
    only open connections."""

    announce: Annotated[tuple[str, ...], NoDecode, AfterValidator(checks.hosts_or_multiaddrs)] = (
        Field((), validation_alias="COTRAIN_ANNOUNCE")
    )
    """Addresses to publish instead of those found: host names or IP addresses, each with our peers'
    own ports, or whole multiaddrs of the embedded peer."""
    trusted_relays: Annotated[tuple[str, ...], NoDecode, AfterValidator(checks.relays)] = Field(
        (), validation_alias="COTRAIN_TRUSTED_RELAYS"
    )
    """Multiaddrs of the only peers that may relay for us; () allows any."""

    snapshot_every: int = Field(0, validation_alias="COTRAIN_SNAPSHOT_EVERY", ge=0, le=1_000_000)
    """A door keeps the run's state each time after so many epochs; 0: never."""

    uplink: float = Field(
        0, validation_alias="COTRAIN_UPLINK", ge=0, le=100_000, allow_inf_nan=False
    )
    """Mbit/s that this line can upload, for the figures before joining; 0: not known."""

    energy_price: float = Field(
        0, validation_alias="COTRAIN_ENERGY_PRICE", ge=0, le=1000, allow_inf_nan=False
    )
    """Of a kWh, in `currency`, to say what training costs; 0: not known."""

    currency: str = Field("€", validation_alias="COTRAIN_CURRENCY", min_length=1, max_length=8)
    """Its sign or name."""

    hub_sign_in: bool = Field(False, validation_alias="COTRAIN_HUB_SIGN_IN")
    """Read data sets of the Hugging Face hub with the user's own sign-in (``hf auth login`` or
    ``HF_TOKEN``), which lets an invite name the user's private ones."""

    report_interval: int = Field(60, validation_alias="COTRAIN_REPORT_INTERVAL", ge=10, le=86400)
    """Seconds of training that one contribution covers."""

    tensorboard: bool = Field(False, validation_alias="COTRAIN_TENSORBOARD")
    """Write what the charts show into files for TensorBoard."""

    tracker: TrackerName = Field("none", validation_alias="COTRAIN_TRACKER")
    """The module that gets what the charts show, from the user's own installation."""

    tracker_python: str = Field("", validation_alias="COTRAIN_TRACKER_PYTHON", max_length=4096)
    """The Python in which it is installed; "" for the one that runs this app, or in a packaged app
    for ``python3``."""

    backend_url: Annotated[str, AfterValidator(checks.base_url)] = Field(
        "http://backend:3001", validation_alias="BACKEND_URL"
    )
    """The CoTrain backend, without ``/api/v1``. Nothing is sent there before the user signs in."""

    backend_plain_http: bool = Field(False, validation_alias="COTRAIN_BACKEND_PLAIN_HTTP")
    """Send passwords and sign-ins also to a `backend_url` that isn't https, beyond loopback, where
    others on the network can read them."""

    refill: Literal["ask", "always", "never"] = Field("ask", validation_alias="COTRAIN_REFILL")
    """Whether contributions that the backend has confirmed and then forgotten, as it does when it
    restarts, are reported to it again."""

    debug: bool = Field(False, validation_alias="DEBUG")
    """Log in detail, and measure how long the event loop is blocked."""

    update_url: Annotated[str, AfterValidator(checks.web_address)] = Field(
        "", validation_alias="COTRAIN_UPDATE_URL"
    )
    """Where the newest version is published; "" for no check."""

    update_key: str = Field("", validation_alias="COTRAIN_UPDATE_KEY", pattern=_KEY)
    """The publisher's public key in base64; "" for no check."""

    publish_machine: bool = Field(True, validation_alias="COTRAIN_PUBLISH_MACHINE")
    """Show this machine's figures to the swarm."""

    alias: str = Field("", validation_alias="COTRAIN_ALIAS", max_length=40)
    """The published name of this machine; "" for a made-up one, never the host name."""

    lab: str = Field("", validation_alias="COTRAIN_LAB", max_length=40)
    """The published lab, by which an administrator finds its machines."""

    lab_key: str = Field(
        "", validation_alias="COTRAIN_LAB_KEY", pattern=r"^([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)?$"
    )
    """The public key of the lab whose admin may command this machine (32 bytes in base64); "" for
    nobody."""

    lab_commands: bool = Field(True, validation_alias="COTRAIN_LAB_COMMANDS")
    """Obey the lab's commands; else each is refused, and its admin told so."""

    callback: bool = Field(True, validation_alias="COTRAIN_CALLBACK")
    """Serve the local HTTP API."""

    callback_host: Annotated[str, AfterValidator(checks.ip_address)] = Field(
        "127.0.0.1", validation_alias="COTRAIN_CALLBACK_HOST"
    )
    """IP address that the local API listens on."""

    callback_port: int = Field(8000, validation_alias="PORT", ge=0, le=65535)
    """Its TCP port; 0 for any. If it is taken, the next free one is used."""
    callback_allowed_hosts: Annotated[
        tuple[str, ...], NoDecode, AfterValidator(checks.host_names)
    ] = Field((), validation_alias="COTRAIN_CALLBACK_ALLOWED_HOSTS")
    """Names that a request's ``Host`` header may have, besides loopback's."""
    callback_origins: Annotated[
        tuple[str, ...], NoDecode, AfterValidator(checks.origins_of_pages)
    ] = Field((), validation_alias="COTRAIN_CALLBACK_ORIGINS")
    """Origins of the web pages that may call the local API."""

    callback_certificate: str = Field("", validation_alias="COTRAIN_CALLBACK_CERTIFICATE")
    """PEM file; with `callback_key`, the local API uses https."""

    callback_key: str = Field("", validation_alias="COTRAIN_CALLBACK_KEY")
    consent: Literal["ask", "always", "never"] = Field("ask", validation_alias="COTRAIN_CONSENT")
    """Whether a task from outside may train here. ``always`` accepts tasks from
    `consent_backends` and asks the volunteer about others."""
    consent_backends: Annotated[tuple[str, ...], NoDecode, AfterValidator(checks.ip_networks)] = (
        Field(("127.0.0.0/8", "::1"), validation_alias="COTRAIN_CONSENT_BACKENDS")
    )
    """IP addresses and networks."""

    terms: Terms = Terms()
    """When this machine trains, and how much of it. Each term has an environment variable of its
    own, such as ``COTRAIN_TERMS__IDLE_MINUTES``."""

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
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
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
        """The command line wins over the environment; `load` adds the file as the last source."""
        return init_settings, env_settings


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
    return SettingsError(
        complaint_with_value(found), field=_field_name(found["loc"]), remedy=remedy
    )


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
    validated the changes with `changed`.
    """
    try:
        kept = settings_file.read(file)
    except DamagedSettingsError:
        kept = {}
    settings_file.write(file, _merged(kept, changes))
