"""How reporting to the backend stands, as the front ends show it."""

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True, kw_only=True)
class ReportingChanged:
    """Reporting stands otherwise than it did."""

    reporting: ReportingState
