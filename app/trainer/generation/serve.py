"""Obey the app: write texts, one after another, until it is gone or wants no more."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NoReturn

from app import protocol
from app.common.background import survived
from app.common.errors import ProtocolError, UserFacingError
from app.common.i18n import _
from app.generation_messages import (
    MOST_TEXT,
    Generate,
    GenerationCommand,
    GenerationEnded,
    OpenModel,
    StopGenerating,
    TextGenerated,
    WeightsLoaded,
    decode_command,
)
from app.message import Message
from app.protocol import TrainerProblem
from app.trainer.confinement.confine import confine_reader
from app.trainer.confinement.memory import memory_ran_out
from app.trainer.control import read_line

if TYPE_CHECKING:
    from app.trainer.generation.writer import Writer

log = logging.getLogger(__name__)

PIECE_SECONDS = 0.1
"""Between two pieces of a text: somebody reads along, and the window redraws for each."""

_FAILED = 1

_Send = Callable[[Message], None]


def serve(commands: int, send: _Send) -> int:
    """Open the model that the first command names, then write what the others ask for.

    commands: descriptor of the app's pipe. Returns the exit status, once something went wrong.
    """
    send(protocol.Hello(version=protocol.VERSION, pid=os.getpid()))
    problem = TrainerProblem(
        message=_("something went wrong in the app."),
        remedy=_("See the log for details."),
        expected=False,
    )
    with survived(log, "writing texts failed"):
        problem = _obey(commands, send)
    send(problem)
    return _FAILED


def _obey(commands: int, send: _Send) -> TrainerProblem:
    try:
        _write_for_ever(commands, send)
    except UserFacingError as error:
        return _problem(error)
    except (MemoryError, RuntimeError, SystemError) as error:
        if (found := memory_ran_out(error)) is None:
            raise
        return _problem(found)


def _problem(error: UserFacingError) -> TrainerProblem:
    log.warning("%s", error.text)
    return TrainerProblem(message=error.message, field=error.field, remedy=error.remedy)


def _write_for_ever(commands: int, send: _Send) -> NoReturn:
    # Landlock holds only threads that start after it, so the first command is read without one.
    line, _newline, rest = read_line(commands).partition(b"\n")
    if not line:
        os._exit(0)
    order = decode_command(line)
    if not isinstance(order, OpenModel):
        raise ProtocolError("the first command opens a model")
    confine_reader(order)
    requests = Requests(commands, heard=rest)
    _prepare_process()
    from app.trainer.generation.writer import Writer, keep_small

    keep_small(order)
    writer = Writer(order)
    while True:
        write(writer, requests.next(), requests=requests, send=send)


class Requests:
    """Reads commands on a thread of its own. This process ends at once when the pipe ends: the app
    is gone, or wants no more texts, and there is nothing to save."""

    def __init__(self, descriptor: int, *, heard: bytes = b"") -> None:
        """Start the thread. heard: what was read from the descriptor already."""
        self._descriptor = descriptor
        self._waiting: queue.SimpleQueue[Generate] = queue.SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._read, args=(heard,), name="commands", daemon=True).start()

    @property
    def stopped(self) -> bool:
        """The app wants the text under way to end."""
        return self._stopped.is_set()

    def next(self) -> Generate:
        """Wait for the next text that is wanted."""
        return self._waiting.get()

    def _read(self, chunk: bytes) -> None:
        buffered = b""
        while True:
            *lines, buffered = (buffered + chunk).split(b"\n")
            for line in lines:
                with survived(log, "a command could not be obeyed"):
                    self._obey(decode_command(line))
            if not (chunk := os.read(self._descriptor, 65536)):
                break
        os._exit(0)

    def _obey(self, command: GenerationCommand) -> None:
        match command:
            case Generate():
                self._stopped.clear()
                self._waiting.put(command)
            case StopGenerating():
                self._stopped.set()
            case OpenModel():
                raise ProtocolError("a model is open already")


def write(writer: "Writer", wanted: Generate, *, requests: Requests, send: _Send) -> None:
    """Write one text, and report it piece by piece."""
    send(WeightsLoaded(epoch=writer.refresh()))
    began = said = time.monotonic()
    tokens = writer.tokens_of(wanted.prompt)
    decoder = writer.decoder(tokens)
    reason: Literal["length", "end", "stopped"] = "end"
    piece, count, room = "", 0, MOST_TEXT
    for token in writer.continuation(tokens, temperature=wanted.temperature):
        count += 1
        piece = (piece + decoder.add(token))[:room]
        if time.monotonic() - said >= PIECE_SECONDS and piece:
            send(TextGenerated(text=piece))
            piece, said, room = "", time.monotonic(), room - len(piece)
        if requests.stopped or count == wanted.tokens or len(piece) == room:
            reason = "stopped" if requests.stopped else "length"
            break
    if piece := (piece + decoder.end())[:room]:
        send(TextGenerated(text=piece))
    send(GenerationEnded(reason=reason, tokens=count, seconds=time.monotonic() - began))


def _prepare_process() -> None:
    """Before torch is imported: one thread of the CPU, and no GPU: its memory is the trainer's."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIP_VISIBLE_DEVICES"] = ""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"  # all that it needs lies on this machine
