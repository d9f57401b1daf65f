"""Several trainers as one: what they report together, and how they end together."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app import protocol
from app.common.errors import TrainerError
from app.protocol import EndReason, MicroBatchHalved, PhaseChanged, Progress, Report, TrainerPhase
from app.state.events import PartsChanged
from app.state.facts import TrainerPart
from app.training import ensemble
from app.training.ensemble import Ensemble, Whole
from app.training.supervisor import Outcome

TWO = ("cuda:0", "cuda:1")


def ready(**changes: Any) -> protocol.Ready:
    values: dict[str, Any] = {
        "peer_id": "QmA",
        "addresses": ("/a",),
        "device": "cuda:0",
        "device_name": "RTX 4090",
        "precision": "bf16",
        "parameters": 800_000,
        "micro_batch_size": 16,
        "resumed_epoch": None,
    }
    return protocol.Ready(**values | changes)


def progress(**changes: Any) -> Progress:
    values: dict[str, Any] = {
        "step": 10,
        "epoch": 3,
        "loss": 2.0,
        "samples_per_second": 80.0,
        "tokens_per_second": 5120.0,
        "samples": 160,
        "tokens": 10_240,
        "compute_seconds": 2.0,
        "epoch_samples": 32,
        "swarm_samples": 100,
        "target_batch_size": 512,
        "eta": 5.0,
        "peers": 2,
    }
    return Progress(**values | changes)


# --- what they report


def test_a_single_trainer_is_passed_on_as_it_is() -> None:
    whole = Whole(["cpu"])
    work = protocol.Work(samples_computed=8, epochs=1, compute_seconds=0.125)
    reports = (PhaseChanged(phase=TrainerPhase.TRAINING), ready(), progress(loss=None), work)
    assert [whole.take(0, report)[0] for report in reports] == list(reports)
    assert whole.take(0, protocol.Ended(reason=EndReason.STOPPED)) == (
        protocol.Ended(reason=EndReason.STOPPED),
    )


def test_phase_is_that_of_the_furthest() -> None:
    whole = Whole(TWO)
    phases = [
        (0, TrainerPhase.LOADING),
        (1, TrainerPhase.LOADING),
        (0, TrainerPhase.TRAINING),
        (1, TrainerPhase.TUNING),
        (1, TrainerPhase.TRAINING),
        (0, TrainerPhase.AVERAGING),
        (1, TrainerPhase.AVERAGING),
        (0, TrainerPhase.TRAINING),
    ]
    told = [
        event for place, phase in phases for event in whole.take(place, PhaseChanged(phase=phase))
    ]
    assert [event.phase for event in told] == [  # type: ignore[union-attr]
        TrainerPhase.LOADING,
        TrainerPhase.TRAINING,
        TrainerPhase.AVERAGING,
        TrainerPhase.TRAINING,
    ]


def test_every_phase_has_its_place() -> None:
    assert set(ensemble._FURTHEST) == set(TrainerPhase)


def test_ready_ones_are_named_together() -> None:
    whole = Whole(TWO)
    second = ready(peer_id="QmB", addresses=("/b",), device="cuda:1", micro_batch_size=8)
    told, parts = whole.take(1, second)
    assert told == second
    told, parts = whole.take(0, ready())
    assert told == ready(addresses=("/a", "/b"), device_name="2 × RTX 4090")
    assert parts == PartsChanged(
        parts=(
            TrainerPart(
                device="cuda:0", peer_id="QmA", device_name="RTX 4090", micro_batch_size=16
            ),
            TrainerPart(device="cuda:1", peer_id="QmB", device_name="RTX 4090", micro_batch_size=8),
        )
    )
    told, _ = whole.take(1, ready(device_name="RTX 3080"))
    assert isinstance(told, protocol.Ready)
    assert told.device_name == "RTX 4090, RTX 3080"


def test_progress_is_summed() -> None:
    whole = Whole(TWO)
    whole.take(0, progress())
    told, parts = whole.take(
        1,
        progress(
            loss=3.0, samples_per_second=20.0, swarm_samples=140, epoch_samples=8, eta=2.0, peers=3
        ),
    )
    assert told == progress(
        step=20,
        loss=2.5,
        samples_per_second=100.0,
        tokens_per_second=10_240.0,
        samples=320,
        tokens=20_480,
        compute_seconds=4.0,
        epoch_samples=40,
        swarm_samples=140,
        eta=2.0,
        peers=3,
    )
    assert isinstance(parts, PartsChanged)
    assert [part.samples_per_second for part in parts.parts] == [80.0, 20.0]


def test_progress_of_one_that_rests_or_has_no_loss_yet() -> None:
    whole = Whole(TWO)
    whole.take(0, progress(loss=None, samples_per_second=None, tokens_per_second=None))
    told, _ = whole.take(1, progress(loss=3.0))
    assert isinstance(told, Progress)
    assert (told.loss, told.samples_per_second) == (3.0, 80.0)
    silent = progress(loss=None, samples_per_second=None, tokens_per_second=None)
    told, _ = whole.take(1, silent)
    assert isinstance(told, Progress)
    assert (told.loss, told.samples_per_second) == (None, None)


def test_work_is_each_ones_and_time_is_everybodys() -> None:
    whole = Whole(TWO)
    fields = {"epochs": 2, "swarm_samples": 1024, "training_seconds": 60.0}
    whole.take(0, protocol.Work(samples_entered=100, compute_seconds=50.125, **fields))
    (told,) = whole.take(
        1, protocol.Work(samples_entered=30, bytes_sent=7, compute_seconds=40.25, epochs=1)
    )
    assert told == protocol.Work(
        samples_entered=130, bytes_sent=7, compute_seconds=90.375, **fields
    )


def test_smaller_micro_batch_of_one() -> None:
    whole = Whole(TWO)
    told, parts = whole.take(1, MicroBatchHalved(micro_batch_size=4))
    assert told == MicroBatchHalved(micro_batch_size=4)
    assert parts == PartsChanged(
        parts=(TrainerPart(device="cuda:0"), TrainerPart(device="cuda:1", micro_batch_size=4))
    )


# --- how they live


class Player:
    """Stands for a trainer, which is a process."""

    def __init__(self, on_report: Callable[[Report], None], name: str) -> None:
        self.on_report, self.name = on_report, name
        self.commands: list[tuple[type, dict[str, Any]]] = []
        self.killed = False
        self.end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    @property
    def has_ended(self) -> bool:
        return self.end.done()

    async def command(self, kind: type, **fields: Any) -> None:
        if self.has_ended:
            raise TrainerError("gone")
        self.commands.append((kind, fields))

    async def stop(self, grace: float = 30.0) -> Outcome:
        if not self.has_ended:
            self.end.set_result(Outcome(returncode=0, reason=EndReason.STOPPED))
        return await self.end

    async def outcome(self) -> Outcome:
        return await asyncio.shield(self.end)

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
async def players(monkeypatch: pytest.MonkeyPatch) -> list[Player]:
    made: list[Player] = []

    async def spawn(*, on_report: Any, name: str, arguments: tuple[str, ...]) -> Player:
        if len(made) == 2:
            raise OSError("too many processes")
        made.append(Player(on_report, name))
        return made[-1]

    monkeypatch.setattr(ensemble.Trainer, "spawn", spawn)
    return made


async def test_they_start_rest_and_stop_together(players: list[Player]) -> None:
    events: list[Any] = []
    both = await Ensemble.spawn(TWO, on_event=events.append)
    assert [player.name for player in players] == ["trainer", "trainer-1"]
    await both.start([{"device": device} for device in TWO])
    await both.command(protocol.Pause)
    for player, device in zip(players, TWO, strict=True):
        assert player.commands == [(protocol.Start, {"device": device}), (protocol.Pause, {})]
    players[1].on_report(MicroBatchHalved(micro_batch_size=4))
    assert events[0] == MicroBatchHalved(micro_batch_size=4)
    await both.stop()
    assert (await both.outcome()).reason is EndReason.STOPPED


async def test_when_one_dies_the_others_leave_and_its_end_is_told(players: list[Player]) -> None:
    both = await Ensemble.spawn(TWO, on_event=lambda _: None)
    players[1].end.set_result(Outcome(returncode=-9))
    outcome = await both.outcome()
    assert (outcome.returncode, outcome.unexpected) == (-9, True)
    assert players[0].has_ended


async def test_all_or_none_are_started(players: list[Player]) -> None:
    with pytest.raises(OSError, match="too many"):
        await Ensemble.spawn((*TWO, "cuda:2"), on_event=lambda _: None)
    assert [player.killed for player in players] == [True, True]
