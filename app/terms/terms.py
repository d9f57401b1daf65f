"""The volunteer's terms: when this machine trains, and how much of it.

`verdict` is pure: it says by the terms, and by what the machine is like now, whether to train,
what forbids it if not, and at what pace.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from app.common.i18n import _
from app.terms.schedule import Schedule

COOLER_BY = 5.0
"""°C below its limit at which a device that was too hot goes on."""

MIN_RUN_SECONDS = 30.0
TOLERATED = 3.0
"""Within this time after going on, so many °C above the limit don't pause yet: a device warms up
at once, and would start and stop every few seconds."""

QUIET_SECONDS = 30.0
"""How long other programs must leave the GPU alone before training goes on."""

LEAST_LIMIT = 40
"""°C; a lower limit would never let a device train."""

GB = 10**9

MIN_SHARE = 0.05
"""Less than this of the time isn't training any more."""

POWER_SMOOTHING = 0.3
"""Weight of the newest reading of the power."""


def _names(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        return tuple(str(name).strip() for name in value if str(name).strip())
    return value


def _off_or_warm(value: int) -> int:
    if 0 < value < LEAST_LIMIT:
        text = _("must be at least {least} °C, or 0 for no limit")
        raise ValueError(text.format(least=LEAST_LIMIT))
    return value


class Terms(BaseModel):
    """What the volunteer allows; by default, everything. 0 is no limit.

    schedule: times of the week. idle_minutes: only after so long without a touch of keyboard and
    mouse. mains_only, unmetered_only: not on battery, not on a connection that costs.
    programs: not while one of these runs; names of processes. max_others_use: nor while other
    programs use so many percent of the GPU. max_temperature: of the device that trains, °C.
    compute_share: percent of the time to compute. max_power: W, kept on average by computing less.
    max_upload, max_download: of tensors, Mbit/s. max_monthly: GB of tensors both ways, in a
    calendar month. max_disk: GB of checkpoints and downloaded data. max_memory: GB of the memory
    of each device that trains, from the next start on: a GPU's own, or the machine's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[
        Schedule,
        BeforeValidator(lambda value: Schedule.parse(value) if isinstance(value, str) else value),
        PlainSerializer(str),
    ] = Schedule()
    idle_minutes: int = Field(0, ge=0, le=1440)
    mains_only: bool = False
    unmetered_only: bool = False
    programs: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    max_others_use: int = Field(0, ge=0, le=99)
    max_temperature: Annotated[int, AfterValidator(_off_or_warm)] = Field(0, ge=0, le=120)
    compute_share: int = Field(100, ge=10, le=100)
    max_power: int = Field(0, ge=0, le=5000)
    max_upload: int = Field(0, ge=0, le=10_000)
    max_download: int = Field(0, ge=0, le=10_000)
    max_monthly: int = Field(0, ge=0, le=1_000_000)
    max_disk: int = Field(0, ge=0, le=100_000)
    max_memory: int = Field(0, ge=0, le=10_000)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The machine at one moment; None where it can't be told, or where no term asks for it.

    now: in the time zone of the clock on the wall. idle: seconds without a touch. temperature
    (°C), power (W), others_use (0 to 1, by other programs): of the device that trains, and of
    several, of the one where it is most.
    programs: which of the named ones run. month_bytes: tensors sent and received in this month.
    disk: bytes of checkpoints and downloaded data.
    """

    now: datetime
    idle: float | None = None
    on_mains: bool | None = None
    metered: bool | None = None
    temperature: float | None = None
    power: float | None = None
    others_use: float | None = None
    programs: frozenset[str] | None = None
    month_bytes: int | None = None
    disk: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why not to train. term: the field of `Terms` that says so; text: a sentence; until: when it
    may go away by itself, in seconds since the epoch, where that is known."""

    term: str
    text: str
    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to train now: if nothing forbids it.

    until: when that changes at the earliest, where it is known. share: of the time to compute.
    since: when it last changed; power: smoothed, W; both for the verdict after this one.
    Times are seconds since the epoch.
    """

    reasons: tuple[Reason, ...] = ()
    until: float | None = None
    share: float = 1.0
    since: float = -math.inf
    power: float | None = None

    @property
    def allows(self) -> bool:
        """Training may go on."""
        return not self.reasons

    def reason(self, term: str) -> Reason | None:
        """What a term has against it."""
        return next((reason for reason in self.reasons if reason.term == term), None)


def verdict(terms: Terms, conditions: Conditions, before: Verdict) -> Verdict:
    """What the terms say now. before: what they said at the look before this one.

    A condition that a term asks for and nobody can tell forbids training, as it might be broken;
    only a connection is taken to be free until somebody says that it costs.
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


# --- what forbids it


def _reasons(terms: Terms, conditions: Conditions, before: Verdict, now: float) -> Iterator[Reason]:
    """All of them, in the order of the terms."""
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
        yield Reason(term="max_power", text=_("The power that the device draws can't be read."))
    if terms.max_monthly:
        yield from _transferred(terms.max_monthly, conditions.month_bytes, conditions.now)
    if terms.max_disk:
        yield from _on_disk(terms.max_disk, conditions.disk)


def _in_use(minutes: int, idle: float | None, now: float) -> Iterator[Reason]:
    wanted = minutes * 60
    if idle is None:
        text = _("It can't be told whether the computer is in use.")
        yield Reason(term="idle_minutes", text=text)
    elif idle < wanted:
        text = _("The computer is in use; it must be idle for {minutes} min.")
        # in whole minutes, as it moves with every touch
        until = math.ceil((now + wanted - idle) / 60) * 60.0
        yield Reason(term="idle_minutes", text=text.format(minutes=minutes), until=until)


def _on_battery(on_mains: bool | None) -> Iterator[Reason]:
    if on_mains is None:
        text = _("It can't be told whether the computer runs on mains power.")
        yield Reason(term="mains_only", text=text)
    elif not on_mains:
        yield Reason(term="mains_only", text=_("The computer runs on battery."))


def _programs(running: frozenset[str] | None) -> Iterator[Reason]:
    if running is None:
        yield Reason(term="programs", text=_("It can't be told which programs run."))
    elif running:
        text = _("In use: {programs}.").format(programs=", ".join(sorted(running)))
        yield Reason(term="programs", text=text)


def _others(percent: int, use: float | None, before: Verdict, now: float) -> Iterator[Reason]:
    """Until they have been quiet for a while: a game that loads a level isn't over."""
    last = before.reason("max_others_use")
    if use is None:
        text = _("It can't be told how much of the GPU other programs use.")
        yield Reason(term="max_others_use", text=text)
    elif use * 100 >= percent:
        text = _("Other programs use {percent} % of the GPU.").format(percent=round(use * 100))
        yield Reason(term="max_others_use", text=text, until=now + QUIET_SECONDS)
    elif last is not None and last.until is not None and now < last.until:
        text = _("Other programs used the GPU a moment ago.")
        yield Reason(term="max_others_use", text=text, until=last.until)


def _heat(limit: int, heat: float | None, before: Verdict, now: float) -> Iterator[Reason]:
    if heat is None:
        text = _("The temperature of the device can't be read.")
        yield Reason(term="max_temperature", text=text)
    elif heat >= _bearable(limit, before, now):
        text = _("The device is at {heat} °C; training goes on below {limit} °C.").format(
            heat=round(heat), limit=round(limit - COOLER_BY)
        )
        yield Reason(term="max_temperature", text=text)


def _bearable(limit: int, before: Verdict, now: float) -> float:
    if before.reason("max_temperature") is not None:
        return limit - COOLER_BY
    went_on = before.allows and 0 <= now - before.since < MIN_RUN_SECONDS
    return limit + TOLERATED if went_on else limit


def _transferred(limit: int, used: int | None, now: datetime) -> Iterator[Reason]:
    if used is None:
        text = _("It can't be told how much was transferred in this month.")
        yield Reason(term="max_monthly", text=text)
    elif used >= limit * GB:
        text = _("This month's {limit} GB are transferred.").format(limit=limit)
        yield Reason(term="max_monthly", text=text, until=_next_month(now).timestamp())


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (first + timedelta(days=32)).replace(day=1)


def _on_disk(limit: int, used: int | None) -> Iterator[Reason]:
    if used is None:
        text = _("It can't be told how much of the disk the app uses.")
        yield Reason(term="max_disk", text=text)
    elif used >= limit * GB:
        text = _("Checkpoints and data take {used} GB of the disk; you allow {limit} GB.")
        used_gb = f"{used / GB:.1f}"
        yield Reason(term="max_disk", text=text.format(used=used_gb, limit=limit))


# --- at what pace


def _smoothed(power: float | None, before: float | None) -> float | None:
    if power is None or before is None:
        return power
    return before + POWER_SMOOTHING * (power - before)


def _share(terms: Terms, power: float | None, before: Verdict) -> float:
    """Follows the measured power step by step, since nobody knows what a step will draw."""
    most = terms.compute_share / 100
    if not terms.max_power or power is None or not power:
        return most
    if not before.allows:
        return min(before.share, most)  # what a resting device draws says nothing
    step = min(1.05, max(0.8, terms.max_power / power))
    return min(most, max(MIN_SHARE, before.share * step))
