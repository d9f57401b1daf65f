"""What a headless app prints: one progress line on a terminal, JSON lines into a pipe."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from app.common.i18n import _
from app.common.plain import one_line
from app.contributions.fates import forgotten_text, unreported
from app.headless.printer import as_message
from app.protocol import FileDownload, StateDownload, TrainerWarning, Waiting
from app.spec.about import AboutSpec, in_words
from app.state.facts import DoorSnapshot, MemberFault, Returning
from app.state.state import ContributorState, Phase, Round

REPORT_SECONDS = 1.0
"""Between two states that differ in figures only."""


MOST_FAULTS = 20
"""Of other members, the newest, in a line of JSON."""


def say(text: str) -> None:
    """Print a message on stderr, beside the progress."""
    sys.stderr.write(as_message(text))
    sys.stderr.flush()


class Output(Protocol):
    """Where progress goes. What is written there fails for nobody, and returns at once."""

    def write(self, text: str, /) -> object:
        """Print a piece of text."""

    def isatty(self) -> bool:
        """It is a terminal."""


class Display:
    """Prints states on a stream: at once when the phase, the awaited peers or the local API change,
    else once a second.

    say_beside: prints a message, on stderr.
    """

    def __init__(self, stream: Output, *, say_beside: Callable[[str], None] = say) -> None:
        self._stream = stream
        self._say_beside = say_beside
        self._shown_at = 0.0
        self._shown: tuple[object, ...] = ()
        self._problem = ""
        self._lost = False
        self._returning: Returning | None = None
        self._barred = ""
        self._about: AboutSpec | None = None
        self._snapshot = DoorSnapshot()
        self._began_with: int | None = None
        self._reporting: tuple[str, int] = ("", 0)
        self._terminal = stream.isatty()

    def show(self, state: ContributorState) -> None:
        """Print a state, unless one was printed within the last second and only figures differ."""
        self._say_problem(state)
        self._say_connection(state)
        self._say_return(state)
        self._say_about(state)
        self._say_access(state)
        self._say_snapshot(state)
        self._say_reporting(state)
        shown = (state.phase, state.waiting, state.local_api)
        if shown == self._shown and time.monotonic() - self._shown_at < REPORT_SECONDS:
            return
        self._shown, self._shown_at = shown, time.monotonic()
        text = f"\r\x1b[K{as_line(state)}" if self._terminal else f"{as_json(state)}\n"
        self._stream.write(text)

    def _say_problem(self, state: ContributorState) -> None:
        if state.problem is None:
            self._problem = ""
        else:
            self.say(_problem_text(state))

    def _say_connection(self, state: ContributorState) -> None:
        lost, was_lost = state.reconnect_at is not None, self._lost
        self._lost = lost
        if lost and not was_lost:
            self._tell(_("nobody of the swarm can be reached; trying again until somebody can."))
        elif was_lost and not lost and state.phase is not Phase.DISCONNECTED:
            self._tell(_("the swarm can be reached again."))

    def _say_return(self, state: ContributorState) -> None:
        """That we go back to the swarm of the last run, and each time that it can't be reached."""
        now, before = state.returning, self._returning
        self._returning = now
        if now is None or now == before:
            return
        if now.retry_at is None:
            self._tell(_("going back to {swarm}.").format(swarm=now.title))
        else:
            text = _("{swarm} can't be entered yet: {reason} Trying again in {seconds} s.")
            wait = max(0, round(now.retry_at - time.time()))
            self._tell(text.format(swarm=now.title, reason=now.reason, seconds=wait))

    def _say_about(self, state: ContributorState) -> None:
        """What the swarm is for, once when we begin to enter it."""
        about = state.swarm.about if state.swarm is not None else None
        if about != self._about:
            for what, words in in_words(about).items():
                self._tell(f"{what}: {words}")
        self._about = about

    def _say_access(self, state: ContributorState) -> None:
        """Once each time, that we wait for the organiser, and that we do no more."""
        barred = state.access.code if "roster" in state.paused_by else ""
        if barred and barred != self._barred:
            self._tell(
                _("this swarm is closed: send your code {code} to the organiser.").format(
                    code=barred
                )
            )
        elif self._barred and state.access.admitted and state.access.closed:
            self._tell(_("the organiser has added this machine to the swarm."))
        self._barred = barred

    def _say_snapshot(self, state: ContributorState) -> None:
        """That a door keeps another snapshot or can't, and that we have begun with one."""
        now, before = state.snapshot or DoorSnapshot(), self._snapshot
        self._snapshot = now
        if now.epoch not in (None, before.epoch):
            text = _("the snapshot of epoch {epoch} is kept ({size:.1f} MB).")
            self._tell(text.format(epoch=now.epoch, size=now.size / 1e6))
        if now.problem and now.problem != before.problem:
            self._tell(_("no newer snapshot: {reason}.").format(reason=now.problem))
        began_with = state.training.snapshot_epoch if state.training is not None else None
        if began_with is not None and began_with != self._began_with:
            text = _("nobody trained: took the snapshot of epoch {epoch} from the door.")
            self._tell(text.format(epoch=began_with))
        self._began_with = began_with

    def _say_reporting(self, state: ContributorState) -> None:
        """Once each time, to whoever expects reports, that they aren't sent or are forgotten."""
        expected = state.reporting.signed_in_as
        text, forgotten = unreported(state) if expected else "", state.reporting.forgotten
        said_text, said_forgotten = self._reporting
        self._reporting = text, forgotten
        if text and text != said_text:
            self._tell(text)
        if forgotten > said_forgotten:
            remedy = _("With --refill always they are reported again.")
            self._tell(f"{forgotten_text(forgotten)} {remedy}")

    def say(self, problem: str) -> None:
        """Print a problem on stderr, once for each new text."""
        if problem != self._problem:
            self._tell(problem)
        self._problem = problem

    def _tell(self, text: str) -> None:
        if self._terminal:
            self._stream.write("\r\x1b[K")
        self._say_beside(text)

    def close(self, state: ContributorState) -> None:
        """Print the last state and end the line."""
        self._shown_at = 0.0
        self.show(state)
        if self._terminal:
            self._stream.write("\n")


def _problem_text(state: ContributorState) -> str:
    assert state.problem is not None
    parts = (state.problem.field, state.problem.message, state.problem.remedy)
    text = f"{parts[0]}: {parts[1]}" if parts[0] else parts[1]
    return f"{text} {parts[2]}".rstrip()


def _warnings(state: ContributorState) -> tuple[TrainerWarning, ...]:
    return state.training.warnings if state.training is not None else ()


def as_json(state: ContributorState) -> str:
    """One line of JSON; null where a value is unknown."""
    own, run = state.training, state.run
    about = state.swarm.about if state.swarm else None
    return json.dumps(
        {
            "time": time.time(),
            "phase": state.phase.value,
            "waiting_for": _seen(state.waiting) if state.waiting else None,
            "state_download": _downloaded(state.download),
            "file_download": _fetched(state.download),
            "paused_by": state.paused_by,
            "epoch": own.epoch if own and own.step else (run.epoch if run else None),
            "step": own.step if own else None,
            "loss": own.loss if own else None,
            "samples_per_second": own.samples_per_second if own else None,
            "tokens_per_second": own.tokens_per_second if own else None,
            "computing": own.computing if own else None,
            "own_steps": own.own_steps if own else None,
            "exchanging": own.exchanging if own else None,
            "bytes_sent": own.bytes_sent if own else None,
            "bytes_received": own.bytes_received if own else None,
            "peers": run.trainers if run else None,
            "connected": len(state.peers),
            "dht_nodes": state.dht_nodes,
            "samples": run.samples if run else None,
            "target_batch_size": state.swarm.target_batch_size if state.swarm else None,
            "swarm_loss": run.loss if run else None,
            "evaluation": state.evaluation.as_json() if state.evaluation else None,
            "best_evaluation": state.best_evaluation.as_json() if state.best_evaluation else None,
            "swarm_held_out_loss": run.held_out_loss if run else None,
            "sample": asdict(state.samples[-1]) if state.samples else None,
            "swarm_samples_per_second": run.samples_per_second if run else None,
            "run_id": state.swarm.run_id if state.swarm else None,
            "about": about.as_json() if about else None,
            "last_round": _round(own.last_round) if own and own.last_round else None,
            "failed_rounds": own.failed_rounds if own else None,
            "faults": [_fault(each) for each in state.faults.last[-MOST_FAULTS:]],
            "snapshot_epoch": own.snapshot_epoch if own else None,
            "snapshot": _snapshot(state.snapshot) if state.snapshot else None,
            "addresses": state.addresses,
            "reconnect_at": state.reconnect_at,
            "returning": asdict(state.returning) if state.returning else None,
            "url": state.local_api.url if state.local_api else None,
            "problem": _problem_text(state) if state.problem else None,
            "warnings": [each.text for each in _warnings(state)],
            "reporting": state.reporting.status.value,
            "not_reported": unreported(state) or None,
            "forgotten": state.reporting.forgotten,
        }
    )


def _round(last: Round) -> dict[str, object]:
    return {
        "epoch": last.epoch,
        "peers": last.peers,
        "seconds": round(last.seconds, 2),
        "bytes_sent": last.bytes_sent,
        "failure": last.failure or None,
        "samples": last.samples,
        "arrived": round(last.arrived, 3),
    }


def _snapshot(snapshot: DoorSnapshot) -> dict[str, object]:
    return {
        "epoch": snapshot.epoch,
        "size": snapshot.size,
        "problem": snapshot.problem or None,
    }


def _fault(fault: MemberFault) -> dict[str, object]:
    return {
        "peer_id": fault.peer_id,
        "fault": fault.fault.value,
        "count": fault.count,
        "epoch": fault.epoch,
        "time": fault.time,
        "evicted_until": fault.evicted_until,
    }


def _seen(waiting: Waiting) -> str:
    return f"{waiting.seen} of {waiting.known} {waiting.whom}"


def _arrived(download: StateDownload | FileDownload) -> str:
    what = f"downloading the {download.what}: " if isinstance(download, FileDownload) else ""
    if isinstance(download, StateDownload) and download.problem:
        return f"no state yet: {download.problem}"
    arrived = f"{download.received / 1e6:.1f}"
    if download.size is not None:
        arrived += f" of {download.size / 1e6:.1f}"
    left = f", {download.seconds_left:.0f} s left" if download.seconds_left is not None else ""
    return f"{what}{arrived} MB{left}"


def _downloaded(download: StateDownload | FileDownload | None) -> dict[str, object] | None:
    if not isinstance(download, StateDownload):
        return None
    return {
        "received": download.received,
        "size": download.size,
        "seconds_left": download.seconds_left,
        "problem": download.problem or None,
    }


def _fetched(download: StateDownload | FileDownload | None) -> dict[str, object] | None:
    if not isinstance(download, FileDownload):
        return None
    return {
        "what": download.what,
        "received": download.received,
        "size": download.size,
        "seconds_left": download.seconds_left,
    }


def _evaluated(state: ContributorState) -> list[str]:
    newest, best = state.evaluation, state.best_evaluation
    if newest is None or best is None:
        return []
    text = f"unseen text {newest.bits_per_byte:.3f} bits/byte in epoch {newest.epoch}"
    return [f"{text} (best {best.bits_per_byte:.3f} in {best.epoch})"]


def _kept(state: ContributorState) -> list[str]:
    """What a door keeps, and what a backend hasn't kept."""
    parts = []
    if state.snapshot is not None and state.snapshot.epoch is not None:
        parts.append(f"snapshot of epoch {state.snapshot.epoch}")
    if state.reporting.forgotten:
        parts.append(f"{state.reporting.forgotten} contributions forgotten by the backend")
    return parts


def as_line(state: ContributorState) -> str:
    """A summary that fits on a line of a terminal."""
    own, run = state.training, state.run
    parts = [state.phase.value]
    if state.phase is Phase.WATCHING:
        parts.append(f"{len(state.peers)} connected")
    if state.step_of_preparation is not None:
        parts.append(state.step_of_preparation.value)
    if state.waiting is not None:
        parts.append(f"waiting for the others ({_seen(state.waiting)})")
    download = state.download
    if isinstance(download, StateDownload) or (download and not download.is_complete):
        parts.append(_arrived(download))
    if state.paused_by:
        parts.append(" ".join(reason.text for reason in state.verdict.reasons))
    if "roster" in state.paused_by:
        parts.append("the organiser hasn't added this machine yet")
    if run is not None:
        parts.append(f"epoch {run.epoch}  {run.samples} samples  {run.trainers} peers")
    if own is not None and own.loss is not None:
        parts.append(f"step {own.step}  loss {own.loss:.3f}")
    if own is not None and own.samples_per_second is not None:
        parts.append(f"{own.samples_per_second:.1f} samples/s")
    parts += _evaluated(state)
    if own is not None and own.computing is not None:
        parts.append(f"computing {own.computing:.0%} of the time")
    parts += _kept(state)
    parts += [warning.message for warning in _warnings(state)]
    return one_line("  ".join(parts))
