"""Logs: JSON lines in a rotating file, and a ring buffer for the log page."""

import json
import logging
import logging.handlers
import re
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from app.common.subscription import Subscription

FILE_NAME = "contributor.log"
AUDIT_NAME = "audit.log"
RING_SIZE = 5000

_SOURCES = {"hivemind": "peer", "trainer": "trainer", "partner": "partner"}
_CHILDREN = ("trainer", "partner", "generator", "export")
_OURS = ("app", "ui", "main", "__main__")
_SECRETS = re.compile(
    r"(?i)(bearer\s+|token['\"]?\s*[=:]\s*['\"]?|password['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&}]+"
)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal that shows the file might obey. JSON escapes the other control characters."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log page."""

    time: float
    """Seconds since the epoch."""

    level: int
    """As in `logging`, such as 30 for a warning."""

    source: str
    """Which part wrote it: ``app``, ``trainer``, ``peer`` (hivemind in the app's process) or
    ``partner`` (the demo's second trainer)."""

    text: str

    library: bool = False
    """A library wrote it, such as hivemind, for those who know its inside."""


class RingBuffer(logging.Handler):
    """A log handler that keeps the newest lines in memory for the log page.

    Subscribers are called on the thread that logs, which may be any.
    """

    def __init__(self, size: int = RING_SIZE) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=size)
        self._subscribers: list[Callable[[LogLine], None]] = []
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as a line, and pass the line to all subscribers."""
        source = _SOURCES.get(record.name.partition(".")[0], "app")
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  a wrong format may raise anything, as in logging itself
            self.handleError(record)
            return
        library = is_of_a_library(record.name)
        line = LogLine(record.created, record.levelno, source, text, library)
        with self._guard:
            self._lines.append(line)
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(line)

    def lines(self) -> list[LogLine]:
        """The kept lines, oldest first."""
        with self._guard:
            return list(self._lines)

    def subscribe(self, subscriber: Callable[[LogLine], None]) -> Subscription:
        """Call ``subscriber`` with each new line."""
        with self._guard:
            self._subscribers.append(subscriber)

        def end() -> None:
            with self._guard:
                self._subscribers.remove(subscriber)

        return Subscription(end)


def is_of_a_library(name: str) -> bool:
    """Whether a logger isn't one of this app's own. name: such as ``trainer.hivemind.dht``."""
    first, _dot, rest = name.partition(".")
    if first in _CHILDREN:
        first = rest.partition(".")[0]
    return first not in _OURS


def redact(text: str) -> str:
    """Replace everything in a text that looks like a token or a password."""
    return _SECRETS.sub(r"\1[redacted]", text)


def _without_secrets(fields: dict[str, Any]) -> dict[str, Any]:
    """Redact fields of a record whose name is a secret's, or whose value looks like one."""
    return {name: _without_secret(name, value) for name, value in fields.items()}


def _without_secret(name: str, value: Any) -> Any:
    if name.lower().endswith(("token", "password", "authorization", "secret")):
        return "[redacted]"
    if isinstance(value, dict):
        return _without_secrets(value)
    return redact(value) if isinstance(value, str) else value


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": record.created,
            "level": _LEVEL_NAMES.get(record.levelno, record.levelname).lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        entry |= _without_secrets(extra)
        if record.exc_info:
            entry["traceback"] = redact(self.formatException(record.exc_info))
        line = json.dumps(entry, ensure_ascii=False, default=str)
        return line if line.isprintable() else _UNPRINTABLE.sub(_escaped, line)


def _escaped(found: "re.Match[str]") -> str:
    return f"\\u{ord(found[0]):04x}"


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file, of which each new one has mode 0600."""

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        Path(self.baseFilename).chmod(0o600)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """On a full disk a line is lost. A traceback on stderr for each would tell nobody more: the
        window has the lines, and what can't be saved is said where it matters."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class AuditLog:
    """Records changes that callers of the local API, or the admin of a lab, made or tried to make.

    JSON lines in a rotating file of its own, independent of the log's level.
    """

    def __init__(self, folder: Path, *, name: str = AUDIT_NAME) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = _PrivateFileHandler(
            folder / name, maxBytes=5_000_000, backupCount=4, encoding="utf-8"
        )
        self._file.setFormatter(_JsonFormatter())

    def write(self, message: str, **fields: Any) -> None:
        """Append a line with these fields; secrets in it are redacted."""
        record = logging.LogRecord("audit", logging.INFO, "", 0, message, None, None)
        vars(record).update(fields)
        self._file.emit(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Logs:
    """The log handlers that `start` added to the root logger."""

    ring: RingBuffer
    file: logging.Handler

    def close(self) -> None:
        """Remove the handlers from the root logger and close the file."""
        for handler in (self.ring, self.file):
            logging.getLogger().removeHandler(handler)
            handler.close()


def start(folder: Path, *, debug: bool = False) -> Logs:
    """Log everything of this process, Python's ``warnings`` included, to the file and the ring."""
    ring = RingBuffer()
    ring.setFormatter(_PlainFormatter("%(message)s"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = _PrivateFileHandler(
        folder / FILE_NAME, maxBytes=5_000_000, backupCount=4, encoding="utf-8"
    )
    file.setFormatter(_JsonFormatter())
    root = logging.getLogger()
    root.addHandler(ring)
    root.addHandler(file)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)
    logging.captureWarnings(True)
    return Logs(ring, file)


_CHATTY = (
    "asyncio",
    "qasync",
    "httpx2",
    "httpcore2",
    "aiohttp",
    "urllib3",
    "filelock",
    "matplotlib",
    "uvicorn",
)


def start_in_child(*, debug: bool = False) -> None:
    """Log to stderr in the form that the supervisor reads: ``LEVEL logger: message``."""
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s",
        level=logging.DEBUG if debug else logging.INFO,
        force=True,
    )
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


# Not logging.getLevelName: hivemind renames WARNING to WARN for the whole process.
_LEVEL_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_LEVELS = {name: number for number, name in _LEVEL_NAMES.items()} | {"WARN": 30}
_CHILD_LINE = re.compile(rf"({'|'.join(_LEVELS)}) ([\w.]+): (.*)", re.DOTALL)


def log_child_line(name: str, line: str) -> None:
    """Log a line from a child's stderr at the level that the line names, else as INFO.

    ``name`` is the child's, and becomes the first part of the logger's name.
    """
    match = _CHILD_LINE.fullmatch(line)
    if match is None:
        logging.getLogger(name).info("%s", line)
        return
    level, logger, text = match.groups()
    logging.getLogger(f"{name}.{logger}").log(_LEVELS[level], "%s", text)
