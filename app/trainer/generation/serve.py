"""Obey the app: write texts, one after another, until it says stop or is gone."""

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Literal

from app import pipe
from app.common.errors import ProtocolError
from app.protocol import (
    MOST_TEXT,
    Ack,
    Command,
    Ended,
    EndReason,
    Generate,
    GenerationEnded,
    OpenModel,
    SendReport,
    StopGenerating,
    TextGenerated,
    WeightsLoaded,
)
from app.trainer.confinement.confine import confine_reader
from app.trainer.control import read_line

if TYPE_CHECKING:
    from app.trainer.generation.writer import Writer

log = logging.getLogger(__name__)

PIECE_SECONDS = 0.1
"""Between two pieces of a text: somebody reads along, and the window redraws for each."""


def serve(commands: int, send: SendReport) -> EndReason:
    """Open the model that the first command names, then write what the others ask for.

    commands: descriptor of the app's pipe. Raises `UserFacingError` where the model can't be opened
    or its weights can't be read any more.
    """
    # Landlock holds only threads that start after it, so the first command is read without one.
    line, _newline, rest = read_line(commands).partition(b"\n")
    order = pipe.decode_command(line) if line else None
    if not isinstance(order, OpenModel):
        return EndReason.ABANDONED
    confine_reader(order)
    requests = Requests(commands, send, heard=rest)
    _prepare_process()
    from app.trainer.generation.writer import Writer, keep_small

    keep_small(order)
    writer = Writer(order)
    writer.refresh()
    send(Ack(id=order.id))
    while True:
        write(writer, requests.next(), requests=requests, send=send)


class Requests:
    """Reads commands on a thread of its own. This process ends at once when the app says stop or
    is gone: it has nothing to save."""

    def __init__(self, descriptor: int, send: SendReport, *, heard: bytes = b"") -> None:
        """Start the thread. heard: what was read from the descriptor already."""
        self._descriptor = descriptor
        self._send = send
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
                try:
                    self._obey(pipe.decode_command(line))
                except ProtocolError:
                    log.exception("ignored a command")
            if not (chunk := os.read(self._descriptor, 65536)):
                break
        self._end()

    def _obey(self, command: Command) -> None:
        match command:
            case Generate():
                self._stopped.clear()
                self._waiting.put(command)
            case StopGenerating():
                self._stopped.set()
            case _:
                self._end()
        self._send(Ack(id=command.id))

    def _end(self) -> None:
        self._send(Ended(reason=EndReason.STOPPED))
        os._exit(0)


def write(writer: "Writer", wanted: Generate, *, requests: Requests, send: SendReport) -> None:
    """Write one text, and report it piece by piece."""
    began = said = time.monotonic()
    send(WeightsLoaded(epoch=writer.refresh()))
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
