"""Several trainers, one for each chosen device, which the rest of the app sees as one.

Their reports are merged: counts are summed, and the phase is that of the most advanced trainer.
They start, pause and end together; when one ends by itself, the others are stopped too.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from app.common.paths import role_of
from app.protocol import (
    MicroBatchHalved,
    PhaseChanged,
    Progress,
    Ready,
    Report,
    Start,
    TrainerPhase,
    TrainerWarning,
    Work,
)
from app.state.events import Event, PartsChanged
from app.state.facts import TrainerPart
from app.training.supervisor import STOP_GRACE_SECONDS, C, Outcome, Trainer


class Ensemble:
    """Running trainers, used like a single `Trainer`. Made by `spawn`."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self._trainers = tuple(trainers)
        self._stopping = False

    @classmethod
    async def spawn(
        cls,
        devices: Sequence[str],
        *,
        on_event: Callable[[Event], None],
        arguments: tuple[str, ...] = (),
    ) -> "Ensemble":
        """Start a trainer for each device.

        on_event: called with the trainers' reports, merged into one's.

        Raises `OSError` when one can't be started; the others are ended then.
        """
        whole, trainers = Whole(devices), list[Trainer]()

        def listen(place: int, report: Report) -> None:
            for event in whole.take(place, report):
                on_event(event)

        try:
            for place in range(len(devices)):
                trainer = await Trainer.spawn(
                    on_report=functools.partial(listen, place),
                    name=role_of(place),
                    arguments=arguments,
                )
                trainers.append(trainer)
        except OSError:
            for trainer in trainers:
                trainer.kill()
            raise
        return cls(trainers)

    async def start(self, orders: Iterable[dict[str, Any]]) -> None:
        """Send each trainer its order; returns when all of them train.

        orders: fields of `protocol.Start`, in the order of the devices.

        Raises `TrainerError` when a trainer ends first.
        """
        pairs = zip(self._trainers, orders, strict=True)
        await asyncio.gather(*(trainer.command(Start, **order) for trainer, order in pairs))

    async def command(self, kind: type[C], **fields: Any) -> None:
        """Send a command to all, and wait until it took effect.

        Raises `TrainerError` when a trainer ends first.
        """
        await asyncio.gather(*(trainer.command(kind, **fields) for trainer in self._trainers))

    async def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """End all of them, see `Trainer.stop`. grace: seconds they may take by themselves."""
        self._stopping = True
        await asyncio.gather(*(trainer.stop(grace) for trainer in self._trainers))

    async def outcome(self) -> Outcome:
        """Wait until all have ended; returns the outcome of the one that ended first."""
        ends = [asyncio.ensure_future(trainer.outcome()) for trainer in self._trainers]
        first, rest = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if rest and not self._stopping:
            await self._leave()
        await asyncio.gather(*ends)
        return min(first, key=ends.index).result()

    async def _leave(self) -> None:
        self._stopping = True
        running = [trainer for trainer in self._trainers if not trainer.has_ended]
        await asyncio.gather(*(trainer.stop() for trainer in running))


# --- merging reports -----------------------------------------------------------------------------

_FURTHEST = (
    TrainerPhase.TRAINING,
    TrainerPhase.AVERAGING,
    TrainerPhase.PAUSED,
    TrainerPhase.SYNCHRONIZING,
    TrainerPhase.COMPILING,
    TrainerPhase.TUNING,
    TrainerPhase.JOINING,
    TrainerPhase.PREPARING_MODEL,
    TrainerPhase.PREPARING_DATA,
    TrainerPhase.LOADING,
    TrainerPhase.STOPPING,
)

_SHARED = frozenset({"epochs", "swarm_samples", "training_seconds", "waiting_seconds"})
"""Fields of `Work` that trainers running at the same time share; all others are summed."""


class Whole:
    """Merges reports one by one. A trainer's place is its index among the devices."""

    def __init__(self, devices: Sequence[str]) -> None:
        self._parts = [TrainerPart(device=device) for device in devices]
        self._phases: dict[int, TrainerPhase] = {}
        self._phase: TrainerPhase | None = None
        self._ready: dict[int, Ready] = {}
        self._progress: dict[int, Progress] = {}
        self._work: dict[int, Work] = {}
        self._warnings: dict[tuple[str, int], TrainerWarning] = {}

    def take(self, place: int, report: Report) -> tuple[Event, ...]:
        """The events that follow from one trainer's report."""
        match report:
            case PhaseChanged(phase=phase):
                return self._take_phase(place, phase)
            case Ready():
                self._ready[place] = report
                part = self._changed(
                    place,
                    peer_id=report.peer_id,
                    device_name=report.device_name,
                    micro_batch_size=report.micro_batch_size,
                )
                return self._all_ready(), part
            case MicroBatchHalved(micro_batch_size=size):
                return report, self._changed(place, micro_batch_size=size)
            case Progress(samples_per_second=rate):
                self._progress[place] = report
                return self._all_progress(), self._changed(place, samples_per_second=rate)
            case Work():
                self._work[place] = report
                return (self._all_work(),)
            case TrainerWarning():
                self._warnings[report.topic, place] = report
                return (self._any_warning(report),)
            case _:
                return (report,)

    def _changed(self, place: int, **changes: Any) -> PartsChanged:
        self._parts[place] = replace(self._parts[place], **changes)
        return PartsChanged(parts=tuple(self._parts))

    def _take_phase(self, place: int, phase: TrainerPhase) -> tuple[Event, ...]:
        self._phases[place] = phase
        furthest = min(self._phases.values(), key=_FURTHEST.index)
        if furthest is self._phase:
            return ()
        self._phase = furthest
        return (PhaseChanged(phase=furthest),)

    def _all_ready(self) -> Ready:
        ready = [self._ready[place] for place in sorted(self._ready)]
        return msgspec.structs.replace(
            ready[0],
            addresses=tuple(address for each in ready for address in each.addresses),
            device_name=_together(each.device_name for each in ready),
        )

    def _all_progress(self) -> Progress:
        all_ = list(self._progress.values())
        newest = max(all_, key=lambda each: (each.epoch, each.swarm_samples))
        losses = [each.loss for each in all_ if each.loss is not None]
        summed = ("step", "samples", "tokens", "epoch_samples")
        return msgspec.structs.replace(
            newest,
            loss=sum(losses) / len(losses) if losses else None,
            samples_per_second=_sum_known(each.samples_per_second for each in all_),
            tokens_per_second=_sum_known(each.tokens_per_second for each in all_),
            compute_seconds=sum(each.compute_seconds for each in all_),
            own_steps=max(
                (each.own_steps for each in all_ if each.own_steps is not None), default=None
            ),
            exchanging=any(each.exchanging for each in all_),
            **{name: sum(getattr(each, name) for each in all_) for name in summed},
        )

    def _any_warning(self, newest: TrainerWarning) -> TrainerWarning:
        """One that ended for one trainer may go on for another."""
        if newest.message:
            return newest
        others = (each for (topic, _place), each in self._warnings.items() if topic == newest.topic)
        return next((each for each in others if each.message), newest)

    def _all_work(self) -> Work:
        fields: dict[str, Any] = {}
        for name in Work.__struct_fields__:
            values = [getattr(each, name) for each in self._work.values()]
            fields[name] = max(values) if name in _SHARED else round(sum(values), 3)
        return Work(**fields)


def _together(names: Iterable[str]) -> str:
    """``2 × RTX 4090, RTX 3080``."""
    counts = Counter(names)
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
