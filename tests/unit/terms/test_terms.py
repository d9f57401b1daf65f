"""Terms: the reasons against training, when they end, and the share of the time to compute."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from app.terms import terms as limits
from app.terms.terms import GB, Conditions, Reason, Terms, Verdict, verdict

NOON = datetime(2026, 11, 24, 12, tzinfo=ZoneInfo("Europe/Berlin"))  # a Tuesday
FIRST = Verdict()

SET = {
    "schedule": "mon-fri 18:00-08:00",
    "idle_minutes": 10,
    "mains_only": True,
    "unmetered_only": True,
    "programs": "blender, steam",
    "max_others_use": 20,
    "max_temperature": 80,
    "max_power": 200,
    "max_monthly": 50,
    "max_disk": 10,
}
GOOD: dict[str, Any] = {
    "idle": 700.0,
    "on_mains": True,
    "metered": False,
    "temperature": 60.0,
    "power": 150.0,
    "others_use": 0.05,
    "programs": frozenset(),
    "month_bytes": 0,
    "disk": 0,
}
BAD: dict[str, Any] = {
    "idle": 10.0,
    "on_mains": False,
    "metered": True,
    "temperature": 81.0,
    "power": 250.0,
    "others_use": 0.5,
    "programs": frozenset({"blender"}),
    "month_bytes": 50 * GB,
    "disk": 11 * GB,
}
OF_CONDITION = {
    "idle": "idle_minutes",
    "on_mains": "mains_only",
    "metered": "unmetered_only",
    "temperature": "max_temperature",
    "others_use": "max_others_use",
    "programs": "programs",
    "month_bytes": "max_monthly",
    "disk": "max_disk",
}


def at(seconds: float = 0.0, **conditions: Any) -> Conditions:
    return Conditions(now=NOON + timedelta(seconds=seconds), **conditions)


def names(found: Verdict) -> list[str]:
    return [reason.term for reason in found.reasons]


# --- which terms are valid


def test_nothing_is_restricted_unless_it_is_set() -> None:
    found = verdict(Terms(), at(), FIRST)
    assert found == FIRST
    assert verdict(Terms(), at(**BAD), FIRST).allows


@pytest.mark.parametrize(
    ("term", "value", "text"),
    [
        ("schedule", "weekends", "must be days and times"),
        ("idle_minutes", -1, "greater than or equal to 0"),
        ("max_temperature", 39, "must be at least 40 °C"),
        ("compute_share", 5, "greater than or equal to 10"),
        ("programs", 3, "valid tuple"),
        ("nonsense", 1, "Extra inputs are not permitted"),
    ],
)
def test_invalid_term_is_refused(term: str, value: Any, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Terms(**{term: value})


def test_terms_survive_json() -> None:
    terms = Terms.model_validate(SET)
    assert terms.programs == ("blender", "steam")
    assert Terms.model_validate_json(terms.model_dump_json()) == terms
    assert Terms(**terms.model_dump()) == terms


# --- reasons against training


@pytest.mark.parametrize("condition", OF_CONDITION)
def test_each_condition_matters_only_to_its_own_term(condition: str) -> None:
    terms = Terms.model_validate(SET | {"schedule": ""})
    assert verdict(terms, at(**GOOD), FIRST).allows
    found = verdict(terms, at(**GOOD | {condition: BAD[condition]}), FIRST)
    assert names(found) == [OF_CONDITION[condition]]
    assert found.reasons[0].text.endswith(".")


def test_all_reasons_are_listed() -> None:
    assert names(verdict(Terms.model_validate(SET), at(**BAD), FIRST)) == [
        "schedule",
        "idle_minutes",
        "mains_only",
        "unmetered_only",
        "programs",
        "max_others_use",
        "max_temperature",
        "max_monthly",
        "max_disk",
    ]


def test_unknown_conditions_forbid_training_except_an_unknown_connection() -> None:
    found = verdict(Terms.model_validate(SET | {"schedule": ""}), at(), FIRST)
    assert names(found) == [name for name in SET if name not in ("schedule", "unmetered_only")]
    assert all("can't be" in reason.text and reason.unmeasured for reason in found.reasons)
    assert not any(
        each.unmeasured for each in verdict(Terms.model_validate(SET), at(**BAD), FIRST).reasons
    )


# --- lifted for a while


def test_only_terms_of_convenience_are_lifted() -> None:
    busy = verdict(Terms.model_validate(SET), at(**GOOD | {"idle": 1.0, "on_mains": False}), FIRST)
    assert busy.may_be_lifted
    lifted = busy.lifted(9e9)
    assert (lifted.allows, lifted.until) == (True, 9e9)
    open_now = Terms.model_validate(SET | {"schedule": ""})
    hot = verdict(open_now, at(**GOOD | {"temperature": 99.0}), FIRST)
    assert not hot.may_be_lifted
    assert hot.lifted(9e9) == hot
    assert not verdict(Terms(), at(), FIRST).may_be_lifted  # nothing forbids it


# --- when the verdict changes


def test_the_schedule_says_when_it_opens_and_closes() -> None:
    terms = Terms.model_validate({"schedule": "mon-fri 18:00-08:00"})
    closed = verdict(terms, at(), FIRST)
    assert closed.until == NOON.replace(hour=18).timestamp()
    open_ = verdict(terms, at(7 * 3600), closed)
    assert open_.allows
    assert open_.until == (NOON + timedelta(hours=20)).timestamp()


def test_until_is_the_latest_reasons_and_unknown_if_one_is() -> None:
    terms = Terms.model_validate({"schedule": "tue 12:05-18:00", "idle_minutes": 10})
    found = verdict(terms, at(idle=0.0), FIRST)
    assert found.until == (NOON + timedelta(minutes=10)).timestamp()
    terms = Terms.model_validate({"schedule": "tue 18:00-20:00", "mains_only": True})
    assert verdict(terms, at(on_mains=False), FIRST).until is None


def test_monthly_limit_ends_on_the_first_of_the_next_month() -> None:
    found = verdict(Terms(max_monthly=1), at(month_bytes=2 * GB), FIRST)
    assert found.until == datetime(2026, 12, 1, tzinfo=NOON.tzinfo).timestamp()


def test_since_is_the_time_of_the_last_change() -> None:
    terms = Terms(mains_only=True)
    runs = verdict(terms, at(1, on_mains=True), FIRST)
    pauses = verdict(terms, at(2, on_mains=False), runs)
    still = verdict(terms, at(3, on_mains=False), pauses)
    assert (runs.since, pauses.since, still.since) == (
        FIRST.since,
        at(2).now.timestamp(),
        at(2).now.timestamp(),
    )


# --- heat


HOT = Terms(max_temperature=80)


def test_device_that_was_too_hot_must_cool_down_below_its_limit() -> None:
    hot = verdict(HOT, at(0, temperature=80.0), FIRST)
    assert not hot.allows
    warm = verdict(HOT, at(60, temperature=75.0), hot)
    assert not warm.allows
    assert verdict(HOT, at(61, temperature=74.9), warm).allows


@given(some.lists(some.floats(20, 120), min_size=2, max_size=60), some.floats(0.5, 20))
def test_heat_never_starts_and_stops_training_quickly(
    readings: list[float], interval: float
) -> None:
    found, went_on = FIRST, float("-inf")
    for number, heat in enumerate(readings):
        now = at(number * interval, temperature=heat)
        before, found = found, verdict(HOT, now, found)
        if found.allows:
            assert heat < 80 + limits.TOLERATED
        if found.allows and not before.allows:
            went_on = now.now.timestamp()
            assert heat < 80 - limits.COOLER_BY
        if before.allows and not found.allows:
            ran = now.now.timestamp() - went_on
            assert ran >= limits.MIN_RUN_SECONDS or heat >= 80 + limits.TOLERATED
            assert heat >= 80


@given(some.lists(some.floats(20, 120), min_size=1, max_size=30))
def test_system_clock_may_go_back(readings: list[float]) -> None:
    found = FIRST
    for number, heat in enumerate(readings):
        found = verdict(HOT, at(-3600 * number, temperature=heat), found)
        assert found.allows or heat >= 80 - limits.COOLER_BY


# --- other programs on the GPU


@given(some.lists(some.floats(0, 1), min_size=1, max_size=100))
def test_other_programs_must_have_been_quiet_for_a_while(uses: list[float]) -> None:
    terms, found, loud = Terms(max_others_use=20), FIRST, float("-inf")
    for second, use in enumerate(uses):
        found = verdict(terms, at(second, others_use=use), found)
        if use * 100 >= 20:
            loud = second
        assert found.allows is (second - loud >= limits.QUIET_SECONDS)


def test_a_clock_set_back_does_not_extend_the_wait_for_other_programs() -> None:
    terms = Terms(max_others_use=20)
    found = verdict(terms, at(0, others_use=0.5), FIRST)
    assert not verdict(terms, at(1, others_use=0.0), found).allows
    assert verdict(terms, at(-3600, others_use=0.0), found).allows


# --- the share of the time to compute


def test_compute_share_is_the_share() -> None:
    assert verdict(Terms(compute_share=30), at(), FIRST).share == 0.3


@given(
    idle=some.floats(10, 60),
    full=some.floats(120, 600),
    cap=some.integers(100, 500),
    most=some.integers(10, 100),
)
def test_average_power_stays_below_the_limit(idle: float, full: float, cap: int, most: int) -> None:
    terms = Terms(max_power=cap, compute_share=most)
    found, drawn = verdict(terms, at(0, power=idle), FIRST), []
    for second in range(1, 121):
        drawn.append(idle + found.share * (full - idle))
        found = verdict(terms, at(second, power=drawn[-1]), found)
        assert limits.MIN_SHARE <= found.share <= most / 100
    settled = sum(drawn[60:]) / 60
    possible = idle + most / 100 * (full - idle)
    assert settled == pytest.approx(min(cap, possible), rel=0.05)


def test_share_stays_the_same_over_a_pause() -> None:
    terms = Terms(max_power=100, mains_only=True)
    found = FIRST
    for second in range(30):
        found = verdict(terms, at(second, power=300.0 * found.share, on_mains=True), found)
    for second in range(30, 90):
        rests = verdict(terms, at(second, power=10.0, on_mains=False), found)
    assert rests.share == pytest.approx(found.share, rel=0.1)


def test_reasons_are_found_by_their_term() -> None:
    found = Verdict(reasons=(Reason(term="programs", text="In use: blender."),))
    assert found.reason("programs") == found.reasons[0]
    assert found.reason("schedule") is None
