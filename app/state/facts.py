"""What the state is made of."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something to show until it is mended; parts as in `UserFacingError`."""

    message: str
    field: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """The swarm we are in, or about to join: from its spec. session_id, training_id: the
    backend's numbers, None where it doesn't offer the swarm."""

    run_id: str
    title: str
    model_type: str
    dataset: str
    target_batch_size: int
    session_id: int | None = None
    training_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainerPart:
    """One of our trainers. peer_id, device_name: "" until it is ready."""

    device: str
    peer_id: str = ""
    device_name: str = ""
    micro_batch_size: int | None = None
    samples_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class LocalApi:
    """Where callers on this machine, or beyond, reach us. wanted_port: the setting's, which
    somebody else has when it is another one than the address's."""

    url: str
    port: int
    wanted_port: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version later than this one. url: of the page to get it from."""

    version: str
    url: str


class ReportingStatus(StrEnum):
    """In one word."""

    OFF = "off"  # nobody is signed in; contributions are kept
    ON = "on"
    WAITING = "waiting"  # the backend allows no more for now, or an answer was lost
    FAILING = "failing"


@dataclass(frozen=True, kw_only=True)
class ReportingState:
    """signed_in_as: an e-mail address, "" for nobody. since: when the status began, seconds since
    the epoch; next_try: when it is tried again. reason, remedy: why it waits or fails, what to do.
    way: what reports go over, ``http`` or ``socket.io``, "" until one went. encrypted: nobody on
    the way to the backend can read along.
    """

    backend_url: str = ""
    encrypted: bool = True
    signed_in_as: str = ""
    status: ReportingStatus = ReportingStatus.OFF
    since: float | None = None
    next_try: float | None = None
    reason: str = ""
    remedy: str = ""
    way: str = ""
