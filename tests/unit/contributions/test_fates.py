"""What is said of each swarm is what became of its newest contribution."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from app.contributions.fates import fates_of, unreported
from app.contributions.ledger import Ledger
from app.contributions.outbox import OutboxState
from app.state.facts import ReportingState, Swarm
from app.state.state import ContributorState
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


SWARM = Swarm(
    run_id="run", title="", model_type="gpt2", dataset="", target_batch_size=256, session_id=7
)
URL = "https://b.example"


def test_what_is_not_reported_of_the_swarm_that_we_are_in_says_why() -> None:
    def why(swarm: Swarm | None, **reporting: Any) -> str:
        known = ReportingState(**{"backend_url": URL, "signed_in_as": "you@a.b"} | reporting)
        return unreported(ContributorState(swarm=swarm, reporting=known))

    assert (
        why(None)
        == why(SWARM)
        == why(SWARM, kept=((("another", 7), "no 7"), (("run", 8), "no 8")))
        == ""
    )
    assert "to https://b.example once you sign in" in why(SWARM, signed_in_as="")
    assert "are kept here: no 7." in why(SWARM, kept=((("run", 7), "no 7"),))
    plain = replace(SWARM, session_id=None)
    assert "names no session" in why(plain)
    assert "session at the backend has no number" in why(replace(plain, training_id="uuid"))
