"""Weekly schedules: past midnight, across daylight saving changes, and as text."""

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from app.terms.schedule import LocalZone, Schedule, Span

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward on 29 March at 2:00, back on 25 October at 3:00
NIGHTS = Schedule.parse("mon-fri 18:00-08:00, sat-sun 00:00-24:00")

spans = some.builds(Span, some.integers(0, 1439), some.integers(1, 1440))
schedules = some.lists(some.none() | spans, min_size=7, max_size=7).map(
    lambda days: Schedule(tuple(days)) if any(days) else Schedule()
)
zones = some.sampled_from(
    [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Shanghai",
        "America/Santiago",
    ]
).map(ZoneInfo)
moments = some.integers(0, 2 * 366 * 24 * 3600).map(
    lambda seconds: datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=seconds)
)


def berlin(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


# --- as text


def test_text_form_is_parsed_and_written_back() -> None:
    assert str(NIGHTS) == "mon-fri 18:00-08:00, sat-sun 00:00-24:00"
    assert str(Schedule.parse("TUE 9:30-17:00,,")) == "tue 09:30-17:00"
    assert str(Schedule.parse("mon 18:00-00:00")) == "mon 18:00-24:00"
    assert Schedule.parse(" ") == Schedule()


@given(schedules)
def test_any_schedule_survives_its_text_form(schedule: Schedule) -> None:
    assert Schedule.parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("always", "must be days and times"),
        ("mon 18-20", "must be days and times"),
        ("xyz 18:00-20:00", "must name days"),
        ("sun-mon 18:00-20:00", "in this order"),
        ("mon 24:00-08:00", "must begin before"),
        ("mon 08:60-09:00", "no time of day"),
        ("mon 08:00-24:01", "no time of day"),
        ("mon-wed 08:00-09:00, tue 10:00-11:00", "tue is named twice"),
    ],
)
def test_malformed_text_is_explained(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Schedule.parse(text)


# --- when it is open


@pytest.mark.parametrize(
    ("now", "is_open", "change"),
    [
        ("2026-11-23 17:59:59", False, "2026-11-23 18:00"),  # a Monday
        ("2026-11-23 18:00", True, "2026-11-24 08:00"),
        ("2026-11-24 07:59:59", True, "2026-11-24 08:00"),
        ("2026-11-24 08:00", False, "2026-11-24 18:00"),
        ("2026-11-27 23:00", True, "2026-11-30 00:00"),  # Friday's span runs into the weekend's
        ("2026-11-30 00:00", False, "2026-11-30 18:00"),
    ],
)
def test_spans_past_midnight(now: str, is_open: bool, change: str) -> None:
    assert NIGHTS.is_open(berlin(now)) is is_open
    assert NIGHTS.next_change(berlin(now)) == berlin(change)


def test_without_spans_it_is_always_open() -> None:
    assert Schedule().is_open(berlin("2026-11-23 12:00"))
    assert Schedule().next_change(berlin("2026-11-23 12:00")) is None


def test_schedule_that_never_closes_has_no_next_change() -> None:
    always = Schedule.parse("mon-sun 08:00-08:00")
    assert always.is_open(berlin("2026-11-23 12:00"))
    assert always.next_change(berlin("2026-11-23 12:00")) is None


def test_begin_skipped_by_the_clock_is_the_moment_of_the_skip() -> None:
    schedule = Schedule.parse("sun 02:30-05:00")
    assert schedule.next_change(berlin("2026-03-29 01:59")) == berlin("2026-03-29 03:00")


def test_end_skipped_by_the_clock_is_the_moment_of_the_skip() -> None:
    schedule = Schedule.parse("sun 01:00-02:30")
    assert schedule.next_change(berlin("2026-03-29 01:59")) == berlin("2026-03-29 03:00")


def test_span_skipped_by_the_clock_is_left_out() -> None:
    schedule = Schedule.parse("sun 02:10-02:50")
    assert schedule.next_change(berlin("2026-03-28 12:00")) == berlin("2026-04-05 02:10")


def test_repeated_hour_closes_once() -> None:
    schedule = Schedule.parse("sun 01:00-02:30")
    assert schedule.is_open(berlin("2026-10-25 02:15"))
    assert not schedule.is_open(berlin("2026-10-25 02:15", fold=1))
    assert Schedule.parse("sun 01:00-03:00").is_open(berlin("2026-10-25 02:15", fold=1))


@given(schedules, zones, moments)
def test_it_opens_or_closes_at_the_next_change_and_not_before(
    schedule: Schedule, zone: ZoneInfo, now: datetime
) -> None:
    now = now.astimezone(zone)
    is_open, change = schedule.is_open(now), schedule.next_change(now)
    if change is None:
        assert is_open
        return
    assert change > now
    assert schedule.is_open(change.astimezone(zone)) is not is_open
    for part in (0.2, 0.5, 0.8):
        between = now.astimezone(UTC) + (change - now.astimezone(UTC)) * part
        assert schedule.is_open(between.astimezone(zone)) is is_open
    last = change - timedelta(seconds=1)
    assert last < now or schedule.is_open(last.astimezone(zone)) is is_open


@given(schedules, zones, moments)
def test_without_daylight_saving_changes_the_local_clock_decides(
    schedule: Schedule, zone: ZoneInfo, now: datetime
) -> None:
    offsets = {(now + timedelta(days=days)).astimezone(zone).utcoffset() for days in (-2, 2)}
    if len(offsets) > 1 or not schedule:
        return
    shown = now.astimezone(zone)
    minute = shown.hour * 60 + shown.minute
    today, yesterday = schedule.days[shown.weekday()], schedule.days[shown.weekday() - 1]
    expected = (today is not None and today.begin <= minute < today.begin + today.minutes) or (
        yesterday is not None and minute + 1440 < yesterday.begin + yesterday.minutes
    )
    assert schedule.is_open(shown) is expected


@settings(max_examples=15, deadline=None)
@given(zones, some.integers(2026, 2030))
def test_daily_span_is_as_long_as_the_local_clock_takes_all_year(zone: ZoneInfo, year: int) -> None:
    schedule = Schedule.parse("mon-sun 12:00-11:59")
    now = datetime(year, 1, 1, 12, tzinfo=zone)
    lengths = set()
    for _day in range(365):
        closes = schedule.next_change(now)
        assert closes is not None
        lengths.add(closes - now.astimezone(UTC))
        opens = schedule.next_change(closes.astimezone(zone))
        assert opens is not None
        now = opens.astimezone(zone)
        assert (now.hour, now.minute) == (12, 0)
    normal = timedelta(hours=23, minutes=59)
    assert all(abs(length - normal) <= timedelta(hours=1) for length in lengths)


# --- this machine's zone


def test_local_zone_knows_future_daylight_saving_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        zone = LocalZone()
        hours = [datetime(2026, 3, 28, 23, tzinfo=UTC) + timedelta(hours=h) for h in range(4)]
        shown = [hour.astimezone(zone) for hour in hours]
        assert [each.hour for each in shown] == [0, 1, 3, 4]
        assert [each.astimezone(UTC) for each in shown] == hours
        assert all(later > earlier for earlier, later in pairwise(hours))
        schedule = Schedule.parse("sun 02:30-05:00")
        assert schedule.next_change(shown[1]) == berlin("2026-03-29 03:00")
    finally:
        monkeypatch.undo()
        os.environ.pop("TZ", None)
        time.tzset()
