"""The volunteer's terms, and the verdict that follows from them.

`verdict` is a pure function: from the terms and the machine's present conditions it decides whether
to train now, for which reasons not, and for what share of the time to compute.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from app.common.i18n import _
from app.terms.schedule import Schedule

COOLER_BY = 5.0
"""A device that was too hot trains again at this many °C below its limit (hysteresis)."""

LIFTABLE = frozenset(
    {"schedule", "idle_minutes", "mains_only", "unmetered_only", "programs", "max_others_use"}
)
"""The terms of convenience. Those against heat, and amounts, can't be lifted for a while."""

MIN_RUN_SECONDS = 30.0
TOLERATED = 3.0
"""For the first `MIN_RUN_SECONDS` after a pause, a device may be `TOLERATED` °C above its limit. It
warms up at once, and would otherwise start and stop every few seconds."""

QUIET_SECONDS = 30.0
"""How long other programs must not have used the GPU before training goes on (debounce)."""

LEAST_LIMIT = 40
"""Lowest temperature limit, °C: below it, a device would hardly ever train."""

GB = 10**9

MBIT = 125_000
"""Bytes of a megabit: the terms for the network are in Mbit/s."""

MIN_SHARE = 0.05
"""Smallest share of the time to compute when the power limit slows training down."""

POWER_SMOOTHING = 0.3
"""Weight of the newest power reading in the exponential moving average."""


def _split_names(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        return tuple(str(name).strip() for name in value if str(name).strip())
    return value


def _zero_or_least(value: int) -> int:
    if 0 < value < LEAST_LIMIT:
        text = _("must be at least {least} °C, or 0 for no limit")
        raise ValueError(text.format(least=LEAST_LIMIT))
    return value


class Terms(BaseModel):
    """What the volunteer allows; by default, everything. A 0 means no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[
        Schedule,
        BeforeValidator(lambda value: Schedule.parse(value) if isinstance(value, str) else value),
        PlainSerializer(str),
    ] = Schedule()
    """Train only in these hours of the week."""

    idle_minutes: int = Field(0, ge=0, le=1440)
    """Train only after this many minutes without keyboard or mouse input."""

    mains_only: bool = False
    """Don't train on battery."""

    unmetered_only: bool = False
    """Don't train on a connection that is paid by volume."""

    programs: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = ()
    """Don't train while a process with one of these names runs."""

    max_others_use: int = Field(0, ge=0, le=99)
    """Don't train while other programs use this many percent of the GPU or more."""

    max_temperature: Annotated[int, AfterValidator(_zero_or_least)] = Field(0, ge=0, le=120)
    """°C at which the training device pauses."""

    compute_share: int = Field(100, ge=10, le=100)
    """Percent of the time to compute."""

    max_power: int = Field(0, ge=0, le=5000)
    """Average power of the training device in W, kept by computing a smaller share of the time."""

    max_upload: int = Field(0, ge=0, le=10_000)
    """Tensors, Mbit/s."""

    max_download: int = Field(0, ge=0, le=10_000)
    """Tensors, Mbit/s."""

    max_monthly: int = Field(0, ge=0, le=1_000_000)
    """GB of tensors, sent and received together, in a calendar month."""

    max_disk: int = Field(0, ge=0, le=100_000)
    """GB of checkpoints and downloaded data."""

    max_memory: int = Field(0, ge=0, le=10_000)
    """GB of each training device's memory, a GPU's or the machine's; applies at the next start."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The machine at one moment; None for a value that is unknown or that no term needs.

    The device's values are those of the training device; of several, the largest.
    """

    now: datetime
    """In the local time zone."""

    idle: float | None = None
    """Seconds without keyboard or mouse input."""

    on_mains: bool | None = None
    metered: bool | None = None
    """The network connection is paid by volume."""

    temperature: float | None = None
    """°C."""

    power: float | None = None
    """W."""

    others_use: float | None = None
    """Share of the GPU that other programs use, 0 to 1."""

    programs: frozenset[str] | None = None
    """Which of the programs that the terms name are running."""

    month_bytes: int | None = None
    """Bytes of tensors sent and received in this calendar month."""

    disk: int | None = None
    """Bytes of checkpoints and downloaded data."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why this machine must not train now."""

    term: str
    """The field of `Terms` that forbids it."""

    text: str
    """A sentence for the user."""

    until: float | None = None
    """When the reason may end by itself, in seconds since the epoch; None when unknown."""

    unmeasured: bool = False
    """This machine couldn't measure what the term is about, and perhaps never can."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to train now, and for what share of the time to compute.

    Times are seconds since the epoch.
    """

    reasons: tuple[Reason, ...] = ()
    """Everything that forbids training; () allows it."""

    until: float | None = None
    """Earliest time of a change between allowed and forbidden; None when unknown."""

    share: float = 1.0
    """Share of the time to compute, 0 to 1."""

    since: float = -math.inf
    """When it last changed between allowed and forbidden; the next verdict needs it."""

    power: float | None = None
    """Smoothed power in W; the next verdict needs it."""

    @property
    def allows(self) -> bool:
        """Training may go on."""
        return not self.reasons

    @property
    def may_be_lifted(self) -> bool:
        """Training is forbidden by terms of convenience alone, which the user may lift."""
        return bool(self.reasons) and all(reason.term in LIFTABLE for reason in self.reasons)

    def lifted(self, until: float) -> "Verdict":
        """Without the terms that the user has lifted until then."""
        reasons = tuple(reason for reason in self.reasons if reason.term not in LIFTABLE)
        return replace(self, reasons=reasons, until=_until(reasons) if reasons else until)

    def reason(self, term: str) -> Reason | None:
        """The reason that comes from this term, if there is one."""
        return next((reason for reason in self.reasons if reason.term == term), None)


def verdict(terms: Terms, conditions: Conditions, before: Verdict) -> Verdict:
    """Apply the terms to the present conditions. before: the verdict of the previous check.

    A value that a term needs but that is unknown forbids training, because the term might be
    violated. Only an unknown connection counts as unmetered.
    """
    now = conditions.now.timestamp()
    reasons = tuple(_reasons(terms, conditions, before, now))
    power = _smoothed(conditions.power, before.power)
    changed = bool(reasons) is before.allows
    return Verdict(
        reasons=reasons,
        until=_until(reasons) if reasons else _closing(terms.schedule, conditions.now),
        share=_share(terms, power, before),
        since=now if changed else before.since,
        power=power,
    )


def _until(reasons: tuple[Reason, ...]) -> float | None:
    times = [reason.until for reason in reasons]
    return None if None in times else max(time for time in times if time is not None)


def _closing(schedule: Schedule, now: datetime) -> float | None:
    closing = schedule.next_change(now)
    return None if closing is None else closing.timestamp()


# --- the reasons


def _reasons(terms: Terms, conditions: Conditions, before: Verdict, now: float) -> Iterator[Reason]:
    """All reasons, in the order of the fields of `Terms`."""
    if not terms.schedule.is_open(conditions.now):
        opening = _closing(terms.schedule, conditions.now)
        yield Reason(term="schedule", text=_("It is outside of your hours."), until=opening)
    if terms.idle_minutes:
        yield from _in_use(terms.idle_minutes, conditions.idle, now)
    if terms.mains_only:
        yield from _on_battery(conditions.on_mains)
    if terms.unmetered_only and conditions.metered:
        yield Reason(term="unmetered_only", text=_("The network connection is metered."))
    if terms.programs:
        yield from _programs(conditions.programs)
    if terms.max_others_use:
        yield from _others(terms.max_others_use, conditions.others_use, before, now)
    if terms.max_temperature:
        yield from _heat(terms.max_temperature, conditions.temperature, before, now)
    if terms.max_power and conditions.power is None:
        yield _unmeasured("max_power", _("The power that the device draws can't be read."))
    if terms.max_monthly:
        yield from _transferred(terms.max_monthly, conditions.month_bytes, conditions.now)
    if terms.max_disk:
        yield from _on_disk(terms.max_disk, conditions.disk)


def _unmeasured(term: str, text: str) -> Reason:
    return Reason(term=term, text=text, unmeasured=True)


def _in_use(minutes: int, idle: float | None, now: float) -> Iterator[Reason]:
    wanted = minutes * 60
    if idle is None:
        yield _unmeasured("idle_minutes", _("It can't be told whether the computer is in use."))
    elif idle < wanted:
        text = _("The computer is in use; it must be idle for {minutes} min.")
        # in whole minutes: it moves with every input
        until = math.ceil((now + wanted - idle) / 60) * 60.0
        yield Reason(term="idle_minutes", text=text.format(minutes=minutes), until=until)


def _on_battery(on_mains: bool | None) -> Iterator[Reason]:
    if on_mains is None:
        text = _("It can't be told whether the computer runs on mains power.")
        yield _unmeasured("mains_only", text)
    elif not on_mains:
        yield Reason(term="mains_only", text=_("The computer runs on battery."))


def _programs(running: frozenset[str] | None) -> Iterator[Reason]:
    if running is None:
        yield _unmeasured("programs", _("It can't be told which programs run."))
    elif running:
        text = _("In use: {programs}.").format(programs=", ".join(sorted(running)))
        yield Reason(term="programs", text=text)


def _others(percent: int, use: float | None, before: Verdict, now: float) -> Iterator[Reason]:
    """Forbid training until other programs are quiet for a while: a game may be loading a level."""
    last = before.reason("max_others_use")
    if use is None:
        text = _("It can't be told how much of the GPU other programs use.")
        yield _unmeasured("max_others_use", text)
    elif use * 100 >= percent:
        text = _("Other programs use {percent} % of the GPU.").format(percent=round(use * 100))
        yield Reason(term="max_others_use", text=text, until=now + QUIET_SECONDS)
    elif last is not None and last.until is not None and 0 < last.until - now <= QUIET_SECONDS:
        # else it is over, or the clock was set back meanwhile
        text = _("Other programs used the GPU a moment ago.")
        yield Reason(term="max_others_use", text=text, until=last.until)


def _heat(limit: int, heat: float | None, before: Verdict, now: float) -> Iterator[Reason]:
    if heat is None:
        yield _unmeasured("max_temperature", _("The temperature of the device can't be read."))
    elif heat >= _limit_now(limit, before, now):
        text = _("The device is at {heat} °C; training goes on below {limit} °C.").format(
            heat=round(heat), limit=round(limit - COOLER_BY)
        )
        yield Reason(term="max_temperature", text=text)


def _limit_now(limit: int, before: Verdict, now: float) -> float:
    if before.reason("max_temperature") is not None:
        return limit - COOLER_BY
    went_on = before.allows and 0 <= now - before.since < MIN_RUN_SECONDS
    return limit + TOLERATED if went_on else limit


def _transferred(limit: int, used: int | None, now: datetime) -> Iterator[Reason]:
    if used is None:
        text = _("It can't be told how much was transferred in this month.")
        yield _unmeasured("max_monthly", text)
    elif used >= limit * GB:
        text = _("This month's {limit} GB are used up.").format(limit=limit)
        yield Reason(term="max_monthly", text=text, until=_next_month(now).timestamp())


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (first + timedelta(days=32)).replace(day=1)


def _on_disk(limit: int, used: int | None) -> Iterator[Reason]:
    if used is None:
        text = _("It can't be told how much of the disk the app uses.")
        yield _unmeasured("max_disk", text)
    elif used >= limit * GB:
        text = _("Checkpoints and data take {used} GB of the disk; you allow {limit} GB.")
        used_gb = f"{used / GB:.1f}"
        yield Reason(term="max_disk", text=text.format(used=used_gb, limit=limit))


# --- the share of the time to compute


def _smoothed(power: float | None, before: float | None) -> float | None:
    if power is None or before is None:
        return power
    return before + POWER_SMOOTHING * (power - before)


def _share(terms: Terms, power: float | None, before: Verdict) -> float:
    """Adjust the share to the measured power, since a step's power can't be known beforehand."""
    most = terms.compute_share / 100
    if not terms.max_power or power is None or not power:
        return most
    if not before.allows:
        return min(before.share, most)  # the power of an idle device tells nothing about training
    step = min(1.05, max(0.8, terms.max_power / power))
    return min(most, max(MIN_SHARE, before.share * step))
