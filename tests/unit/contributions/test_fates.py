"""What is said of each swarm is what became of its newest contribution."""

from pathlib import Path

from app.contributions.fates import fates_of
from app.contributions.ledger import Ledger
from app.contributions.outbox import OutboxState
from tests.support.backend.reporting import contribution


def test_the_newest_decides(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite", backend="https://b.example")
    ledger.add(first := contribution(run_id="a"))
    ledger.add(second := contribution(run_id="a"))
    ledger.add(contribution(run_id="b", session_id=None, training_id="uuid"))
    ledger.add(contribution(run_id="b", compute_time=0.0))  # nothing that could be reported
    ledger.save_open(contribution(run_id="c"))
    ledger.outbox.refuse(first.id, 1.0, "no")
    fates = fates_of(ledger.outbox)
    assert set(fates) == {"a", "b"}
    assert (fates["a"].state, fates["a"].backend) == (OutboxState.WAITING, "https://b.example")
    assert (fates["b"].session_id, fates["b"].training_id) == (None, "uuid")
    ledger.outbox.refuse(second.id, 2.0, "no session 7")
    assert fates_of(ledger.outbox)["a"].remark == "no session 7"
    ledger.close()
