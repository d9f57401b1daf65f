"""The same session without Qt: a progress line on a terminal, JSON lines when piped."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from app import i18n, invite, logs, runtime, settings, spec
from app.callback.server import Callback
from app.cli import Arguments, has_display
from app.demo import DemoSwarm
from app.errors import UserFacingError
from app.i18n import _
from app.paths import RESOURCES, Folders
from app.session import Session
from app.state import ContributorState, Phase
from app.tasks import Tasks

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
USAGE_STATUS = 2


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
        file = None if arguments.safe else folders.settings_file
        chosen, damaged = settings.load_or_mend(file, arguments.overrides)
        i18n.install(chosen.language, RESOURCES / "translations")
        logging_ = logs.start(folders.logs, debug=chosen.debug)
    except UserFacingError as error:
        _say(error.text)
        return USAGE_STATUS
    if damaged is not None:
        _say(damaged.text)
    try:
        if arguments.diagnostics is not None:
            return _collect(arguments.diagnostics, folders, chosen)
        if arguments.gpu_runtime:
            return _fetch_gpu_runtime(folders)
        return asyncio.run(_contribute(arguments, Session(settings=chosen, folders=folders)))
    finally:
        logging_.close()


def _verify(files: tuple[Path, ...]) -> int:
    from app.export import verify_files

    i18n.install("system", RESOURCES / "translations")
    return verify_files(files)


def _collect(file: Path, folders: Folders, chosen: settings.Settings) -> int:
    from app.diagnostics import collect

    try:
        collect(file, folders=folders, settings=chosen)
    except UserFacingError as error:
        _say(error.text)
        return 1
    _say(_("Saved as {file}").format(file=file))
    return 0


def _fetch_gpu_runtime(folders: Folders) -> int:
    wanted = runtime.offered()
    if wanted is None:
        _say(_("From source, PyTorch is what pip installed; see pytorch.org for the GPU's."))
        return USAGE_STATUS
    amount = _("{size:.1f} GB to download, {disk:.1f} GB on the disk").format(
        size=wanted.size / 1e9, disk=wanted.unpacked / 1e9
    )
    _say(
        _("PyTorch {version} for NVIDIA's GPUs: {amount}").format(
            version=wanted.torch, amount=amount
        )
    )
    try:
        runtime.check_driver(wanted, runtime.driver_cuda())
        place = runtime.fetch(wanted, folders=folders, progress=_Percent(wanted.size).show)
    except UserFacingError as error:
        _say(error.text)
        return 1
    _say(_("Saved as {file}").format(file=place))
    return 0


class _Percent:
    """Says how much of something large is here, in steps of 5 %."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = 0

    def show(self, size: int) -> None:
        percent = 100 * size // self._total
        if percent >= self._said + 5:
            self._said = percent
            _say(f"{percent} %")


async def _contribute(arguments: Arguments, session: Session) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    display = Display(sys.stdout)
    unsubscribe = session.subscribe(display.show)
    demo = DemoSwarm(session)
    callback = Callback(session, tasks=Tasks(session))
    try:
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(_work(arguments, session, demo, callback))
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else 0
    except UserFacingError as error:
        display.say(error.text)
        return 1
    finally:
        await _end(working, stopping)
        await callback.close()
        await asyncio.gather(demo.close(), session.close())
        display.close(session.state)
        unsubscribe()


async def _end(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _work(arguments: Arguments, session: Session, demo: DemoSwarm, callback: Callback) -> int:
    """Join, train, and wait for the end that comes by itself; returns the exit status."""
    swarm = _swarm_spec(arguments)
    await session.open(look_for_devices=False)
    await callback.start()
    if arguments.serve:
        _say_how_to_call(session)
    if arguments.demo:
        await demo.start()
    elif swarm is not None:
        await session.join(swarm)
    if session.membership.joined:
        await session.start_training()
    if arguments.serve:
        await asyncio.get_running_loop().create_future()  # until we are stopped
    return await _end_of_training(session)


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
    if not arguments.demo and not arguments.serve:
        raise UserFacingError(
            _("there is nothing to do."),
            remedy=_(
                "Give --swarm and an invite, a file or a link, or --demo, or --serve to be told by"
                " the local API."
            ),
        )
    return None


async def _end_of_training(session: Session) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(state: ContributorState) -> None:
        if ended.done() or state.phase.has_trainer or state.restart_at is not None:
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
    """Shows states on a stream: at once when the phase changes, else every second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown_at = 0.0
        self._phase: Phase | None = None
        self._problem = ""
        self._terminal = stream.isatty()

    def show(self, state: ContributorState) -> None:
        """Show a state, unless one was just shown."""
        self._say_problem(state)
        if state.phase is self._phase and time.monotonic() - self._shown_at < REPORT_SECONDS:
            return
        self._phase, self._shown_at = state.phase, time.monotonic()
        text = f"\r\x1b[K{as_line(state)}" if self._terminal else f"{as_json(state)}\n"
        self._write(text)

    def _say_problem(self, state: ContributorState) -> None:
        if state.problem is None:
            self._problem = ""
        else:
            self.say(_problem_text(state))

    def say(self, problem: str) -> None:
        """Say what is wrong, once."""
        if problem != self._problem:
            self._write("\r\x1b[K" if self._terminal else "")
            _say(problem)
        self._problem = problem

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
            "epoch": own.epoch if own and own.step else (run.epoch if run else None),
            "step": own.step if own else None,
            "loss": own.loss if own else None,
            "samples_per_second": own.samples_per_second if own else None,
            "tokens_per_second": own.tokens_per_second if own else None,
            "peers": run.trainers if run else None,
            "samples": run.samples if run else None,
            "target_batch_size": state.swarm.target_batch_size if state.swarm else None,
            "swarm_loss": run.loss if run else None,
            "swarm_samples_per_second": run.samples_per_second if run else None,
            "run_id": state.swarm.run_id if state.swarm else None,
            "addresses": state.addresses,
            "problem": _problem_text(state) if state.problem else None,
        }
    )


def as_line(state: ContributorState) -> str:
    """What fits on a line of a terminal."""
    own, run = state.training, state.run
    parts = [state.phase.value]
    if state.step_of_preparation is not None:
        parts.append(state.step_of_preparation.value)
    if run is not None:
        parts.append(f"epoch {run.epoch}  {run.samples} samples  {run.trainers} peers")
    if own is not None and own.loss is not None:
        parts.append(f"step {own.step}  loss {own.loss:.3f}")
    if own is not None and own.samples_per_second is not None:
        parts.append(f"{own.samples_per_second:.1f} samples/s")
    return "  ".join(parts)
