"""A weekly schedule in local (wall-clock) time.

A span starts when the local clock first shows its begin, and stops when the clock next shows its
end. If daylight saving time skips one of these times, the moment of the skip takes its place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby

from typing_extensions import override

from app.common.i18n import _

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_HORIZON = 8
"""Days to look ahead: enough to meet every span of a week, from any day on."""

_PART = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? +(\d\d?):(\d\d)-(\d\d?):(\d\d)")


@dataclass(frozen=True)
class Span:
    """From one time of day to another, possibly past midnight."""

    begin: int
    """Minutes after midnight."""

    end: int
    """Minutes after midnight; on the next day unless it is larger than ``begin``."""

    @property
    def minutes(self) -> int:
        """Its length on a day without a daylight saving change."""
        return self.end - self.begin + (_DAY_MINUTES if self.end <= self.begin else 0)

    @override
    def __str__(self) -> str:
        return f"{clock(self.begin)}-{clock(self.end)}"


def clock(minutes: int) -> str:
    """Minutes after midnight as text: ``08:00``."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@dataclass(frozen=True)
class Schedule:
    """The hours of the week in which training is allowed.

    As text: ``mon-fri 18:00-08:00, sat-sun 00:00-24:00``, and "" for always open.
    """

    days: tuple[Span | None, ...] = ()
    """The span of each day from Monday to Sunday, None for a closed day; () is always open."""

    def __bool__(self) -> bool:
        return any(self.days)

    @override
    def __str__(self) -> str:
        parts, first = [], 0
        for span, group in groupby(self.days):
            last = first + len(list(group)) - 1
            days = DAYS[first] if first == last else f"{DAYS[first]}-{DAYS[last]}"
            if span is not None:
                parts.append(f"{days} {span}")
            first = last + 1
        return ", ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Parse the text form. Raises `ValueError`, whose message says what is expected."""
        days: list[Span | None] = [None] * len(DAYS)
        for part in filter(None, (part.strip() for part in text.lower().split(","))):
            for day, span in _parsed(part):
                if days[day] is not None:
                    raise ValueError(_("{day} is named twice").format(day=DAYS[day]))
                days[day] = span
        return cls(tuple(days)) if any(days) else cls()

    def is_open(self, now: datetime) -> bool:
        """Whether ``now``, which carries the local time zone, is within a span."""
        return self._open_until(now) > now.astimezone(UTC) if self else True

    def next_change(self, now: datetime) -> datetime | None:
        """When the schedule next opens or closes, in UTC; None when it never does."""
        if not self:
            return None
        moment, until = now.astimezone(UTC), self._open_until(now)
        if until == moment:
            begins = (begin for begin, _ in self._spans(now) if begin > moment)
            return min(begins, default=None)
        return until if until - moment < timedelta(days=_HORIZON - 1) else None

    def _open_until(self, now: datetime) -> datetime:
        """The end of the current span and of those that adjoin it; ``now`` when closed."""
        until = now.astimezone(UTC)
        for begin, end in sorted(self._spans(now)):
            if begin <= until < end:
                until = end
        return until

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end in UTC of all spans near ``now``, without those that the clock skips."""
        zone = now.tzinfo
        assert zone is not None
        for offset in range(-1, _HORIZON + 1):
            day = now.date() + timedelta(days=offset)
            span = self.days[day.weekday()]
            if span is not None:
                begin = _moment(day, span.begin, zone)
                end = _moment(day, span.begin + span.minutes, zone)
                if begin < end:
                    yield begin, end


def _parsed(part: str) -> Iterator[tuple[int, Span]]:
    found = _PART.fullmatch(part)
    if found is None:
        text = _("{part!r} must be days and times, such as mon-fri 18:00-08:00")
        raise ValueError(text.format(part=part))
    first, last = found[1], found[2] or found[1]
    if first not in DAYS or last not in DAYS or DAYS.index(first) > DAYS.index(last):
        text = _("{part!r} must name days from {days}, in this order")
        raise ValueError(text.format(part=part, days=", ".join(DAYS)))
    begin, end = (_minutes(found[place], found[place + 1]) for place in (3, 5))
    end = end or _DAY_MINUTES
    if begin == _DAY_MINUTES:
        raise ValueError(_("{part!r} must begin before 24:00").format(part=part))
    for day in range(DAYS.index(first), DAYS.index(last) + 1):
        yield day, Span(begin, end)


def _minutes(hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > _DAY_MINUTES:
        raise ValueError(_("{time} is no time of day").format(time=f"{hours}:{minutes}"))
    return total


def _moment(day: date, minutes: int, zone: tzinfo) -> datetime:
    """When the local clock first shows a time, or skips it, in UTC."""
    wall = datetime.combine(day, time(), zone) + timedelta(minutes=minutes)
    moment = wall.astimezone(UTC)
    if _wall_time(moment, zone) == wall.replace(tzinfo=None):
        return moment
    before, after = (
        wall.replace(fold=1).astimezone(UTC),
        moment,
    )  # the skip is between these two: bisect
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if _wall_time(middle, zone) > wall.replace(tzinfo=None):
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)


def _wall_time(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


class LocalZone(tzinfo):
    """This machine's time zone, daylight saving changes included, from the C library."""

    @override
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    @override
    def dst(self, moment: datetime | None) -> timedelta | None:
        return None  # no caller needs the daylight saving part of the offset

    @override
    def tzname(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    @override
    def fromutc(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=self)
