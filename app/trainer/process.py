"""The trainer process: take stdin and stdout, read the order, run it, report how it ended."""

import contextlib
import logging
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence

from app import pipe, protocol
from app.common import i18n, logs
from app.common.errors import UserFacingError
from app.common.paths import RESOURCES
from app.machine import gpu_runtime as runtime
from app.message import Message
from app.protocol import (
    Ended,
    EndReason,
    Hello,
    PhaseChanged,
    SendReport,
    TrainerPhase,
    TrainerProblem,
)
from app.trainer import heap
from app.trainer.confinement.confine import confine
from app.trainer.confinement.memory import memory_ran_out
from app.trainer.control import Control, read_line, start_in

log = logging.getLogger(__name__)

NICENESS = 19
"""The lowest priority: while it trains, the window and the volunteer's own programs come first."""

NICENESS_VARIABLE = "COTRAIN_NICENESS"
"""An environment variable with another niceness, for tests: at the lowest priority, a busy
machine leaves a trainer no time."""


def main(arguments: Sequence[str]) -> int:
    """Run as the trainer; ``--devices`` only reports what torch can train on, ``--generate`` writes
    texts with what a trainer has kept, ``--export`` takes a model out."""
    reports, commands = _claim_stdio()
    send = _sender(reports)
    priority = Priority()
    logs.start_in_child(debug="--debug" in arguments)
    i18n.install(os.environ.get(i18n.VARIABLE, "en"), RESOURCES / "translations")
    # WORKAROUND (hivemind 1.1.12): its processes leave tasks behind whenever they end, and log
    # the tasks that they cancel themselves as errors.
    for noisy in ("asyncio", "hivemind.utils.asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    runtime.use()
    if "--devices" in arguments:
        from app.trainer.devices import list_devices

        send(list_devices())
        return 0
    if "--generate" in arguments:
        from app.trainer.generation.serve import serve as generate

        priority.lower()
        return generate(commands, send)
    if "--export" in arguments:
        from app.trainer.export.serving import serve as export

        priority.lower()
        return export(commands, send)
    send(Hello(version=protocol.VERSION, pid=os.getpid()))
    reason = _obey(commands, send, priority)
    send(Ended(reason=reason))
    sys.stderr.flush()
    # Not sys.exit: it waits for threads, and hivemind leaves some behind.
    os._exit(1 if reason is EndReason.FAILED else 0)


class Priority:
    """Of this process and all that it starts: the ordinary one until `lower` is called.

    A start is a few seconds of work that somebody waits for; on a busy machine, the lowest priority
    would make minutes of them.
    """

    def __init__(self) -> None:
        self._niceness = int(os.environ.get(NICENESS_VARIABLE, NICENESS))
        self._session: int | None = None
        # Linux first shares the cores among sessions, and the trainer leads a session of its own.
        # Niceness only counts within it, so the session gets a niceness too. Opened now, since
        # Landlock will forbid it.
        with contextlib.suppress(OSError):  # not Linux, or a kernel without autogroups
            self._session = os.open("/proc/self/autogroup", os.O_WRONLY)

    def lower(self) -> None:
        """Take the lowest priority, with all threads and processes of this process group."""
        if os.getpgrp() == os.getpid():
            os.setpriority(os.PRIO_PGRP, 0, os.nice(0) + self._niceness)
        else:
            os.nice(self._niceness)
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(OSError):
                os.write(session, str(self._niceness).encode())
            os.close(session)


def _claim_stdio() -> tuple[int, int]:
    """Return duplicates of stdout and stdin. What a library prints goes to stderr from now on."""
    reports, commands = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return reports, commands


def _sender(descriptor: int) -> Callable[[Message], None]:
    guard = threading.Lock()

    def send(report: Message) -> None:
        line = pipe.encode(report)
        with guard:
            while line:
                try:
                    line = line[os.write(descriptor, line) :]
                except BrokenPipeError:
                    return  # the app is gone; `Control` sees it at the end of stdin

    return send


def _obey(commands: int, send: SendReport, priority: Priority) -> EndReason:
    # Landlock holds only threads that start after it, so the first command is read without one.
    heard = read_line(commands)
    try:
        if (first := start_in(heard)) is not None:
            confine(first)
    except UserFacingError as error:
        return _failed(error, send)
    control = Control(commands, send, heard=heard)
    order = control.wait_for_start()
    if order is None:
        return EndReason.ABANDONED
    try:
        return _run(order, control, send, priority)
    except UserFacingError as error:
        return _failed(error, send)
    except Exception as error:  # the boundary of this process: the app is told all
        if (problem := memory_ran_out(error)) is not None:
            return _failed(problem, send)
        if control.stopping:  # interrupting a wait may raise; the checkpoint is written already
            log.warning("error while leaving: %r", error)
            return EndReason.ABANDONED if control.abandoned else EndReason.STOPPED
        log.exception("training failed")
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        send(TrainerProblem(message=text, expected=False))
    return EndReason.FAILED


def _failed(error: UserFacingError, send: SendReport) -> EndReason:
    log.warning("%s", error.text)
    send(TrainerProblem(message=error.message, field=error.field, remedy=error.remedy))
    return EndReason.FAILED


def _run(
    order: protocol.Start, control: Control, send: SendReport, priority: Priority
) -> EndReason:
    send(PhaseChanged(phase=TrainerPhase.LOADING))
    _prepare_process(order)
    from app.trainer.assembly import open_run

    with open_run(order, control=control, send=send) as run:
        from app.trainer.loop import train

        priority.lower()
        reason = train(run, control=control)
        send(PhaseChanged(phase=TrainerPhase.STOPPING))
        control.acknowledge()
        run.keeper.keep(now=True)
    return EndReason.ABANDONED if control.abandoned else reason


def _prepare_process(order: protocol.Start) -> None:
    heap.keep()
    # hivemind's averagers can only be forked, and choose the start method when imported.
    multiprocessing.set_start_method("fork")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(order.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it deadlocks after a fork
    # torch.compile compiles in this process, since the workers of a frozen app would start the app
    # again.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
