"""What the delivery reads from and writes to the outbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contributions.ledger import Ledger
from app.contributions.outbox import LONGEST_WAIT, OutboxState
from tests.support.backend.reporting import contribution


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def test_the_last_attempt(ledger: Ledger) -> None:
    assert ledger.outbox.last_attempt() is None
    ledger.add(one := contribution())
    ledger.add(other := contribution())
    assert ledger.outbox.last_attempt() is None
    for at, each in ((10.0, one), (20.0, other), (30.0, one)):
        ledger.outbox.begin_sending(each.id, at)
        ledger.outbox.postpone(each.id, at + 5, "away")
    last = ledger.outbox.last_attempt()
    assert last is not None
    assert (last.contribution, last.attempts, last.due_at) == (one, 2, 35.0)
    assert last.state is OutboxState.WAITING


def test_when_the_next_is_due(ledger: Ledger) -> None:
    assert ledger.outbox.next_due() is None
    ledger.add(one := contribution())
    assert ledger.outbox.next_due() == 0
    ledger.outbox.postpone(one.id, 50.0, "away")
    assert ledger.outbox.next_due() == 50
    ledger.outbox.begin_sending(one.id, 60.0)
    assert ledger.outbox.next_due() is None


def test_a_due_time_of_a_wrong_clock_holds_nothing_up(ledger: Ledger) -> None:
    ledger.add(one := contribution())
    ledger.outbox.postpone(one.id, 1000.0, "away")
    assert ledger.outbox.next_waiting(999.0) is None
    assert ledger.outbox.next_waiting(1000.0) == one
    assert ledger.outbox.next_waiting(1000.0 - LONGEST_WAIT) is None
    assert ledger.outbox.next_waiting(999.0 - LONGEST_WAIT) == one
    assert ledger.outbox.next_waiting(float("inf")) == one


def test_numbers_of_the_confirmed_ones_of_a_run(ledger: Ledger) -> None:
    others = {
        "one": contribution(compute_time=50.004),
        "another": contribution(compute_time=50.02),
        "another session": contribution(compute_time=50.0, session_id=8),
        "another node": contribution(compute_time=50.0, participant="somebody"),
        "not confirmed": contribution(compute_time=50.0),
    }
    for name, each in others.items():
        ledger.add(each)
        ledger.outbox.begin_sending(each.id, 1.0)
        if name != "not confirmed":
            ledger.outbox.confirm(each.id, 2.0, "http")
    found = ledger.outbox.confirmed_numbers(session_id=7, participant=others["one"].participant)
    assert found == [others["one"].numbers, others["another"].numbers]
