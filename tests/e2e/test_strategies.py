"""Strategies with steps of their own, in real trainers over real p2pd."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app import protocol
from app.protocol import EndReason
from tests.support.processes.apps import tiny_spec, training
from tests.support.processes.workers import Worker

pytestmark = [pytest.mark.e2e]

STRATEGIES = ("diloco", "sparseloco")
ROUNDS = 3

SLOW = 100_000
"""Bytes a second, at which the state takes some twenty seconds."""


def local_spec(strategy: str) -> dict[str, Any]:
    """Some seconds between two rounds, so that a newcomer can catch up."""
    params = training(strategy=strategy, target_batch_size=8192)
    return tiny_spec(training_params=params | {strategy: {"local_batch_size": 48}})


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_two_peers_learn_together_and_hold_the_same_to_the_bit(
    hire: Callable[[], Worker], strategy: str
) -> None:
    first, second = hire(), hire()
    await first.start(spec=local_spec(strategy))
    (ready,) = first.all(protocol.Ready)
    await second.start(spec=local_spec(strategy), initial_peers=ready.addresses)
    await asyncio.gather(
        *(each.until(lambda each=each: each.rounds_with(2) >= ROUNDS) for each in (first, second))
    )
    await second.until(lambda: second.agrees_with(first, after=ROUNDS, apart=0.0))
    outcomes = await asyncio.gather(first.trainer.stop(), second.trainer.stop())
    assert [outcome.reason for outcome in outcomes] == [EndReason.STOPPED] * 2
    losses = [each.loss for each in first.all(protocol.Progress) if each.loss is not None]
    assert losses[-1] < losses[0] - 0.5
    work = first.all(protocol.Work)[-1]
    assert work.samples_entered > 0
    assert work.bytes_sent_in_rounds < ready.parameters * 2 * work.epochs


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_killed_peer_costs_no_work_and_a_newcomer_gets_the_outer_state(
    hire: Callable[[], Worker], strategy: str
) -> None:
    first, second, third = hire(), hire(), hire()
    await first.start(spec=local_spec(strategy))
    (ready,) = first.all(protocol.Ready)
    await second.start(spec=local_spec(strategy), initial_peers=ready.addresses)
    await first.until(lambda: first.rounds_with(2) >= 1)
    second.trainer.kill()
    ended = len(first.all(protocol.RoundEnded))
    await first.until(lambda: len(first.all(protocol.RoundEnded)) >= ended + ROUNDS)
    work = first.all(protocol.Work)[-1]
    assert work.samples_computed == work.samples_entered + work.samples_pending
    await third.start(spec=local_spec(strategy), initial_peers=ready.addresses)
    await third.until(lambda: third.rounds_with(2) >= 1)
    assert third.all(protocol.StateDownload)
    await first.trainer.stop()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_download_that_takes_several_rounds_ends_in_step_with_the_swarm(
    hire: Callable[[], Worker], strategy: str
) -> None:
    first, second = hire(), hire()
    spec = local_spec(strategy)
    spec["model_config"] |= {"n_embd": 192}
    params = spec["training_params"]
    params["target_batch_size"] = 3072
    params["averaging"] |= {"timeout_seconds": 60.0}
    await first.start(spec=spec)
    (ready,) = first.all(protocol.Ready)
    await first.until(lambda: len(first.all(protocol.RoundEnded)) >= 1)
    began = len(first.all(protocol.RoundEnded))
    starting = asyncio.create_task(
        second.start(download=SLOW, spec=spec, initial_peers=ready.addresses)
    )
    await second.until(lambda: bool(_whole(second)))
    took = len(first.all(protocol.RoundEnded)) - began
    await starting
    await second.until(lambda: second.rounds_with(2) >= ROUNDS)
    assert took >= ROUNDS
    # nobody had other weights, so that nothing was downloaded again, and nothing was lost
    assert len(_whole(second)) == 1
    for each in (first, second):
        work = each.all(protocol.Work)[-1]
        assert work.samples_computed == work.samples_entered + work.samples_pending


def _whole(worker: Worker) -> list[protocol.StateDownload]:
    """Downloads that were complete."""
    return [each for each in worker.all(protocol.StateDownload) if each.received == each.size]
