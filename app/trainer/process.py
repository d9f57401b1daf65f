"""The trainer process: claim stdio, read the order, run it, say how it ended."""

import contextlib
import logging
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app import i18n, logs, protocol, runtime
from app.errors import UserFacingError
from app.paths import RESOURCES
from app.protocol import Ended, EndReason, Hello, PhaseChanged, Problem, Report, TrainerPhase
from app.trainer import heap
from app.trainer.control import Control

log = logging.getLogger(__name__)

NICENESS = 19
"""The window and whatever the volunteer does come first, always. Other guests take this one too."""

VARIABLE = "COTRAIN_NICENESS"
"""Names another one, for tests: at this one, any busy process would leave a trainer no time."""

Send = Callable[[Report], None]


def main(arguments: Sequence[str]) -> int:
    """Run as the trainer; ``--devices`` only tells what torch can train on."""
    reports, commands = _claim_stdio()
    send = _sender(reports)
    step_back()
    logs.start_in_child(debug="--debug" in arguments)
    i18n.install(os.environ.get(i18n.VARIABLE, "en"), RESOURCES / "translations")
    # WORKAROUND (hivemind 1.1.12): its processes leave tasks behind whenever they end, and tell
    # of those that they cancel themselves as of errors.
    for noisy in ("asyncio", "hivemind.utils.asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    runtime.use()
    if "--devices" in arguments:
        from app.trainer.devices import list_devices

        send(list_devices())
        return 0
    send(Hello(version=protocol.VERSION, pid=os.getpid()))
    reason = _obey(Control(commands, send), send)
    send(Ended(reason=reason))
    sys.stderr.flush()
    # Not sys.exit: hivemind leaves threads behind that would keep the interpreter waiting.
    os._exit(1 if reason is EndReason.FAILED else 0)


def step_back() -> None:
    """Lower our priority, and that of the processes we start."""
    niceness = int(os.environ.get(VARIABLE, NICENESS))
    os.nice(niceness)
    # Linux shares the cores among sessions first, and we lead one: niceness alone counts only
    # against the other processes of our own session, not against the window.
    with contextlib.suppress(OSError):  # another system, or a kernel without groups
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def _claim_stdio() -> tuple[int, int]:
    """Duplicates of stdout and stdin for us alone; whatever a library prints goes to stderr."""
    reports, commands = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return reports, commands


def _sender(descriptor: int) -> Send:
    guard = threading.Lock()

    def send(report: Report) -> None:
        line = protocol.encode(report)
        with guard:
            while line:
                try:
                    line = line[os.write(descriptor, line) :]
                except BrokenPipeError:
                    return  # the app is gone; the end of stdin tells us as well

    return send


def _obey(control: Control, send: Send) -> EndReason:
    order = control.wait_for_start()
    if order is None:
        return EndReason.ABANDONED
    try:
        return _run(order, control, send)
    except UserFacingError as error:
        log.warning("%s", error.text)
        send(Problem(message=error.message, field=error.field, remedy=error.remedy))
    except Exception as error:  # the process's edge: all is told to the app
        if control.stopping:  # a wait that we cut short; what was learnt is kept already
            log.warning("leaving was not in order: %r", error)
            return EndReason.ABANDONED if control.abandoned else EndReason.STOPPED
        log.exception("training failed")
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        send(Problem(message=text, expected=False))
    return EndReason.FAILED


def _run(order: protocol.Start, control: Control, send: Send) -> EndReason:
    send(PhaseChanged(phase=TrainerPhase.LOADING))
    _prepare_process(order)
    from app.trainer.assembly import open_run

    with open_run(order, control=control, send=send) as run:
        from app.trainer.loop import train

        reason = train(run, control=control)
        send(PhaseChanged(phase=TrainerPhase.STOPPING))
        control.acknowledge()
        run.keep(now=True)
    return EndReason.ABANDONED if control.abandoned else reason


def _prepare_process(order: protocol.Start) -> None:
    heap.keep()
    # hivemind's averagers can only be forked, and fix the start method at import.
    multiprocessing.set_start_method("fork")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(order.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it would dead-lock after a fork
    # torch.compile: what it made is kept, and by no workers, which are this executable once more
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(order.cache_dir) / "compiled"))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
