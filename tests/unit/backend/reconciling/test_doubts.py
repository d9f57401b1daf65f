"""Refusals that prove nothing, and reports in doubt while the backend forgets."""

import asyncio
from pathlib import Path

from app.contributions.outbox import OutboxState
from tests.support.backend.reporting import contribution, desk
from tests.support.backend.server import Fault, SmallBackend


def computed(server: SmallBackend) -> list[float]:
    return [row["computeTime"] for row in server.rows]


async def test_a_refusal_after_counting_is_read_back_and_not_sent_again(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    wrapped = {"message": "Failed to submit contribution: no gas"}
    server.faults.append(Fault(route="submit", status=400, body=wrapped, counted=True))
    async with desk(server, tmp_path) as ours:
        await ours.add(one := contribution())
        await ours.until_empty()
        assert await ours.state_of(one) is OutboxState.CONFIRMED
        assert await ours.remark_on(one) == "read back"
    assert computed(server) == [one.compute_time]


async def test_a_refusal_that_proves_nothing_is_tried_again_and_holds_nobody_up(
    server: SmallBackend, tmp_path: Path
) -> None:
    server.quirk = False
    bad, good = contribution(participant="12D3KooWbad"), contribution()
    fault = {"status": 400, "body": {"message": "Failed to submit contribution: no session 7"}}
    server.faults += [Fault(route="submit", node=bad.participant, **fault) for _ in range(4)]
    async with desk(server, tmp_path) as ours:
        await ours.add(bad, good)
        remarks = set()
        while await ours.state_of(bad) is not OutboxState.CONFIRMED:
            await asyncio.sleep(await ours.reporter.step())
            remarks.add(await ours.remark_on(bad))
    assert any("no session 7" in remark for remark in remarks)
    assert computed(server) == [good.compute_time, bad.compute_time]


async def test_one_in_doubt_keeps_its_row_from_an_alike_one_that_was_forgotten(
    server: SmallBackend, tmp_path: Path
) -> None:
    """Two were confirmed and forgotten; the one row left is that of the one in doubt."""
    server.quirk = False
    async with desk(server, tmp_path) as ours:
        await ours.add(first := contribution(), contribution())
        await ours.until_empty()
        server.forget()
        server.faults.append(Fault(route="submit", counted=True, cut=True))
        await ours.add(alike := contribution(compute_time=first.compute_time))
        await ours.until_empty()
        assert await ours.remark_on(alike) == "read back"
    assert computed(server) == [alike.compute_time]
