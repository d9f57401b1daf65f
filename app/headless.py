"""The same session without Qt: a progress line on a terminal, JSON lines when piped."""

import asyncio
import getpass
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn, TextIO

from app import i18n, invite, logs, settings, spec
from app.callback.server import Callback
from app.callback.sources import sources_of
from app.cli import Arguments, has_display
from app.demo import DemoSwarm
from app.door import SwarmDoor
from app.errors import UserFacingError
from app.i18n import _
from app.paths import RESOURCES, Folders
from app.protocol import Waiting
from app.session import Session
from app.state import ContributorState, Phase
from app.tasks import Tasks

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
USAGE_STATUS = 2
PASSWORD_VARIABLE = "COTRAIN_PASSWORD"


def run(arguments: Arguments) -> int:
    """Run until stopped, completed or failed; returns the exit status."""
    if arguments.verify:
        return _verify(arguments.verify)
    folders = Folders.under(arguments.data_dir) if arguments.data_dir else Folders.default()
    i18n.install("system", RESOURCES / "translations")
    if not arguments.headless and not has_display():
        _say(_("No display found: running without a window."))
    try:
        folders.create()
        chosen = settings.load(folders.settings_file, arguments.overrides)
        i18n.install(chosen.language, RESOURCES / "translations")
        password = _password(arguments.sign_in) if arguments.sign_in else ""
        logging_ = logs.start(folders.logs, debug=chosen.debug)
    except UserFacingError as error:
        _say(error.text)
        return USAGE_STATUS
    try:
        session = Session(settings=chosen, folders=folders)
        work = (
            _DoorWork(arguments, session)
            if arguments.bootstrap
            else _Contribution(arguments, session, password)
        )
        return asyncio.run(_run(work, session))
    finally:
        logging_.close()


def _password(email: str) -> str:
    """From the environment, a terminal or a pipe; never from the command line, which everybody on
    this machine can read. Asked for before the loop runs: it may wait for somebody."""
    given = os.environ.pop(PASSWORD_VARIABLE, "")  # no child inherits it
    if not given and sys.stdin.isatty():
        given = getpass.getpass(_("Password of {email}: ").format(email=email))
    given = given or sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise UserFacingError(
            _("no password was given."),
            field=PASSWORD_VARIABLE,
            remedy=_("Set this variable, or type or pipe the password in."),
        )
    return given


def _verify(files: tuple[Path, ...]) -> int:
    from app.export import verify_files

    i18n.install("system", RESOURCES / "translations")
    return verify_files(files)


async def _run(work: "_Contribution | _DoorWork", session: Session) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    display = Display(sys.stdout)
    unsubscribe = session.subscribe(display.show)
    try:
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(work.run())
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else 0
    except UserFacingError as error:
        display.say(error.text)
        return 1
    finally:
        await _end(working, stopping)
        await work.close()
        display.close(session.state)
        unsubscribe()


async def _end(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Contribution:
    """Train in the swarm that the command line names, in the demo's, or as the API is asked; or
    only see to the account at the backend."""

    def __init__(self, arguments: Arguments, session: Session, password: str) -> None:
        self._arguments = arguments
        self._session = session
        self._password = password
        self._demo = DemoSwarm(session)
        self._callback = Callback(session, tasks=Tasks(session), sources=sources_of(session))

    async def run(self) -> int:
        """Join, train, and wait for the end that comes by itself; returns the exit status."""
        arguments, session = self._arguments, self._session
        swarm = _swarm_spec(arguments)
        await session.open(look_for_devices=False)
        await _see_to_account(arguments, session, self._password)
        if swarm is None and not arguments.demo and not arguments.serve:
            return 0
        await self._callback.start()
        if arguments.serve:
            _say_how_to_call(session)
        if arguments.demo:
            await self._demo.start()
        elif swarm is not None:
            await session.join(swarm)
        if session.membership.joined:
            await session.start_training()
        if arguments.serve:
            await _for_ever()
        return await _end_of_training(session)

    async def close(self) -> None:
        """Take no more calls, and end all that was started."""
        await self._callback.close()
        await asyncio.gather(self._demo.close(), self._session.close())


class _DoorWork:
    """Be the door of the swarm that the command line names."""

    def __init__(self, arguments: Arguments, session: Session) -> None:
        self._arguments = arguments
        self._session = session
        self._door: SwarmDoor | None = None

    async def run(self) -> int:
        """Let others in until we are stopped."""
        swarm = _swarm_of_door(self._arguments)
        await self._session.open(look_for_devices=False)
        self._door = SwarmDoor(self._session, swarm)
        await self._door.open()
        return await _for_ever()

    async def close(self) -> None:
        """Answer no more, and leave."""
        if self._door is not None:
            await self._door.close()
        await self._session.close()


async def _for_ever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nothing ends it but a cancel")


async def _see_to_account(arguments: Arguments, session: Session, password: str) -> None:
    reporting = session.reporting
    url = reporting.state.backend_url
    if arguments.sign_out:
        await reporting.sign_out()
        _say(_("Signed out of {url}.").format(url=url))
    if arguments.sign_in:
        if not reporting.state.encrypted:
            _say(_("{url} is not encrypted: others can read the password.").format(url=url))
        # nobody watches a machine like this: it has to sign in again by itself
        await reporting.sign_in(arguments.sign_in, password=password, stay=True)
        _say(_("Signed in to {url} as {email}.").format(url=url, email=arguments.sign_in))


def _say_how_to_call(session: Session) -> None:
    if session.state.local_api is None:
        raise UserFacingError(
            _("the local API is switched off, so there is nothing to serve."),
            field="callback",
            remedy=_("Leave --no-callback or --serve away."),
        )
    url, tokens = session.state.local_api.url, session.folders.callback_tokens
    _say(_("Local API: {url}, tokens: {file}").format(url=url, file=tokens))
    if session.settings.consent == "ask":
        _say(
            _(
                "Tasks from outside need the volunteer's word, and nobody can be asked without a"
                " window: they are refused. With --consent always, those of consent_backends"
                " ({backends}) are accepted."
            ).format(backends=", ".join(session.settings.consent_backends))
        )


def _swarm_spec(arguments: Arguments) -> spec.SwarmSpec | None:
    if source := arguments.swarm or arguments.invite:
        return invite.load(source)
    account = arguments.sign_in or arguments.sign_out
    if not arguments.demo and not arguments.serve and not account:
        raise UserFacingError(
            _("there is nothing to do."),
            remedy=_(
                "Give --swarm and an invite, a file or a link, or --demo, or --serve to be told by"
                " the local API."
            ),
        )
    return None


def _swarm_of_door(arguments: Arguments) -> spec.SwarmSpec:
    if source := arguments.swarm or arguments.invite:
        return invite.load(source)
    raise UserFacingError(
        _("a door needs a swarm."), remedy=_("Give --swarm and an invite, a file or a link.")
    )


async def _end_of_training(session: Session) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(state: ContributorState) -> None:
        if ended.done() or state.trains_or_will:
            return
        if state.phase is Phase.FAILED:
            ended.set_result(1)
        elif state.phase is Phase.WATCHING:
            ended.set_result(0)

    unsubscribe = session.subscribe(look)
    look(session.state)
    try:
        return await ended
    finally:
        unsubscribe()


def _say(text: str) -> None:
    sys.stderr.write(f"cotrain-contributor: {text}\n")
    sys.stderr.flush()


class Display:
    """Shows states on a stream: at once when the phase changes, for whom we wait, or where we are
    called, else every second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown_at = 0.0
        self._shown: tuple[object, ...] = ()
        self._problem = ""
        self._lost = False
        self._terminal = stream.isatty()

    def show(self, state: ContributorState) -> None:
        """Show a state, unless one was just shown."""
        self._say_problem(state)
        self._say_connection(state)
        shown = (state.phase, state.waiting, state.local_api)
        if shown == self._shown and time.monotonic() - self._shown_at < REPORT_SECONDS:
            return
        self._shown, self._shown_at = shown, time.monotonic()
        text = f"\r\x1b[K{as_line(state)}" if self._terminal else f"{as_json(state)}\n"
        self._write(text)

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

    def say(self, problem: str) -> None:
        """Say what is wrong, once."""
        if problem != self._problem:
            self._tell(problem)
        self._problem = problem

    def _tell(self, text: str) -> None:
        self._write("\r\x1b[K" if self._terminal else "")
        _say(text)

    def close(self, state: ContributorState) -> None:
        """Show the last state and leave the line."""
        self._shown_at = 0.0
        self.show(state)
        if self._terminal:
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            log.info("nobody reads the progress any more")
            # the interpreter flushes it once more at its end, and would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            signal.raise_signal(signal.SIGTERM)


def _problem_text(state: ContributorState) -> str:
    assert state.problem is not None
    parts = (state.problem.field, state.problem.message, state.problem.remedy)
    text = f"{parts[0]}: {parts[1]}" if parts[0] else parts[1]
    return f"{text} {parts[2]}".rstrip()


def as_json(state: ContributorState) -> str:
    """One line of JSON; null where something isn't known."""
    own, run = state.training, state.run
    return json.dumps(
        {
            "time": time.time(),
            "phase": state.phase.value,
            "waiting_for": _seen(state.waiting) if state.waiting else None,
            "paused_by": state.paused_by,
            "epoch": own.epoch if own and own.step else (run.epoch if run else None),
            "step": own.step if own else None,
            "loss": own.loss if own else None,
            "samples_per_second": own.samples_per_second if own else None,
            "tokens_per_second": own.tokens_per_second if own else None,
            "peers": run.trainers if run else None,
            "connected": len(state.peers),
            "dht_nodes": state.dht_nodes,
            "samples": run.samples if run else None,
            "target_batch_size": state.swarm.target_batch_size if state.swarm else None,
            "swarm_loss": run.loss if run else None,
            "swarm_samples_per_second": run.samples_per_second if run else None,
            "run_id": state.swarm.run_id if state.swarm else None,
            "addresses": state.addresses,
            "reconnect_at": state.reconnect_at,
            "url": state.local_api.url if state.local_api else None,
            "problem": _problem_text(state) if state.problem else None,
            "reporting": state.reporting.status.value,
        }
    )


def _seen(waiting: Waiting) -> str:
    return f"{waiting.seen} of {waiting.known} {waiting.whom}"


def as_line(state: ContributorState) -> str:
    """What fits on a line of a terminal."""
    own, run = state.training, state.run
    parts = [state.phase.value]
    if state.phase is Phase.WATCHING:
        parts.append(f"{len(state.peers)} connected")
    if state.step_of_preparation is not None:
        parts.append(state.step_of_preparation.value)
    if state.waiting is not None:
        parts.append(f"waiting for the others ({_seen(state.waiting)})")
    if state.paused_by:
        parts.append(" ".join(reason.text for reason in state.verdict.reasons))
    if run is not None:
        parts.append(f"epoch {run.epoch}  {run.samples} samples  {run.trainers} peers")
    if own is not None and own.loss is not None:
        parts.append(f"step {own.step}  loss {own.loss:.3f}")
    if own is not None and own.samples_per_second is not None:
        parts.append(f"{own.samples_per_second:.1f} samples/s")
    return "  ".join(parts)
