"""The user's settings as one frozen value.

The command line wins over the environment, and the environment over the file.
"""

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.p2p.network import ReachabilityMode
from app.settings import checks
from app.terms.terms import Terms

_KEY = r"^([A-Za-z0-9+/]{43}=)?$"  # 32 bytes in base64, or nothing


NewsKind = Literal["training", "paused", "attention", "milestones"]
"""What a notification is about; ``attention`` means that the volunteer has to do something."""


AlertKind = Literal["silent", "failing", "hot", "slow", "refused", "disk"]
"""What an alert about a machine says: ``refused`` are contributions, ``disk`` is nearly full."""

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

    alerts: Annotated[tuple[AlertKind, ...], NoDecode] = Field(
        get_args(AlertKind), validation_alias="COTRAIN_ALERTS"
    )
    """What is told of the machines of `alert_lab`, and of this one."""

    alert_lab: str = Field("", validation_alias="COTRAIN_ALERT_LAB", max_length=40)
    """The lab whose machines are watched; empty: that of this machine; ``*``: every machine."""

    alert_urls: Annotated[tuple[str, ...], NoDecode, AfterValidator(checks.services)] = Field(
        (), validation_alias="COTRAIN_ALERT_URLS"
    )
    """Where alerts are sent besides the desktop, in apprise's form, such as
    ``mailto://user:password@example.org`` or ``ntfys://ntfy.example/lab``. They hold secrets."""

    alert_quiet: str = Field(
        "",
        validation_alias="COTRAIN_ALERT_QUIET",
        pattern=r"^(([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00))?$",
    )
    """No alerts in these hours, such as ``22:00-07:00``; what is wrong then is told after them."""

    alert_temperature: int = Field(85, validation_alias="COTRAIN_ALERT_TEMPERATURE", ge=30, le=150)
    """In °C: at it, a machine's device is hot."""

    alert_disk: float = Field(
        2, validation_alias="COTRAIN_ALERT_DISK", ge=0, le=100_000, allow_inf_nan=False
    )
    """In GB: below it, a machine's free disk is low."""

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

    training_watts: float = Field(
        0, validation_alias="COTRAIN_TRAINING_WATTS", ge=0, le=100_000, allow_inf_nan=False
    )
    """Watts that this machine takes while it trains, to estimate what can't be measured; 0: not
    known, and then nothing is estimated."""

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

    record: bool = Field(True, validation_alias="COTRAIN_RECORD")
    """Keep for months what the machines of the swarm tell, on this machine's disk."""

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

    @field_validator("alert_urls", mode="before")
    @classmethod
    def _split_at_addresses(cls, value: object) -> object:
        """An address may hold commas itself."""
        if isinstance(value, str):
            return tuple(filter(None, re.split(r"[,\s]+(?=\w+://)", value.strip())))
        return value

    @field_validator(
        "alerts",
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
