"""Prints from a thread of its own: who reads slowly, or not at all, holds up nobody else."""

import logging
import os
import signal
import threading
from collections import deque
from dataclasses import dataclass

from app.common.i18n import _, ngettext
from app.common.plain import one_line

log = logging.getLogger(__name__)

MOST_WAITING = 500
"""Pieces that wait for their reader. One more, and the oldest progress is lost, which is told."""

MOST_SAID = 2000
"""Characters of a message; a message of others may have any length."""

CLOSE_SECONDS = 2.0
"""How long the end of the app waits for the reader."""


def as_message(text: str) -> str:
    """A message for a terminal, with its line break."""
    return f"cotrain-contributor: {one_line(text, most=MOST_SAID)}\n"


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """What is to be printed."""

    content: bytes
    """Encoded."""
    is_progress: bool
    """It goes to the output, and may be lost. Else it is a message, and goes to the errors."""


class Printer:
    """Prints progress and messages in their order, from the start to `close`.

    A reader that stalls and a full disk are no matter of whoever prints. When nobody reads the
    progress any more, the process is asked to end.
    """

    def __init__(self, *, output: int = 1, errors: int = 2, encoding: str = "utf-8") -> None:
        """output, errors: file descriptors, for progress and for messages."""
        self._output, self._errors, self._encoding = output, errors, encoding
        self._waiting: deque[_Piece] = deque()
        self._changed = threading.Condition()
        self._lost = 0  # since it was last told
        self._failing = False  # to write progress
        self._torn = False  # what could be written last is no whole line
        self._closing = False
        # It may hang in a write for ever: the interpreter doesn't wait for it at its end.
        self._thread = threading.Thread(target=self._print_all, name="printing", daemon=True)
        self._thread.start()

    def isatty(self) -> bool:
        """The progress goes to a terminal."""
        return os.isatty(self._output)

    def write(self, text: str) -> None:
        """Print progress, with its line breaks. Returns at once."""
        self._add(text, is_progress=True)

    def say(self, text: str) -> None:
        """Print a message on a line. Returns at once."""
        self._add(as_message(text), is_progress=False)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Print what still waits, as far as its readers take it in this time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _add(self, text: str, *, is_progress: bool) -> None:
        piece = _Piece(content=self._encoded(text), is_progress=is_progress)
        with self._changed:
            self._waiting.append(piece)
            if len(self._waiting) > MOST_WAITING:
                oldest = next((each for each in self._waiting if each.is_progress), None)
                self._waiting.remove(oldest or self._waiting[0])
                self._lost += oldest is not None
            self._changed.notify()

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    # --- in the thread

    def _print_all(self) -> None:
        while (piece := self._next()) is not None:
            if piece.is_progress:
                self._print_progress(piece.content)
            else:
                self._print_message(piece.content)
        self._tell_what_is_lost()

    def _next(self) -> _Piece | None:
        """Waits for it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _print_progress(self, content: bytes) -> None:
        written = 0
        content = b"\n" + content if self._torn else content
        try:
            while written < len(content):
                written += os.write(self._output, content[written:])
        except BrokenPipeError:
            log.info("nobody reads the progress any more")
            # the interpreter flushes stdout once more at exit, and would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._output)
            os.kill(os.getpid(), signal.SIGTERM)
        except OSError as error:
            if written:
                self._torn = content[written - 1 : written] != b"\n"
            self._note_failure(error)
        else:
            self._failing = self._torn = False
            self._tell_what_is_lost()

    def _note_failure(self, error: OSError) -> None:
        with self._changed:
            self._lost += 1
        if not self._failing:
            log.warning("the progress can't be written: %s", error)
            text = _("the progress can't be written, and is lost: {reason}.")
            self._tell(text.format(reason=error.strerror))
        self._failing = True

    def _tell_what_is_lost(self) -> None:
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost and not self.isatty():  # where each line replaces the one before
            log.warning("%d lines of progress are lost", lost)
            text = ngettext(
                "{count} line of progress was lost: it couldn't be written, or not in time.",
                "{count} lines of progress were lost: they couldn't be written, or not in time.",
                lost,
            )
            self._tell(text.format(count=lost))

    def _tell(self, text: str) -> None:
        self._print_message(self._encoded(as_message(text)))

    def _print_message(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._errors, content) :]
        except OSError as error:
            log.warning("a message can't be written: %s", error)
