"""The process that exports, uploads or fetches weights: one order in, reports out."""

import logging
import os
import threading
from collections.abc import Callable

from app import protocol
from app.common.background import survived
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.message import Message
from app.protocol import TrainerProblem
from app.takeout.messages import Export, ExportOrder, FetchWeights, decode_order
from app.trainer.confinement.confine import confine_fetcher
from app.trainer.confinement.memory import be_killed_first, memory_ran_out
from app.trainer.control import read_line

log = logging.getLogger(__name__)

_FAILED = 1


def serve(commands: int, send: Callable[[Message], None]) -> int:
    """Obey the order that is read from a descriptor; returns the exit status."""
    send(protocol.Hello(version=protocol.VERSION, pid=os.getpid()))
    order = decode_order(read_line(commands).partition(b"\n")[0])
    # Landlock holds only threads that start after it.
    if (refused := _confine(order)) is not None:
        send(refused)
        return _FAILED
    threading.Thread(target=_leave_with, args=(commands,), name="commands", daemon=True).start()
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # our log is no terminal
    problem: TrainerProblem | None = TrainerProblem(
        message=_("something went wrong in the app."),
        remedy=_("See the log for details."),
        expected=False,
    )
    with survived(log, "the export failed"):
        problem = _obey(order, send)
    if problem is not None:
        send(problem)
    return 0 if problem is None else _FAILED


def _confine(order: ExportOrder) -> TrainerProblem | None:
    """Only what strangers send needs it; all else lies on this machine. Returns what is wrong with
    the order."""
    if not isinstance(order, FetchWeights):
        be_killed_first()
        return None
    try:
        confine_fetcher(order)
    except UserFacingError as error:
        return _problem(error)
    return None


def _obey(order: ExportOrder, send: Callable[[Message], None]) -> TrainerProblem | None:
    try:
        if isinstance(order, Export):
            os.environ["HF_HUB_OFFLINE"] = "1"  # all that it needs lies on this machine
            from app.trainer.export.exporting import export

            export(order, send)
        elif isinstance(order, FetchWeights):
            from app.trainer.export.fetching import fetch

            fetch(order, send)
        else:
            # The hub's other way, Xet, tells no progress by file, and can't be tried against a
            # server of ours; each hub takes this one as well.
            os.environ["HF_HUB_DISABLE_XET"] = "1"
            from app.trainer.export.uploading import upload

            upload(order, send)
    except UserFacingError as error:
        return _problem(error)
    except (MemoryError, RuntimeError, SystemError) as error:
        if (found := memory_ran_out(error)) is None:
            raise
        return _problem(found)
    return None


def _problem(error: UserFacingError) -> TrainerProblem:
    log.warning("%s", error.text)
    return TrainerProblem(message=error.message, field=error.field, remedy=error.remedy)


def _leave_with(commands: int) -> None:
    """End at once when the pipe ends: the app is gone, or wants this no longer."""
    while os.read(commands, 65536):
        pass
    os._exit(_FAILED)
