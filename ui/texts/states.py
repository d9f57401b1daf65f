"""The window's sentences about the state, its parts, and specs; they are written nowhere else."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.common.plain import one_line
from app.protocol import Device
from app.state.facts import Access, LocalApi, Problem
from app.state.state import ContributorState, OwnTraining, Phase, Round
from app.terms.terms import Terms
from ui.texts import preparation, specs, units
from ui.texts import terms as terms_texts

if TYPE_CHECKING:
    from app.spec.training import StopSpec

PRODUCT = "CoTrain"
PRODUCT_KIND = "Contributor"
DOT = " · "


def sentences(error: UserFacingError) -> str:
    """What is wrong, and what the user can do, for a place that shows which value is meant."""
    text = f"{error.message} {error.remedy}".rstrip()
    return text[:1].upper() + text[1:]


def error_text(error: UserFacingError) -> str:
    """As `sentences`, after the path of the file or folder if the error is about one.

    Settings and fields of a spec aren't named: their names are for those who write files.
    """
    return error.text if Path(error.field).is_absolute() else sentences(error)


def headline(state: ContributorState) -> str:
    """The state in one to three words."""
    if state.phase is Phase.WATCHING and state.completed:
        return _("Completed")
    if state.phase is Phase.WATCHING and state.swarm is None:
        return _("In the network")
    if state.phase is Phase.FAILED and state.restart_at is not None:
        return _("Starting again")
    return {
        Phase.DISCONNECTED: _("Not in a swarm"),
        Phase.JOINING: _("Joining"),
        Phase.WATCHING: _("Watching"),
        Phase.WAITING: _("Waiting"),
        Phase.PREPARING: _("Preparing"),
        Phase.TRAINING: _("Training"),
        Phase.AVERAGING: _("Averaging"),
        Phase.PAUSED: _("Paused"),
        Phase.STOPPING: _("Stopping"),
        Phase.FAILED: _("Needs attention"),
    }[state.phase]


def tone(state: ContributorState) -> str:
    """The headline's ``tone`` in the style sheet: ``idle``, ``busy``, ``good`` or ``bad``."""
    if state.phase is Phase.FAILED and state.restart_at is not None:
        return "busy"
    if _worries(state):
        return "bad"
    return _TONES.get(state.phase, "idle")


_TONES = {
    Phase.JOINING: "busy",
    Phase.PREPARING: "busy",
    Phase.TRAINING: "good",
    Phase.AVERAGING: "good",
    Phase.STOPPING: "busy",
    Phase.FAILED: "bad",
}


def task_line(state: ContributorState) -> str:
    """Swarm, model and device, for the headline."""
    if state.swarm is None:
        return _("This machine trains nothing yet.")
    parts = [state.swarm.title, model_line(state), device_name(state)]
    return DOT.join(part for part in parts if part)


def model_line(state: ContributorState) -> str:
    """The model's type and, once it is built, the number of its parameters."""
    if state.swarm is None:
        return ""
    kind = specs.model_name(state.swarm.model_type)
    if state.training is None or state.training.parameters is None:
        return kind
    return _("{kind}, {number} parameters").format(
        kind=kind, number=units.short(state.training.parameters)
    )


def device_name(state: ContributorState) -> str:
    """The name of the device that trains, or would train; "" if it isn't known."""
    if state.training is not None and state.training.device_name:
        return state.training.device_name
    if state.other_devices:
        return device_count(state.chosen_devices)
    chosen = next((device for device in state.devices if device.id == state.device), None)
    return chosen.name if chosen else ""


def device_label(entry: Device) -> str:
    """A device with its memory, as an entry of a list."""
    name = one_line(entry.name)
    if not entry.memory or entry.id == "cpu":
        return _("CPU ({name})").format(name=name) if entry.id == "cpu" else name
    return f"{name}, {units.size(entry.memory)}"


def device_count(chosen: tuple[str, ...]) -> str:
    """How many devices are chosen, such as ``2 devices``."""
    return ngettext("{count} device", "{count} devices", len(chosen)).format(count=len(chosen))


def explanation(state: ContributorState, now: float | None = None) -> str:
    """Why training runs or doesn't, and what comes next. now: seconds since the epoch."""
    match state.phase:
        case Phase.PREPARING if state.reads_files:
            return preparation.reading_files()
        case Phase.PREPARING | Phase.PAUSED | Phase.WAITING if not state.access.admitted:
            return " ".join(
                (access(state.access), _("Training goes on by itself once you are added."))
            )
        case Phase.PREPARING | Phase.TRAINING | Phase.AVERAGING if _worries(state):
            return " ".join(_worries(state))
        case Phase.PREPARING if state.may_train:
            return preparation.sentence(state.step_of_preparation, state.waiting, state.download)
        case Phase.PREPARING | Phase.PAUSED | Phase.WAITING:
            return terms_texts.why_it_rests(state, time.time() if now is None else now)
        case Phase.WATCHING:
            return _watching(state)
        case Phase.TRAINING:
            return _training(state, time.time() if now is None else now)
        case Phase.FAILED:
            return _failed(state, time.time() if now is None else now)
        case phase:
            return _reasons()[phase]


def _reasons() -> dict[Phase, str]:
    return {
        Phase.DISCONNECTED: _("Join a swarm that you were invited to, start one, or try the demo."),
        Phase.JOINING: _("Looking for the swarm's peers. Training starts when you say so."),
        Phase.AVERAGING: _("Sharing what was learnt with the swarm; training goes on by itself."),
        Phase.STOPPING: _("Saving a checkpoint and leaving the run."),
    }


def _watching(state: ContributorState) -> str:
    if state.swarm is None:
        return _("A program asked this machine to be reachable; it is in no training run yet.")
    if state.completed:
        return _("The run has reached its goal. Thank you for your part in it.")
    if state.probed is not None and not any(entry.id != "cpu" for entry in state.devices):
        return _("Ready. No GPU that PyTorch can use was found: the CPU trains too, but slowly.")
    return _("In the swarm, not training. Start when you like.")


def _training(state: ContributorState, now: float) -> str:
    own = state.training
    if state.lifted_until is not None:
        until = terms_texts.upcoming_time(state.lifted_until, now)
        text = _("You let it train until {time}, whatever your terms say.").format(time=until)
    elif state.terms != Terms():
        text = terms_texts.why_it_runs(state.terms, state.verdict, now)
    elif own is not None and own.snapshot_epoch is not None:
        text = _(
            "Nobody trained: took the snapshot of epoch {epoch} from the swarm's door."
            " Runs until you stop it; checkpoints stay on this machine."
        ).format(epoch=units.count(own.snapshot_epoch))
    elif own is None or own.resumed_epoch is None:
        text = _("Runs until you stop it; checkpoints stay on this machine.")
    else:
        text = _(
            "Resumed from the checkpoint of epoch {epoch}."
            " Runs until you stop it; checkpoints stay on this machine."
        ).format(epoch=units.count(own.resumed_epoch))
    if own is None or not own.short_of_memory:
        return text
    count = own.micro_batch_size or 1
    short = ngettext(
        "The device ran short of memory: training goes on with {count} sample a step.",
        "The device ran short of memory: training goes on with {count} samples a step.",
        count,
    )
    return f"{short.format(count=count)} {text}"


FAILED_ROUNDS = 2
"""In a row; one alone is no reason to worry."""


def _worries(state: ContributorState) -> list[str]:
    """What is wrong although training goes on, in sentences."""
    if (own := state.training) is None:
        return []
    found = [each.text for each in own.warnings]
    if own.failed_rounds >= FAILED_ROUNDS and own.last_round is not None:
        text = _(
            "The last {count} rounds of averaging failed: {reason}. What was computed for them is"
            " lost. The network line may be too slow for this model, or the others out of reach."
        )
        count = units.count(own.failed_rounds)
        found.append(text.format(count=count, reason=own.last_round.failure))
    return found


def _failed(state: ContributorState, now: float) -> str:
    if state.restart_at is None:
        return _("Training ended by itself. Restarting resumes from the last checkpoint.")
    wait = units.duration(state.restart_at - now)
    return _("Training ended by itself. It starts again in {time}.").format(time=wait)


def access(entry: Access) -> str:
    """Whether a closed swarm lets this machine take part, and what to do if it doesn't."""
    if entry.admitted:
        return _("This machine is one of them.")
    return _("This swarm is closed: send your code {code} to the organiser.").format(
        code=entry.code
    )


def lost_swarm(state: ContributorState, now: float | None = None) -> str:
    """That the swarm can't be reached, and when we try again. now: seconds since the epoch.

    ``state.reconnect_at``, or that of ``state.returning``, must not be None.
    """
    returning = state.returning
    if returning is not None:
        again, text = returning.retry_at, _("You were in “{swarm}” when the app ended: {reason}")
        parts = [text.format(swarm=returning.title, reason=returning.reason)]
    else:
        again, parts = state.reconnect_at, [_("Nobody in the swarm can be reached.")]
    assert again is not None
    wait = max(0.0, again - (time.time() if now is None else now))
    if state.phase in (Phase.TRAINING, Phase.AVERAGING):
        parts.append(_("Training goes on alone meanwhile."))
    if wait < 1:
        parts.append(_("Trying again…"))
    else:
        parts.append(_("Trying again in {time}.").format(time=units.duration(wait)))
    return " ".join(parts)


def next_averaging(state: ContributorState) -> str:
    """When the swarm averages, or exchanges what was learnt, next; "" if that isn't known."""
    has_own_steps = state.swarm is not None and state.swarm.own_steps
    if has_own_steps and state.training is not None and state.training.exchanging:
        return _("an exchange runs beside computing")
    if state.phase is Phase.AVERAGING:
        return _("averaging now")
    if state.run is None or state.run.eta is None:
        return ""
    text = (
        _("next exchange in about {time}") if has_own_steps else _("next averaging in about {time}")
    )
    return text.format(time=units.duration(state.run.eta))


def last_round(entry: Round) -> str:
    """How a round went: its peers, duration and bytes, or its failure."""
    length = units.seconds(entry.seconds)
    if entry.failure:
        return _("last round failed after {time}: {reason}").format(
            time=length, reason=entry.failure
        )
    if entry.peers <= 1:
        return _("last round: alone, {time}").format(time=length)
    peers = ngettext("{count} peer", "{count} peers", entry.peers).format(count=entry.peers)
    result = _("all succeeded") if entry.arrived >= 1.0 else parts_arrived(entry.arrived)
    if entry.bytes_sent:
        sent = _("{size} sent").format(size=units.size(entry.bytes_sent))
        result = sent if entry.arrived >= 1.0 else f"{result}, {sent}"
    return _("last round: {peers}, {time}, {result}").format(
        peers=peers, time=length, result=result
    )


def own_steps(own: OwnTraining) -> str:
    """The steps of this machine alone since it last sent what it learnt; "" without such steps."""
    if own.own_steps is None:
        return ""
    text = ngettext("{count} step of its own", "{count} steps of its own", own.own_steps)
    return text.format(count=units.count(own.own_steps))


def computing(own: OwnTraining | None) -> str:
    """The part of the time in which the swarm lets this machine compute."""
    if own is None or own.computing is None:
        return units.NONE
    return units.percent(own.computing, 1)


def parts_arrived(share: float) -> str:
    """Which share of an average's parts came. share: 0 to 1."""
    return _("{share} of the parts arrived").format(share=units.percent(share, 1.0))


def problem_sentence(entry: Problem) -> str:
    """What is wrong, as a sentence; after the path of the file or folder if it is about one.

    Settings and fields of a spec aren't named: their names are for those who write files.
    """
    if Path(entry.field).is_absolute():
        return f"{entry.field}: {entry.message}"
    return entry.message[:1].upper() + entry.message[1:]


def level_name(number: int) -> str:
    """The name of a level of the `logging` module."""
    if number >= logging.ERROR:
        return _("Error")
    if number >= logging.WARNING:
        return _("Warning")
    return _("Info") if number >= logging.INFO else _("Debug")


def log_source(name: str) -> str:
    """The name of a log line's source, such as ``Trainer`` for ``trainer``."""
    names = {
        "app": _("App"),
        "trainer": _("Trainer"),
        "peer": _("Network"),
        "partner": _("Demo partner"),
    }
    return names.get(name, name)


def requirement(name: str, value: str) -> str:
    """One requirement of a session that the backend offers. name: the backend's, as ``minGPU``."""
    names = {"minGPU": _("GPU"), "minRAM": _("memory"), "bandwidth": _("bandwidth")}
    return _("{what}: {value}").format(what=names.get(name, name), value=value)


def session_status(name: str) -> str:
    """The status of a session that the backend offers."""
    names = {
        "pending": _("Not started yet"),
        "running": _("Running"),
        "paused": _("Paused"),
        "completed": _("Completed"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
    }
    return names.get(name, name)


def local_api(api: LocalApi) -> str:
    """The local API's port and, if another program holds the configured one, that one too."""
    if api.wanted_port in (0, api.port):
        return _("Local API: port {port}").format(port=api.port)
    return _("Local API: port {port}\n({wanted} is taken)").format(
        port=api.port, wanted=api.wanted_port
    )


def stop_condition(stop: "StopSpec") -> str:
    """When a run ends, in a few words."""
    parts = []
    if stop.epochs is not None:
        epochs = ngettext("after {count} epoch", "after {count} epochs", stop.epochs)
        parts.append(epochs.format(count=units.count(stop.epochs)))
    if stop.minutes is not None:
        parts.append(_("after {time}").format(time=units.duration(stop.minutes * 60)))
    if stop.unimproved_evaluations is not None:
        evaluations = ngettext(
            "when {count} evaluation brings nothing better",
            "when {count} evaluations in a row bring nothing better",
            stop.unimproved_evaluations,
        )
        parts.append(evaluations.format(count=units.count(stop.unimproved_evaluations)))
    return _(" or ").join(parts) or _("when you stop it")


def address_count(multiaddrs: tuple[str, ...]) -> str:
    """How many addresses we listen at."""
    if not multiaddrs:
        return units.NONE
    count = len(multiaddrs)
    return ngettext("{count} address", "{count} addresses", count).format(count=count)
