"""Log records reach the ring buffer and the file, without secrets."""

import json
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.common import logs
from app.common.logs import LogLine, Logs, RingBuffer

log = logging.getLogger("app.test")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the log levels, which `logs.start` sets for the whole process."""
    loggers = [logging.getLogger(name) for name in (None, *logs._CHATTY)]
    levels = [each.level for each in loggers]
    yield
    logging.captureWarnings(False)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Logs]:
    running = logs.start(tmp_path / "logs")
    yield running
    running.close()


@pytest.fixture
def file(started: Logs, tmp_path: Path) -> Path:
    return tmp_path / "logs" / logs.FILE_NAME


@pytest.fixture
def ring() -> Iterator[RingBuffer]:
    """A ring buffer of three lines, attached to the test's logger."""
    handler = RingBuffer(size=3)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def texts(handler: RingBuffer) -> list[str]:
    return [line.text for line in handler.lines()]


# --- the ring ------------------------------------------------------------------------------------


def test_ring_keeps_the_newest(ring: RingBuffer) -> None:
    for number in range(5):
        log.info("line %d", number)
    assert texts(ring) == ["line 2", "line 3", "line 4"]


def test_ring_keeps_level_and_time(ring: RingBuffer) -> None:
    log.warning("careful")
    (line,) = ring.lines()
    assert (line.level, line.time > 0) == (logging.WARNING, True)


@pytest.mark.parametrize(
    ("logger", "source"),
    [
        ("app.session", "app"),
        ("hivemind.dht.node", "peer"),
        ("trainer", "trainer"),
        ("trainer.app.trainer.loop", "trainer"),
        ("partner.hivemind", "partner"),
        ("httpx", "app"),
    ],
)
def test_source_is_found_by_the_loggers_name(logger: str, source: str) -> None:
    handler = RingBuffer()
    handler.handle(logging.LogRecord(logger, logging.INFO, "", 0, "text", (), None))
    assert handler.lines()[0].source == source


def test_subscriber_hears_each_line_until_it_leaves(ring: RingBuffer) -> None:
    heard: list[LogLine] = []
    subscription = ring.subscribe(heard.append)
    log.info("first")
    subscription.close()
    log.info("second")
    assert [line.text for line in heard] == ["first"]


def test_ring_takes_lines_of_many_threads() -> None:
    handler = RingBuffer(size=10_000)
    heard: list[LogLine] = []
    handler.subscribe(heard.append)
    record = logging.LogRecord("app", logging.INFO, "", 0, "text", (), None)

    def say() -> None:
        for _ in range(200):
            handler.handle(record)
            handler.lines()

    threads = [threading.Thread(target=say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(handler.lines()), len(heard)) == (1600, 1600)


def test_a_wrong_format_does_not_reach_the_caller(
    ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.info("%d", "no number")


# --- the file ------------------------------------------------------------------------------------


def test_line_of_the_file_is_json(started: Logs, file: Path) -> None:
    log.warning("it is %s", "öde", extra={"epoch": 3})
    (entry,) = entries(file)
    assert entry.pop("time") > 0
    assert entry == {
        "level": "warning",
        "logger": "app.test",
        "message": "it is öde",
        "epoch": 3,
    }


def test_file_holds_nothing_that_a_terminal_obeys(started: Logs, file: Path) -> None:
    text = "\x1b[31m \x9b2J \x07 \u202e \u2028 诗歌"
    log.warning("%s", text)
    assert not {"\x1b", "\x9b", "\x07", "\u202e", "\u2028"} & set(file.read_text(encoding="utf-8"))
    assert entries(file)[-1]["message"] == text


def test_traceback_stays_on_its_line(started: Logs, file: Path) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        log.warning("failed", exc_info=True)
    (entry,) = entries(file)
    assert entry["traceback"].splitlines()[-1] == "ValueError: wrong"


def test_warnings_are_logged(started: Logs, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old habit", DeprecationWarning, stacklevel=1)
    assert "old habit" in entries(file)[0]["message"]


@pytest.mark.parametrize(("debug", "lines"), [(False, 0), (True, 1)])
def test_debug_lines_are_logged_only_with_debug_on(tmp_path: Path, debug: bool, lines: int) -> None:
    running = logs.start(tmp_path, debug=debug)
    log.debug("detail")
    running.close()
    assert len(entries(tmp_path / logs.FILE_NAME)) == lines


def test_file_is_the_owners_alone(started: Logs, file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_rotated_file_is_the_owners_alone(started: Logs, file: Path) -> None:
    assert isinstance(started.file, logging.handlers.RotatingFileHandler)
    started.file.doRollover()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_full_disk_costs_lines_and_fills_no_terminal(
    started: Logs, capsys: pytest.CaptureFixture[str]
) -> None:
    handler: Any = started.file
    own = handler.stream
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        handler.stream = full
        log.warning("no room")
        handler.stream = own
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, full.fileno())  # so that it can be closed
        os.close(nothing)
    assert capsys.readouterr().err == ""
    assert texts(started.ring)[-1] == "no room"


def test_after_close_nothing_is_logged(started: Logs, file: Path) -> None:
    started.close()
    log.warning("too late")
    assert (texts(started.ring), file.read_bytes()) == ([], b"")


# --- secrets -------------------------------------------------------------------------------------

SECRET_TEXTS = [
    "Authorization: Bearer SECRET",
    "authorization: bearer SECRET",
    "token=SECRET",
    "token: SECRET",
    "access_token=SECRET&x=1",
    "refreshToken=SECRET",
    "{'token': 'SECRET'}",
    '{"token": "SECRET"}',
    '{"accessToken": "SECRET", "x": 1}',
    "password=SECRET",
    "Password: SECRET",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_secret_is_redacted(text: str) -> None:
    assert "SECRET" not in logs.redact(text)


def test_token_of_the_hub_is_redacted() -> None:
    assert "SECRET" not in logs.redact("HF_TOKEN=SECRET")


@pytest.mark.parametrize(
    "text", ["tokens=128", "4096 tokens per second", "tokenizer: bytes", "max_tokens: 3"]
)
def test_harmless_text_is_not_redacted(text: str) -> None:
    assert logs.redact(text) == text


def test_text_after_a_secret_is_not_redacted() -> None:
    assert logs.redact("?token=SECRET&page=2") == "?token=[redacted]&page=2"


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_ring_shows_no_secret(started: Logs, text: str) -> None:
    log.info("%s", text)
    assert "SECRET" not in texts(started.ring)[0]


@pytest.mark.parametrize("text", [*SECRET_TEXTS, 'password="SECRET"'])
def test_file_holds_no_secret_and_stays_json(started: Logs, file: Path, text: str) -> None:
    log.info("%s", text)
    (entry,) = entries(file)
    assert "SECRET" not in entry["message"]


def test_extra_fields_hold_no_secret(started: Logs, file: Path) -> None:
    log.info("asked", extra={"token": "SECRET", "headers": {"Authorization": "Bearer SECRET"}})
    assert "SECRET" not in file.read_text(encoding="utf-8")


# --- a child's lines -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "logger", "level", "text"),
    [
        ("WARNING app.trainer.loop: slow", "trainer.app.trainer.loop", logging.WARNING, "slow"),
        ("INFO root: a: b", "trainer.root", logging.INFO, "a: b"),
        ("DEBUG x: ", "trainer.x", logging.DEBUG, ""),
        ("printed by a library", "trainer", logging.INFO, "printed by a library"),
        ("WARNING: not our form", "trainer", logging.INFO, "WARNING: not our form"),
        ("100%|####| 5/5", "trainer", logging.INFO, "100%|####| 5/5"),
        ("", "trainer", logging.INFO, ""),
    ],
)
def test_child_line_is_logged_at_the_level_it_names(
    line: str, logger: str, level: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logs.log_child_line("trainer", line)
    assert caplog.record_tuples == [(logger, level, text)]


def test_line_logged_in_a_child_keeps_its_level_and_logger(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handlers = logging.getLogger().handlers[:]
    logging.getLogger().handlers[:] = []
    try:
        logs.start_in_child()
        log.warning("100 %% of %s", "it")
    finally:
        logging.getLogger().handlers[:] = handlers
    logs.log_child_line("trainer", capsys.readouterr().err.rstrip("\n"))
    assert caplog.record_tuples == [("trainer.app.test", logging.WARNING, "100 % of it")]


@pytest.mark.parametrize(
    ("name", "library"),
    [
        *(("app.swarm.fleet", False), ("ui.application", False), ("__main__", False)),
        *(("trainer.app.trainer.loop", False), ("partner.app.trainer.loop", False)),
        *(("hivemind.dht", True), ("trainer.hivemind.dht", True), ("trainer", True)),
        *(("py.warnings", True), ("root", True), ("application", True)),
    ],
)
def test_tells_the_libraries_lines_from_ours(name: str, library: bool) -> None:
    ring = RingBuffer()
    ring.emit(logging.LogRecord(name, logging.INFO, "", 0, "said", None, None))
    assert [line.library for line in ring.lines()] == [library]
