"""Two honest trainers and a hostile process of plain hivemind in one swarm."""

import logging
import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app import protocol
from app.p2p.sightings import PartFault
from tests.support.processes.attackers import hostile
from tests.support.processes.workers import Worker

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

ROUNDS = 4
FAULTS = {"nan": PartFault.NOT_FINITE, "weight": PartFault.WEIGHT}


def finite(worker: Worker) -> bool:
    losses = [each.loss for each in worker.all(protocol.Progress) if each.loss is not None]
    return bool(losses) and all(math.isfinite(loss) for loss in losses)


def rounds(worker: Worker) -> int:
    return len(worker.all(protocol.RoundEnded))


async def two_honest(hire: Callable[[], Worker]) -> tuple[Worker, Worker]:
    first, second = hire(), hire()
    await first.start()
    (ready,) = first.all(protocol.Ready)
    await second.start(initial_peers=ready.addresses)
    await first.until(lambda: first.rounds_with(2) >= 1)
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["nan", "weight"])
async def test_hostile_member_of_a_round_gains_nothing(
    hire: Callable[[], Worker], tmp_path: Path, caplog: pytest.LogCaptureFixture, attack: str
) -> None:
    caplog.set_level(logging.INFO)
    first, second = await two_honest(hire)
    (ready,) = first.all(protocol.Ready)
    async with hostile(attack, ready.addresses, tmp_path / "hostile.log"):
        await first.until(lambda: "when gradients were averaged" in caplog.text)
        before = rounds(first)
        await first.until(lambda: rounds(first) >= before + ROUNDS)
    for worker in (first, second):
        assert finite(worker)
        assert not worker.all(protocol.TrainerProblem)
        losses = [each.loss for each in worker.all(protocol.Progress) if each.loss is not None]
        assert losses[-1] < losses[0]
    named = first.all(protocol.MemberAtFault)
    honest = {each.peer_id for each in second.all(protocol.Ready)}
    assert any(each.fault is FAULTS[attack] for each in named)
    assert not any(each.evicted_until for each in named if each.peer_id in honest)


DONORS = ("garbage", "plain-rate")
MORE_DONORS = ("nan", "endless", "plain-garbage", "plain-nan", "plain-shape", "plain-endless")


@pytest.mark.slow
@pytest.mark.parametrize("donors", [DONORS, MORE_DONORS])
async def test_newcomer_takes_no_hostile_state(
    hire: Callable[[], Worker],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    donors: tuple[str, ...],
) -> None:
    caplog.set_level(logging.INFO)
    first, second = hire(), hire()
    await first.start()
    await first.until(lambda: rounds(first) >= ROUNDS)
    (ready,) = first.all(protocol.Ready)
    async with AsyncExitStack() as attackers:
        for kind in donors:
            log = tmp_path / f"{kind}.log"
            await attackers.enter_async_context(hostile(f"donor:{kind}", ready.addresses, log))
        await second.start(initial_peers=ready.addresses)
        await second.until(lambda: rounds(second) >= 1)
    assert ROUNDS <= second.all(protocol.RoundEnded)[0].epoch < 10**6
    losses = [each.loss for each in second.all(protocol.Progress) if each.loss is not None]
    untrained = math.log(256)
    assert losses[0] < untrained  # of the honest state, within a step
    await first.until(lambda: first.rounds_with(2) >= 1)


@pytest.mark.slow
async def test_forged_progress_costs_no_work(hire: Callable[[], Worker], tmp_path: Path) -> None:
    first, second = await two_honest(hire)
    (ready,) = first.all(protocol.Ready)
    async with hostile("record", ready.addresses, tmp_path / "hostile.log"):
        before = first.rounds_with(2)
        await first.until(lambda: first.rounds_with(2) >= before + ROUNDS)
    epochs = [each.epoch for each in first.all(protocol.RoundEnded)]
    assert max(epochs) < 1000
    assert finite(second)
