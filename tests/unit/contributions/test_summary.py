"""What a volunteer is shown of what they gave."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.contributions.ledger import Ledger, OutboxState
from app.contributions.summary import DAYS, Summary, summary_of
from tests.support.training.works import contribution

WEDNESDAY = datetime(2026, 11, 25, 9, 30)  # noqa: DTZ001  on the user's clock


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    made = Ledger.open(tmp_path / "ledger.sqlite")
    yield made
    made.close()
    monkeypatch.undo()
    time.tzset()


def add(ledger: Ledger, number: int, *, day: int, hour: int = 8, **changes: Any) -> None:
    ended = datetime(2026, 11, day, hour).timestamp()  # noqa: DTZ001
    ledger.add(
        contribution(number, started_at=ended - 60, ended_at=ended, samples=10**number, **changes)
    )


def summary(ledger: Ledger) -> Summary:
    return summary_of(ledger, WEDNESDAY.timestamp())


def test_today_this_week_and_all_in_all(ledger: Ledger) -> None:
    add(ledger, 1, day=22)  # a Sunday
    add(ledger, 2, day=23)
    add(ledger, 3, day=24, hour=23)
    add(ledger, 4, day=25, hour=0)
    found = summary(ledger)
    assert (found.today.samples, found.week.samples) == (10_000, 11_100)
    assert found.all.samples == 11_110


def test_each_of_the_last_days_is_there(ledger: Ledger) -> None:
    add(ledger, 1, day=20)
    add(ledger, 2, day=25)
    add(ledger, 3, day=25)
    days = summary(ledger).days
    assert len(days) == DAYS
    assert list(days)[-1] == "2026-11-25"
    found = {day: totals.samples for day, totals in days.items() if totals is not None}
    assert found == {"2026-11-20": 10, "2026-11-25": 1100}


def test_why_some_were_refused_and_how_many(ledger: Ledger) -> None:
    for number, reason in enumerate(("no such session", "too late", "no such session"), start=1):
        add(ledger, number, day=25)
        ledger.outbox.refuse(contribution(number).id, float(number), reason)
    found = summary(ledger)
    assert list(found.refusals.items()) == [("no such session", 2), ("too late", 1)]
    assert found.all.counts[OutboxState.REFUSED] == 3
    assert found.on_their_way == 0


def test_what_is_sent_just_now_is_on_its_way_too(ledger: Ledger) -> None:
    for number in (1, 2):
        add(ledger, number, day=25)
    ledger.outbox.begin_sending(contribution(1).id, 1.0)
    assert summary(ledger).on_their_way == 2


def test_newest_is_of_a_run_that_the_backend_knows(ledger: Ledger) -> None:
    assert summary(ledger).newest is None
    add(ledger, 1, day=25)
    add(ledger, 2, day=25, session_id=None)
    newest = summary(ledger).newest
    assert newest is not None
    assert newest.id == contribution(1).id
