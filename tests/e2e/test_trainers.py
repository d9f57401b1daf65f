"""Trainer processes, told what to do as the app tells them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from app import protocol
from app.common import i18n
from app.protocol import EndReason, TrainerPhase
from app.spec import schema
from app.spec.line import round_upload
from tests.support.processes.apps import lone_spec, tiny_spec, training
from tests.support.processes.workers import Worker

pytestmark = [pytest.mark.e2e]


async def test_a_late_joiner_takes_the_state_over_and_both_agree(
    hire: Callable[[], Worker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = hire(), hire()
    await first.start()
    await first.until(lambda: len(first.all(protocol.RoundEnded)) >= 4)
    (ready,) = first.all(protocol.Ready)
    await second.start(initial_peers=ready.addresses)
    await asyncio.gather(
        *(each.until(lambda each=each: each.rounds_with(2) >= 4) for each in (first, second))
    )
    met = second.all(protocol.RoundEnded)[0].epoch
    assert met >= 4
    last = second.all(protocol.StateDownload)[-1]
    assert 0 < last.received == last.size
    # A round that one of them missed, on a busy machine, sets them apart until a later one. A step
    # of their own moves most weights by 1e-3.
    await second.until(lambda: second.agrees_with(first, after=met + 3, apart=5e-4))
    outcomes = await asyncio.gather(first.trainer.stop(), second.trainer.stop())
    assert [outcome.reason for outcome in outcomes] == [EndReason.STOPPED] * 2
    sent_as_received(first, second, parameters=ready.parameters)


def sent_as_received(first: Worker, second: Worker, *, parameters: int) -> None:
    """What one has sent, the other has received, but for rounds that were given up midway."""
    one, other = (each.all(protocol.Work)[-1] for each in (first, second))
    assert other.bytes_received <= 1.05 * one.bytes_sent
    assert one.bytes_received <= 1.05 * other.bytes_sent
    ended = [*first.all(protocol.RoundEnded), *second.all(protocol.RoundEnded)]
    if not any(each.failure or each.arrived < 1 for each in ended):
        assert one.bytes_sent == pytest.approx(other.bytes_received, rel=0.05)
        assert other.bytes_sent == pytest.approx(one.bytes_received, rel=0.05)
    # Of a gradient's 4 bytes a parameter, each sends one half to be averaged and one averaged.
    assert second.rounds_with(2) * parameters * 4 <= other.bytes_sent
    foreseen = round_upload(
        schema.parse(tiny_spec()).training, parameters=parameters, peers=2
    ).usual  # the weights are averaged too, after the first round
    sent = [each.bytes_sent for each in second.all(protocol.RoundEnded)]
    assert any(each == pytest.approx(foreseen, rel=0.05) for each in sent)


async def test_samples_are_computed_then_entered(hire: Callable[[], Worker]) -> None:
    worker = hire()
    await worker.start(spec=lone_spec())
    await worker.until(lambda: len(worker.all(protocol.RoundEnded)) >= 3)
    await worker.trainer.stop()
    work, rounds = worker.all(protocol.Work)[-1], worker.all(protocol.RoundEnded)
    assert work.samples_entered == sum(each.samples for each in rounds)
    assert work.epochs == len(rounds)
    assert work.samples_computed == work.samples_entered + work.samples_pending
    assert work.tokens_entered == 32 * work.samples_entered
    assert 0 < work.compute_seconds <= work.training_seconds
    assert work.swarm_samples >= work.samples_entered  # it was alone
    assert (work.bytes_sent, work.bytes_received) == (0, 0)


@pytest.mark.slow
async def test_a_stop_does_not_wait_for_a_group_that_never_comes(
    hire: Callable[[], Worker],
) -> None:
    slow = {"matchmaking_seconds": 120.0, "timeout_seconds": 600.0, "record_seconds": 300.0}
    spec = tiny_spec(training_params=training(target_batch_size=1024, averaging=slow))
    first, second = hire(), hire()
    await first.start(spec=spec)
    (ready,) = first.all(protocol.Ready)
    await second.start(spec=spec, initial_peers=ready.addresses)

    def averages() -> bool:
        return first.all(protocol.PhaseChanged)[-1].phase is TrainerPhase.AVERAGING

    await first.until(lambda: any(each.peers == 2 for each in first.all(protocol.Progress)))
    second.trainer.kill()  # its records stay, so the first one waits for it
    await first.until(averages)
    outcome = await first.trainer.stop(grace=90)  # less than the group would gather
    assert outcome.reason is EndReason.STOPPED
    assert outcome.returncode == 0


async def test_pause_and_resume_are_acknowledged_and_true(hire: Callable[[], Worker]) -> None:
    worker = hire()
    await worker.start(spec=lone_spec())
    await worker.until(lambda: bool(worker.all(protocol.RoundEnded)))
    await worker.trainer.command(protocol.Pause)
    assert worker.all(protocol.PhaseChanged)[-1].phase is TrainerPhase.PAUSED
    said = len(worker.all(protocol.Progress))
    await worker.until(lambda: len(worker.all(protocol.Progress)) >= said + 3)
    steps = {each.step for each in worker.all(protocol.Progress)[said + 1 :]}
    assert len(steps) == 1  # it still reports, but computes nothing
    assert worker.all(protocol.Progress)[-1].samples_per_second is None
    await worker.trainer.command(protocol.Resume)
    await worker.until(lambda: worker.all(protocol.Progress)[-1].step > max(steps))
    assert worker.all(protocol.PhaseChanged)[-1].phase is TrainerPhase.TRAINING


@pytest.mark.slow
async def test_it_resumes_from_its_newest_checkpoint_that_is_sound(
    hire: Callable[[], Worker],
) -> None:
    worker = hire()
    await worker.start(spec=lone_spec())
    await worker.until(lambda: len(worker.all(protocol.CheckpointSaved)) >= 2)
    await worker.trainer.stop()
    saved = worker.all(protocol.CheckpointSaved)[-1].epoch
    assert await resumed(worker) == saved
    await worker.until(lambda: bool(worker.all(protocol.RoundEnded)))
    assert worker.all(protocol.RoundEnded)[0].epoch == saved
    await worker.trainer.stop()
    *_, before, newest = sorted(worker.checkpoints())
    worker.checkpoints()[newest].write_bytes(b"PK\x03\x04 no checkpoint")
    assert await resumed(worker) == int(before.split("-")[1])


async def resumed(worker: Worker) -> int | None:
    """The epoch from which it goes on when it is started again."""
    worker.reports.clear()
    await worker.start(spec=lone_spec())
    (ready,) = worker.all(protocol.Ready)
    return ready.resumed_epoch


@pytest.mark.slow
async def test_reports_come_a_few_times_a_second_whatever_the_rate_of_steps(
    hire: Callable[[], Worker],
) -> None:
    worker = hire()
    await worker.start(report_interval=0.2)
    await worker.until(lambda: len(worker.all(protocol.Progress)) >= 10)
    steps = [each.step for each in worker.all(protocol.Progress)]
    assert steps[-1] - steps[0] > 5 * len(steps)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model_config": {"model_type": "gpt2", "n_layr": 1}}, "model_config.n_layr"),
        ({"dataset_info": {"source": "files", "paths": ["/nowhere.txt"]}}, "dataset_info.paths"),
        ({"training_params": training(sequence_length=65)}, "training_params.sequence_length"),
    ],
)
async def test_what_it_cannot_do_is_a_problem_with_its_field(
    hire: Callable[[], Worker], changes: dict[str, Any], field: str
) -> None:
    worker = hire()
    with pytest.raises(Exception, match="ended"):
        await worker.start(spec=tiny_spec(**changes))
    outcome = await worker.trainer.outcome()
    assert outcome.reason is EndReason.FAILED
    assert not outcome.unexpected
    assert outcome.problem is not None
    assert outcome.problem.field == field
    assert outcome.problem.remedy


@pytest.mark.slow
async def test_memory_that_is_not_allowed_is_a_problem_with_its_field(
    hire: Callable[[], Worker],
) -> None:
    worker = hire()
    with pytest.raises(Exception, match="ended"):
        await worker.start(max_memory=10**8)  # less than PyTorch alone takes
    outcome = await worker.trainer.outcome()
    assert outcome.problem is not None
    assert outcome.problem.field == "terms.max_memory"
    assert outcome.problem.remedy


async def test_a_device_that_is_not_there_is_a_problem_in_the_apps_language(
    hire: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i18n, "spoken", lambda: "zh_CN")
    worker = hire()
    with pytest.raises(Exception, match="ended"):
        await worker.start(device="cuda:7")
    outcome = await worker.trainer.outcome()
    assert outcome.problem is not None
    assert outcome.problem.field == "device"
    assert "本机" in outcome.problem.message
    assert "cpu" in outcome.problem.remedy
