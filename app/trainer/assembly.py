"""Put a training run together from the app's order, and take it apart again."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.p2p.run_records import Identity, load_identity
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
from app.spec.training import TrainingSpec
from app.trainer import devices
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from app.trainer.confinement.memory import limit_memory
from app.trainer.control import Control
from app.trainer.data.batches import Batches
from app.trainer.data.held_out import HeldOut
from app.trainer.data.opening import open_data, open_held_out
from app.trainer.evaluation.evaluator import Evaluator
from app.trainer.keeper import Keeper
from app.trainer.memory import DeviceMemory
from app.trainer.meter import Meter
from app.trainer.model.adapters import load_state
from app.trainer.model.build import build_model
from app.trainer.model.loss import mean_loss
from app.trainer.model.precision import Precision, precision_for
from app.trainer.model.pretrained import digest_of_weights, fetch_pretrained
from app.trainer.peer.bandwidth import keep_to
from app.trainer.peer.peer import TrainerPeer
from app.trainer.pinned.downloads import Downloads
from app.trainer.reporter import Reporter
from app.trainer.room import Room
from app.trainer.run import TrainingRun
from app.trainer.step.trying import LossFunction
from app.trainer.strategies.diloco import diloco
from app.trainer.strategies.gradient_averaging import GradientAveraging
from app.trainer.strategies.local_steps import LocalSteps
from app.trainer.strategies.protocols import StrategyPlace, SwarmMember
from app.trainer.strategies.sparseloco import sparseloco
from app.trainer.tuning import Trial, Tuned, tune

log = logging.getLogger(__name__)

JUDGED_SAMPLES = 16
"""By their loss, the state of another peer is held against ours."""

LEAVE_SECONDS = 10.0
"""How long leaving the swarm may take."""


@contextmanager
def open_run(order: Start, *, control: Control, send: SendReport) -> Iterator[TrainingRun]:
    """Enter the swarm, load its state, and give the loop all that it needs.

    Raises `UserFacingError` for what the spec, the data, the device or the network can't give.
    """
    spec = specs.parse(order.spec)
    torch.set_num_threads(order.threads)
    keep_to(control.pace)
    chosen = _choose(order)
    room = _room_on(torch.device(chosen.id), order)
    precision = precision_for(room.device, spec.training.precision)
    folder = CheckpointFolder(Path(order.checkpoint_dir), spec)
    checkpoint = folder.load_newest()
    say = partial(_say, send)
    say(TrainerPhase.PREPARING_DATA)
    identity = load_identity(Path(order.identity_file))
    batches = _open_batches(order, spec, send, identity=identity, checkpoint=checkpoint, room=room)
    held_out = _open_held_out(order, spec, send)
    say(TrainerPhase.PREPARING_MODEL)
    size = batches.vocabulary_size
    model, base = _build(order, spec, send, vocabulary_size=size, checkpoint=checkpoint, room=room)
    say(TrainerPhase.JOINING)
    meter = Meter()
    enter = partial(TrainerPeer, order, spec=spec, identity=identity, report=send, base=base)
    judge = partial(mean_loss, model, batches.next(JUDGED_SAMPLES), context=precision.context)
    joining = partial(_in_swarm, enter, spec, meter=meter, send=send, precision=precision)
    keeper = partial(Keeper, folder, send=send, interval=order.checkpoint_interval)
    with (
        joining(model=model, judge=judge) as (peer, strategy),
        closing(batches),
        _memory_errors(chosen),
    ):
        if checkpoint is not None:
            strategy.restore(checkpoint.optimizer)
        trial = Trial(spec=spec, chosen=chosen, room=room, precision=precision, vocabulary=size)
        tuned, loss = _tune(trial, model, strategy=strategy, file=order.tuning_file, say=say)
        say(TrainerPhase.SYNCHRONIZING)
        strategy.synchronize()
        ready = partial(_ready, peer, model=model, device=chosen, precision=precision)
        send(ready(tuned=tuned, checkpoint=checkpoint, snapshot_epoch=strategy.snapshot_epoch))
        evaluating = partial(_evaluator, held_out, precision=precision, control=control, send=send)
        evaluator = evaluating(spec=spec.training, model=model, strategy=strategy)
        reporting = partial(_reporting, order, meter=meter, control=control, send=send)
        with reporting(strategy=strategy, peer=peer, evaluator=evaluator) as reporter:
            yield TrainingRun(
                model=model,
                batches=batches,
                strategy=strategy,
                loss=loss,
                autocast=partial(precision.context, room.device),
                device=room.device,
                memory=DeviceMemory(room.device, model=model, optimizer=strategy.torch_optimizer),
                micro_batch_size=tuned.micro_batch_size,
                evaluator=evaluator,
                stop=spec.training.stop,
                meter=meter,
                report=send,
                say_phase=reporter.say_phase,
                keeper=keeper(model=model, strategy=strategy, batches=batches, judge=judge),
            )


# --- before the swarm


def _choose(order: Start) -> Device:
    chosen = devices.choose(order.device)
    if chosen.id == "cpu":  # a GPU's driver maps far more than it uses
        limit_memory(order.max_memory)
    return chosen


def _room_on(device: torch.device, order: Start) -> Room:
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else streams and events are those of the first GPU
    return Room(device=device, allowed=order.max_memory)


def _say(send: SendReport, phase: TrainerPhase) -> None:
    send(PhaseChanged(phase=phase))


def _downloads(order: Start, send: SendReport) -> Downloads:
    return Downloads(cache=Path(order.cache_dir), sign_in=order.hub_sign_in, report=send)


def _open_batches(
    order: Start,
    spec: SwarmSpec,
    send: SendReport,
    *,
    identity: Identity,
    checkpoint: Checkpoint | None,
    room: Room,
) -> Batches:
    return open_data(
        spec,
        identity=identity.raw,
        downloads=_downloads(order, send),
        start=checkpoint.position if checkpoint else 0,
        pin=room.device.type == "cuda",
    )


def _open_held_out(order: Start, spec: SwarmSpec, send: SendReport) -> HeldOut | None:
    """The text for evaluations, if this trainer evaluates and there is any."""
    if not (order.evaluates and spec.training.evaluation.is_on):
        return None
    held_out = open_held_out(spec, downloads=_downloads(order, send))
    if len(held_out.tokens) < 2:
        log.warning("the data is too short to hold text out: nothing is evaluated")
        return None
    return held_out


def _build(
    order: Start,
    spec: SwarmSpec,
    send: SendReport,
    *,
    vocabulary_size: int,
    checkpoint: Checkpoint | None,
    room: Room,
) -> tuple[torch.nn.Module, str]:
    """The model, and the digest of the weights that all peers begin with, "" without any."""
    room.enforce()
    pretrained = fetch_pretrained(spec, _downloads(order, send))
    model = build_model(spec, vocabulary_size=vocabulary_size, room=room, pretrained=pretrained)
    base = "" if pretrained is None else digest_of_weights(model)
    torch.seed()  # weights are the same on all peers, but dropout must not be
    if checkpoint is not None:
        load_state(model, checkpoint.model)
    return model, base


# --- in the swarm


_STRATEGIES: dict[str, Callable[[StrategyPlace], GradientAveraging | LocalSteps]] = {
    "gradient-averaging": GradientAveraging,
    "diloco": diloco,
    "sparseloco": sparseloco,
}


@contextmanager
def _in_swarm(
    enter: Callable[[], TrainerPeer],
    spec: SwarmSpec,
    *,
    model: torch.nn.Module,
    judge: Callable[[], float],
    precision: Precision,
    meter: Meter,
    send: SendReport,
) -> Iterator[tuple[TrainerPeer, GradientAveraging | LocalSteps]]:
    """Enter the swarm with the spec's strategy. On leaving it, report the work once more."""
    # The processes that hivemind forks share our memory until either writes to it, and Python's
    # collector writes to every object that it looks at.
    gc.collect()
    gc.freeze()
    peer = enter()
    place = StrategyPlace(
        spec=spec,
        peer=peer,
        model=model,
        needs_scaler=precision.needs_scaler,
        judge=judge,
        report=send,
        work=meter.work,
    )
    strategy = _STRATEGIES[spec.training.strategy](place)
    try:
        yield peer, strategy
    finally:
        _leave(strategy, peer)
        send(strategy.work())


def _tune(
    trial: Trial,
    model: torch.nn.Module,
    *,
    strategy: SwarmMember,
    file: str,
    say: Callable[[TrainerPhase], None],
) -> tuple[Tuned, LossFunction]:
    tuned, loss = tune(trial, model, file=file, say=say)
    if trial.spec.training.micro_batch_size == "auto":
        strategy.forget("it was computed on made-up tokens, to time the device")
    return tuned, loss


def _leave(strategy: SwarmMember, peer: TrainerPeer) -> None:
    """Leave in at most `LEAVE_SECONDS`: hivemind may wait for a round that nobody ends.

    This process ends after it, and the app kills whatever is left of it.
    """

    def close() -> None:
        strategy.close()
        peer.close()

    leaving = threading.Thread(target=close, name="leaving", daemon=True)
    leaving.start()
    leaving.join(LEAVE_SECONDS)
    if leaving.is_alive():
        log.warning("leaving the run took more than %.0f s", LEAVE_SECONDS)


@contextmanager
def _memory_errors(device: Device) -> Iterator[None]:
    """Raise `DeviceError` when the memory runs out where a smaller micro-batch doesn't help."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            _("the memory of {device} ran out.").format(device=device.name),
            field="device",
            remedy=_("Close other programs that use it, or choose another device."),
        ) from error


def _evaluator(
    held_out: HeldOut | None,
    *,
    spec: TrainingSpec,
    model: torch.nn.Module,
    strategy: SwarmMember,
    precision: Precision,
    control: Control,
    send: SendReport,
) -> Evaluator | None:
    if held_out is None:
        return None
    return Evaluator(
        spec,
        held_out=held_out,
        model=model,
        strategy=strategy,
        context=partial(precision.context, next(model.parameters()).device),
        send=send,
        stopping=lambda: control.stopping,
    )


@contextmanager
def _reporting(
    order: Start,
    *,
    strategy: SwarmMember,
    peer: TrainerPeer,
    meter: Meter,
    evaluator: Evaluator | None,
    control: Control,
    send: SendReport,
) -> Iterator[Reporter]:
    """Report while training, and let a stop interrupt what the training thread waits for."""
    reporter = Reporter(
        meter=meter,
        strategy=strategy,
        peer=peer,
        control=control,
        send=send,
        evaluation=lambda: evaluator.newest if evaluator is not None else None,
        interval=order.report_interval,
    )
    control.interrupt = _interrupt(control, strategy)
    reporter.start()
    try:
        yield reporter
    finally:
        reporter.close()


def _interrupt(control: Control, strategy: SwarmMember) -> Callable[[], None]:
    def interrupt() -> None:
        if strategy.loading_state:
            # A download can't be interrupted, and our own state is outdated, so not worth a
            # checkpoint.
            control.leave_at_once()
        strategy.interrupt()

    return interrupt


def _ready(
    peer: TrainerPeer,
    *,
    model: torch.nn.Module,
    device: Device,
    precision: Precision,
    tuned: Tuned,
    checkpoint: Checkpoint | None,
    snapshot_epoch: int | None,
) -> Ready:
    return Ready(
        peer_id=peer.peer_id,
        addresses=peer.addresses,
        device=device.id,
        device_name=device.name,
        precision=precision.name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        micro_batch_size=tuned.micro_batch_size,
        compiled=tuned.compiled,
        resumed_epoch=checkpoint.epoch if checkpoint else None,
        snapshot_epoch=snapshot_epoch,
    )
