"""What the backend has forgotten is marked, counted, and put back once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contributions import recall
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger, OutboxState
from tests.support.backend.reporting import NODE, contribution

HERE, THERE = "https://b.example", "https://other.example"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite", backend=HERE)
    yield opened
    opened.close()


def confirmed(ledger: Ledger, at: float, **changes: object) -> Contribution:
    ledger.add(made := contribution(**changes))
    ledger.outbox.begin_sending(made.id, at)
    ledger.outbox.confirm(made.id, at, "http")
    return made


def test_confirmed_ones_are_in_the_order_of_their_confirmation(ledger: Ledger) -> None:
    late, early = confirmed(ledger, 20.0), confirmed(ledger, 10.0)
    confirmed(ledger, 30.0, participant="another")
    ledger.add(contribution())
    assert recall.confirmed_nodes(ledger.outbox) == ["another", NODE]
    found = recall.confirmed_reports(ledger.outbox, NODE)
    assert [(each.id, each.numbers) for each in found] == [
        (early.id, early.numbers),
        (late.id, late.numbers),
    ]


def test_forgotten_ones_are_put_back_once(ledger: Ledger) -> None:
    some = [confirmed(ledger, 10.0) for _ in range(3)]
    before = ledger.revision
    recall.mark_forgotten(ledger.outbox, [each.id for each in some[:2]], 50.0)
    assert ledger.revision > before
    assert recall.forgotten_count(ledger.outbox) == 2
    numbers = ledger.outbox.confirmed_numbers(session_id=7, participant=NODE)
    assert numbers == [some[2].numbers]
    recall.mark_known(ledger.outbox, [some[1].id])
    assert recall.refill(ledger.outbox, 60.0) == 1
    assert recall.refill(ledger.outbox, 60.0) == 0
    entry = ledger.outbox.entry(some[0].id)
    assert entry is not None
    assert (entry.state, entry.refills, entry.due_at) == (OutboxState.WAITING, 1, 60.0)
    assert entry.forgotten_at is None
    assert ledger.outbox.next_waiting(60.0, refills=False) is None
    assert ledger.outbox.next_due(refills=False) is None
    assert ledger.outbox.next_waiting(60.0) == some[0]


def test_each_backend_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    here = Ledger.open(path, backend=HERE)
    made = confirmed(here, 10.0)
    recall.mark_forgotten(here.outbox, [made.id], 50.0)
    here.close()
    there = Ledger.open(path, backend=THERE)
    assert recall.confirmed_nodes(there.outbox) == []
    assert recall.confirmed_reports(there.outbox, NODE) == []
    assert recall.forgotten_count(there.outbox) == 0
    assert recall.refill(there.outbox, 60.0) == 0
    there.close()
