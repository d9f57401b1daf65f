"""Put a training run together from its order, and take it apart again."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.p2p import run_records as swarm
from app.protocol import (
    Device,
    PhaseChanged,
    Ready,
    SendReport,
    Start,
    TrainerPhase,
)
from app.spec import schema as specs
from app.spec.schema import SwarmSpec
from app.trainer import devices
from app.trainer.averaging.traffic import keep_to
from app.trainer.checkpoint import Checkpoint, CheckpointFolder, Keeper
from app.trainer.control import Control
from app.trainer.data import Batches, open_data
from app.trainer.loop import TrainingRun
from app.trainer.memory import DeviceMemory
from app.trainer.meter import Meter
from app.trainer.model.model import Precision, build_model, loss_of, precision_for
from app.trainer.reporter import Reporter
from app.trainer.room import Room
from app.trainer.strategies.gradient_averaging import GradientAveraging
from app.trainer.tuning import Trial, Tuned, tune

log = logging.getLogger(__name__)

LEAVE_SECONDS = 10.0


@contextmanager
def open_run(order: Start, *, control: Control, send: SendReport) -> Iterator[TrainingRun]:
    """Everything that the loop needs, in the swarm and in step with it.

    Raises `UserFacingError` for what the spec, the data or the device can't give.
    """
    spec = specs.parse(order.spec)
    torch.set_num_threads(order.threads)
    keep_to(control.pace)
    chosen = devices.choose(order.device)
    room = Room(device=torch.device(chosen.id), allowed=order.max_memory)
    precision = precision_for(room.device, spec.training.precision)
    folder = CheckpointFolder(Path(order.checkpoint_dir), spec)
    keeper = partial(Keeper, folder, send=send, interval=order.checkpoint_interval)
    checkpoint = folder.load_newest()

    def say(phase: TrainerPhase) -> None:
        send(PhaseChanged(phase=phase))

    say(TrainerPhase.PREPARING_DATA)
    batches = _open_batches(order, spec, checkpoint, room.device)
    say(TrainerPhase.PREPARING_MODEL)
    model = _model(spec, batches, checkpoint, room)
    say(TrainerPhase.JOINING)
    meter = Meter()
    strategy = _join(order, spec, model=model, precision=precision, meter=meter, send=send)
    try:
        if checkpoint is not None:
            strategy.restore(checkpoint.optimizer)
        size = batches.vocabulary_size
        trial = Trial(spec=spec, chosen=chosen, room=room, precision=precision, vocabulary=size)
        tuned, network = tune(trial, model, file=order.tuning_file, say=say)
        if spec.training.micro_batch_size == "auto":
            strategy.forget("it was made up, to try how fast the device is")
        say(TrainerPhase.SYNCHRONIZING)
        strategy.synchronize()
        ready = partial(_ready, strategy, model=model, device=chosen, precision=precision)
        send(ready(tuned=tuned, checkpoint=checkpoint))
        with _reporting(order, strategy, meter=meter, control=control, send=send) as reporter:
            yield TrainingRun(
                model=network,
                batches=batches,
                strategy=strategy,
                loss_of=loss_of,
                autocast=partial(precision.context, room.device),
                device=room.device,
                memory=DeviceMemory(room.device, model=model, optimizer=strategy.optimizer.opt),
                micro_batch_size=tuned.micro_batch_size,
                stop=spec.training.stop,
                meter=meter,
                report=send,
                say_phase=reporter.say_phase,
                keep=keeper(model=model, strategy=strategy, batches=batches).keep,
            )
    except torch.OutOfMemoryError as error:  # beyond what a smaller micro-batch would mend
        raise _short_of_memory(chosen) from error
    finally:
        batches.close()
        _leave(strategy)
        send(strategy.work())


def _model(
    spec: SwarmSpec, batches: Batches, checkpoint: Checkpoint | None, room: Room
) -> torch.nn.Module:
    room.enforce()
    model = build_model(spec, vocabulary_size=batches.vocabulary_size, room=room)
    torch.seed()  # weights are the same on all peers, but dropout must not be
    if checkpoint is not None:
        model.load_state_dict(checkpoint.model)
    return model


def _short_of_memory(device: Device) -> DeviceError:
    return DeviceError(
        _("the memory of {device} ran out.").format(device=device.name),
        field="device",
        remedy=_("Close other programs that use it, or choose another device."),
    )


def _leave(strategy: GradientAveraging) -> None:
    """Say goodbye, but don't wait for ever: hivemind may wait for a round that nobody ends. The
    process is about to end, and what is left of it then is killed."""
    leaving = threading.Thread(target=strategy.close, name="leaving", daemon=True)
    leaving.start()
    leaving.join(LEAVE_SECONDS)
    if leaving.is_alive():
        log.warning("leaving the run took more than %.0f s", LEAVE_SECONDS)


def _ready(
    strategy: GradientAveraging,
    *,
    model: torch.nn.Module,
    device: Device,
    precision: Precision,
    tuned: Tuned,
    checkpoint: Checkpoint | None,
) -> Ready:
    return Ready(
        peer_id=strategy.identity.peer_id,
        addresses=strategy.addresses,
        device=device.id,
        device_name=device.name,
        precision=precision.name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        micro_batch_size=tuned.micro_batch_size,
        compiled=tuned.compiled,
        resumed_epoch=checkpoint.epoch if checkpoint else None,
    )


@contextmanager
def _reporting(
    order: Start, strategy: GradientAveraging, *, meter: Meter, control: Control, send: SendReport
) -> Iterator[Reporter]:
    """Report while training, and let a stop interrupt what the training thread waits for."""
    reporter = Reporter(
        meter=meter, strategy=strategy, control=control, send=send, interval=order.report_interval
    )
    control.interrupt = _interrupt(control, strategy)
    reporter.start()
    try:
        yield reporter
    finally:
        reporter.close()


def _open_batches(
    order: Start, spec: SwarmSpec, checkpoint: Checkpoint | None, device: torch.device
) -> Batches:
    identity = swarm.load_identity(Path(order.identity_file))
    return open_data(
        spec,
        identity=identity.raw,
        cache=Path(order.cache_dir),
        start=checkpoint.position if checkpoint else 0,
        pin=device.type == "cuda",
    )


def _join(
    order: Start,
    spec: SwarmSpec,
    *,
    model: torch.nn.Module,
    precision: Precision,
    meter: Meter,
    send: SendReport,
) -> GradientAveraging:
    scaler = None
    if precision.needs_scaler:
        from hivemind import GradScaler

        scaler = GradScaler()
    return GradientAveraging(
        order=order,
        spec=spec,
        model=model,
        scaler=scaler,
        report=send,
        work=meter.work,
    )


def _interrupt(control: Control, strategy: GradientAveraging) -> Callable[[], None]:
    def interrupt() -> None:
        if strategy.optimizer.loading_state:
            control.leave_at_once()  # it can't be cancelled, and our state is outdated anyway
        strategy.interrupt()

    return interrupt
