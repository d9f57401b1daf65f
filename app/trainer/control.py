"""The app's commands: read from stdin, for the training loop to look at."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from app import pipe, protocol
from app.common.errors import ProtocolError
from app.protocol import Ack, Command, Ended, EndReason, Report, TrainerProblem

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 8.0
"""How long this process may take to leave once the app is gone."""


def read_line(descriptor: int) -> bytes:
    """Read until at least one line is there, or the end; may return what follows the line too."""
    heard = b""
    while b"\n" not in heard and (chunk := os.read(descriptor, 65536)):
        heard += chunk
    return heard


def start_in(heard: bytes) -> protocol.Start | None:
    """The order to start, if that is the first line."""
    try:
        command = pipe.decode_command(heard.partition(b"\n")[0])
    except ProtocolError:  # `Control` reads it again and logs it
        return None
    return command if isinstance(command, protocol.Start) else None


class Control:
    """Reads commands on a thread of its own; the loop polls and acknowledges them."""

    stopping: bool
    """The app wants us to leave, or is gone."""

    abandoned: bool
    """The app is gone, and didn't say stop before."""

    resting: bool
    """Set by the loop while it computes nothing."""

    interrupt: Callable[[], None]
    """Ends the wait that the training thread may be in; called when a stop arrives. Until assembly
    sets another, it leaves at once, since nothing is trained yet that could be lost."""

    def __init__(
        self, descriptor: int, send: Callable[[Report], None], *, heard: bytes = b""
    ) -> None:
        """Start the thread.

        descriptor: of the app's pipe. send: called with acknowledgements. heard: what was read from
        the pipe already.
        """
        self._descriptor = descriptor
        self._heard = heard
        self._send = send
        self._changed = threading.Condition()
        self._start: protocol.Start | None = None
        self._paused = False
        self._long_at = 0.0
        self._pace = protocol.Pace(id=0)
        self._unanswered: list[int] = []
        self.stopping = False
        self.abandoned = False
        self.resting = False
        self.interrupt = self.leave_at_once
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    @property
    def pause_wanted(self) -> bool:
        """The app wants the loop to rest."""
        return self._paused and not self.stopping

    def wait_for_start(self) -> protocol.Start | None:
        """Wait for the first command; None when the app leaves instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._start is not None or self.stopping)
            return self._start

    def wait_for_resume(self, when_long: Callable[[], None]) -> None:
        """Return at a resume or a stop.

        when_long: called if the pause takes longer than the app has said in `Pause.free_after`.
        """
        with self._changed:
            while self.pause_wanted and (left := self._long_at - time.monotonic()) > 0:
                self._changed.wait(left)
        if self.pause_wanted:
            when_long()
        with self._changed:
            self._changed.wait_for(lambda: not self.pause_wanted)

    @property
    def pace(self) -> protocol.Pace:
        """The pace that the app wants."""
        return self._pace

    @property
    def is_paced(self) -> bool:
        """The app wants the loop to compute only for a share of the time."""
        return self._pace.share < 1

    def breathe(self, worked: float) -> float:
        """Wait after ``worked`` seconds of computing, to keep to the share of the time.

        Returns the seconds waited. A pause or a stop ends the wait early.
        """
        if not self.is_paced:
            return 0.0
        began = time.monotonic()
        with self._changed:
            wait = worked * (1 / self._pace.share - 1)
            self._changed.wait_for(lambda: self.stopping or self._paused, wait)
        return time.monotonic() - began

    def acknowledge(self) -> None:
        """Acknowledge all commands so far, if they have taken effect.

        A pause has when the loop rests, a start or resume when it doesn't.
        """
        with self._changed:
            if self._paused != self.resting and not self.stopping:
                return
            done, self._unanswered = self._unanswered, []
        for number in done:
            self._send(Ack(id=number))

    def leave_at_once(self) -> None:
        """End this process and all that it started, without leaving the swarm."""
        self.acknowledge()
        self._send(Ended(reason=EndReason.ABANDONED if self.abandoned else EndReason.STOPPED))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def fail_at_once(self, problem: TrainerProblem) -> None:
        """Report a problem and end this process and all that it started; its threads may hang."""
        self._send(problem)
        self._send(Ended(reason=EndReason.FAILED))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def _read(self) -> None:
        # Unbuffered, and not sys.stdin: a daemon thread that reads sys.stdin.buffer can abort the
        # interpreter at exit.
        with open(self._descriptor, "rb", buffering=0) as stream:  # noqa: PTH123
            chunk, buffered = self._heard, b""
            while True:
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    self._accept(line)
                if not (chunk := stream.read(65536)):
                    break
        self._lost()

    def _accept(self, line: bytes) -> None:
        try:
            command = pipe.decode_command(line)
        except ProtocolError:
            log.exception("ignored a command")
            return
        with self._changed:
            self._unanswered.append(command.id)
            self._note(command)
            self._changed.notify_all()
        if self.stopping:
            self.interrupt()

    def _note(self, command: Command) -> None:
        match command:
            case protocol.Start():
                self._start = command
            case protocol.Pause(free_after=seconds):
                self._paused = True
                self._long_at = time.monotonic() + seconds
            case protocol.Resume():
                self._paused = False
            case protocol.Pace():
                self._pace = command
            case protocol.Stop():
                self.stopping = True

    def _lost(self) -> None:
        """The pipe has ended: the app is gone, or it has said stop and closed it."""
        with self._changed:
            self.abandoned = not self.stopping
            already, self.stopping = self.stopping, True
            self._changed.notify_all()
        if already:
            return
        log.warning("the app is gone: writing a checkpoint and leaving")
        deadline = threading.Timer(ABANDONED_SECONDS, os.killpg, (os.getpgrp(), signal.SIGKILL))
        deadline.daemon = True
        deadline.start()
        self.interrupt()
