"""What an app contributes is in its ledger, however it ends."""

import asyncio
import re
import signal
from pathlib import Path

import psutil
import pytest

from app.common.signing import canonical, from_text, verify
from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger, LedgerEntry, OutboxState
from tests.support.processes.apps import (
    App,
    Line,
    StartApp,
    gone_within,
    group_of,
    lone_spec,
    running_parts,
)

pytestmark = [pytest.mark.e2e]

OFFERED = lone_spec(session_id=7, training_id="7c9e6679-7425-40de-944b-e07fc1f90ae7")


def read(folder: Path) -> tuple[list[LedgerEntry], list[Contribution]]:
    """What is in an app's ledger, the oldest first: finished, and going on."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    try:
        return ledger.all(limit=-1)[::-1], ledger.left_open()
    finally:
        ledger.close()


async def finished(app: App) -> list[LedgerEntry]:
    entries, left_open = await asyncio.to_thread(read, app.folder)
    assert left_open == []
    assert all(is_signed(entry.contribution) for entry in entries)
    return entries


def is_signed(made: Contribution) -> bool:
    return verify(made.public_key, canonical(made.document()), from_text(made.signature))


async def is_on_the_disk(app: App) -> Contribution:
    """An interval that goes on and in which samples have entered a round, once it is saved."""

    def found(_line: Line) -> bool:
        return any(each.samples for each in read(app.folder)[1])

    await app.wait_for(found, after=len(app.lines) - 1)
    return read(app.folder)[1][0]


def steps(app: App) -> int:
    """Micro-batches that the trainer last said it had computed."""
    return max(line["step"] or 0 for line in app.lines)


async def test_the_demo_learns_with_a_partner_and_contributes(start_app: StartApp) -> None:
    app = await start_app("--demo", "--report-interval", "10")
    start = await app.trains(peers=2)
    line = await app.wait_for(
        lambda line: line["epoch"] is not None and line["epoch"] >= start["epoch"] + 2
    )
    assert line["loss"] < 5.2  # a byte at random costs ln 256 = 5.55
    assert re.search(r"epoch \d+ averaged in [\d.]+ s: 2 peers", app.log())
    assert {"time", "phase", "step", "samples_per_second", "tokens_per_second"} <= line.keys()
    assert await app.stop(signal.SIGTERM) == 0
    entries = await finished(app)
    assert {entry.state for entry in entries} == {OutboxState.LOCAL}  # a demo is nobody's session
    agrees([entry.contribution for entry in entries], app)


def agrees(made: list[Contribution], app: App) -> None:
    """With what the demo has reported."""
    computed = sum(each.samples_computed for each in made)
    rate = max(line["samples_per_second"] or 0.0 for line in app.lines)
    assert steps(app) * 8 <= computed <= steps(app) * 8 + 10 * rate  # until it had ended
    assert 0 < sum(each.samples for each in made) <= computed
    assert sum(each.tokens for each in made) == 128 * sum(each.samples for each in made)
    assert sum(each.epochs for each in made) >= 1
    assert sum(each.bytes_sent for each in made) > 10**6  # 0.8 million parameters, each epoch
    assert sum(each.bytes_received for each in made) > 10**6
    # A sample counts in the interval of its round, whenever it was computed.
    lasted = sum(each.ended_at - each.started_at for each in made)
    assert 0 < sum(each.compute_time for each in made) < lasted
    assert any(each.uptime_ratio > 0 for each in made)
    for each in made:
        assert 0 <= each.gradient_quality <= 100
        assert 0 <= each.uptime_ratio <= 100
        assert each.samples <= each.swarm_samples


@pytest.mark.slow
async def test_what_was_given_is_kept_when_trainer_and_app_are_killed(start_app: StartApp) -> None:
    app = await start_app(spec=OFFERED, name="same")
    await app.trains(epoch=2)  # the first epoch was kept at once
    await killed_trainer_is_named_and_resumes(app)
    kept = await is_on_the_disk(app)
    await killed_app_leaves_nothing_behind(app)
    again = await start_app("--serve", name="same")
    await again.wait_for(lambda line: line["url"] is not None)
    await again.stop()
    *_, last = entries = await finished(again)
    assert {entry.state for entry in entries} == {OutboxState.WAITING}
    assert last.contribution.id == kept.id
    assert last.contribution.samples >= kept.samples
    assert last.contribution.samples_computed >= kept.samples_computed
    for made in (entry.contribution for entry in entries):
        assert (made.session_id, made.training_id) == (7, OFFERED["training_id"])
        assert made.epochs >= 1
        assert 0 < made.samples <= made.samples_computed  # what waited at a kill is in neither
    assert len({entry.contribution.public_key for entry in entries}) == 1


async def killed_trainer_is_named_and_resumes(app: App) -> None:
    said, trainer = len(app.lines), app.trainer()
    parts = psutil.Process(app.process.pid).children(recursive=True)
    group = [part for part in parts if part != trainer and group_of(part) == trainer.pid]
    trainer.kill()
    failed = await app.wait_for(lambda line: line["phase"] == "failed", after=said)
    assert "stopped unexpectedly (signal 9)" in failed["problem"]
    assert failed["peers"] is not None
    assert group
    assert await asyncio.to_thread(gone_within, 5.0, group)
    again = await app.wait_for(
        lambda line: line["phase"] == "training" and line["step"] and line["loss"] is not None,
        after=app.lines.index(failed),
    )
    assert again["epoch"] >= 1  # not from nothing


async def killed_app_leaves_nothing_behind(app: App) -> None:
    parts = running_parts()
    assert len([part for part in parts if part.name() == "p2pd"]) == 2
    app.process.kill()
    assert await asyncio.to_thread(gone_within, 10.0, parts)
    assert await app.ends() == -signal.SIGKILL
    # The trainer saw that the app is gone, and kept what it had learnt.
    assert list((app.folder / "checkpoints" / "tiny" / "trainer").glob("epoch-*.pt"))
