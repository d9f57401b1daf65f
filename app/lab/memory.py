"""What a machine remembers of the commands that it was given, over restarts.

A number is noted before its command is carried out, so that nothing runs twice, however the app
ends meanwhile.
"""

import base64
import logging
import os
import time
from pathlib import Path

import msgspec

from app.common.paths import read_json, set_aside, write_atomically

log = logging.getLogger(__name__)

FILE_NAME = "lab-commands.json"
"""In the data folder."""

MOST_KEPT = 64
"""Commands of a lab key whose answers are kept. An older one is refused by its number."""

MOST_LABS = 16
"""Lab keys that are remembered: those that this machine was paired with last."""

_MOST_BYTES = 4 * 1024 * 1024


class KeptCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was accepted."""

    number: int

    order: str
    """Its digest."""

    answer: str = ""
    """The sealed answer in base64; "" until the command has ended."""

    @property
    def sealed(self) -> bytes:
        """The answer; b"" until the command has ended."""
        return base64.b64decode(self.answer)


class LabHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What one lab key has commanded."""

    since: int
    """When the memory of it began, in milliseconds since the epoch. What was issued before may have
    been carried out already, and be forgotten."""

    highest: int = 0
    """The number of the newest accepted command."""

    kept: tuple[KeptCommand, ...] = ()
    """The newest last."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    labs: dict[str, LabHistory] = {}


class CommandMemory:
    """Commands by lab key, in a file of mode 0600. Blocks on the file; one thread at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._labs: dict[str, LabHistory] | None = None

    def begin(self, lab: str) -> None:
        """Read the file, and remember a lab key from now on. Raises `OSError`."""
        if self._labs is None:
            self._labs = self._read()
        now = int(time.time() * 1000)
        known = self._labs.get(lab, LabHistory(since=now + 1))
        if known.since > now:  # it is new, or the clock was wrong then
            self._put(lab, msgspec.structs.replace(known, since=now))

    def of(self, lab: str) -> LabHistory:
        """What a lab key has commanded, after `begin`."""
        assert self._labs is not None
        return self._labs[lab]

    def find(self, lab: str, number: int) -> KeptCommand | None:
        """A command that was accepted, if it is kept."""
        return next((each for each in self.of(lab).kept if each.number == number), None)

    def accept(self, lab: str, number: int, order: str) -> None:
        """Note a number before its command is carried out. order: its digest.

        Raises `OSError`, and then nothing is noted.
        """
        before = self.of(lab)
        kept = (*before.kept, KeptCommand(number=number, order=order))[-MOST_KEPT:]
        self._put(lab, msgspec.structs.replace(before, highest=number, kept=kept))

    def finish(self, lab: str, number: int, answer: bytes) -> None:
        """Keep the answer to a command. Raises `OSError`; it is then kept until the app ends."""
        before, text = self.of(lab), base64.b64encode(answer).decode()
        kept = tuple(
            msgspec.structs.replace(each, answer=text) if each.number == number else each
            for each in before.kept
        )
        finished = msgspec.structs.replace(before, kept=kept)
        assert self._labs is not None
        self._labs[lab] = finished
        self._put(lab, finished)

    def _put(self, lab: str, history: LabHistory) -> None:
        assert self._labs is not None
        others = {key: each for key, each in self._labs.items() if key != lab}
        labs = dict([*others.items(), (lab, history)][-MOST_LABS:])
        write_atomically(self._file, msgspec.json.encode(_File(labs=labs)))
        _settle(self._file.parent)
        self._labs = labs

    def _read(self) -> dict[str, LabHistory]:
        try:
            return msgspec.convert(read_json(self._file, most=_MOST_BYTES), _File).labs
        except FileNotFoundError:
            return {}
        except (ValueError, msgspec.ValidationError) as error:
            set_aside(self._file, why=error)
            return {}


def _settle(folder: Path) -> None:
    """Wait until new names in a folder would survive a power cut. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
