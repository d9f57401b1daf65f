"""Who reads what a headless app prints, or doesn't, holds up nobody."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.headless import printer as printing
from app.headless.printer import Printer

WAIT = 20.0  # seconds for what must happen; a failing test waits them all


class Pipes:
    """A printer's output and errors, and what is read from them."""

    def __init__(self) -> None:
        self.read_output, self.output = os.pipe()
        self.read_errors, self.errors = os.pipe()

    def fill_output(self) -> int:
        """As a reader that stalls does. Returns how many bytes fit."""
        os.set_blocking(self.output, False)
        written = 0
        with suppress(BlockingIOError):
            while True:
                written += os.write(self.output, b"x" * 4096)
        with suppress(BlockingIOError):
            while True:
                written += os.write(self.output, b"x")
        os.set_blocking(self.output, True)
        return written

    def close(self) -> None:
        for each in (self.read_output, self.output, self.read_errors, self.errors):
            with suppress(OSError):
                os.close(each)

    def all_of(self, reader: int, writer: int) -> str:
        os.close(writer)
        with open(reader, "rb", closefd=False) as stream:
            return stream.read().decode()


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


def test_all_is_printed_in_order(pipes: Pipes) -> None:
    printer = Printer(output=pipes.output, errors=pipes.output)
    for number in range(3):
        printer.write(f"{number}\n")
        printer.say(f"no. {number}\x1b[31m")
    printer.close(WAIT)
    assert pipes.all_of(pipes.read_output, pipes.output).splitlines() == [
        line
        for number in range(3)
        for line in (f"{number}", f"cotrain-contributor: no. {number}\N{REPLACEMENT CHARACTER}[31m")
    ]


def test_a_reader_that_stalls_holds_up_nobody_and_is_told_what_it_missed(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "MOST_WAITING", 20)
    filled = pipes.fill_output()
    printer = Printer(output=pipes.output, errors=pipes.errors)
    for number in range(100):
        printer.write(f"{number}\n")
        if number == 0:
            printer.say("something is wrong.")
    reading = threading.Thread(target=lambda: os.read(pipes.read_output, filled))
    reading.start()
    printer.close(WAIT)
    reading.join(WAIT)
    printed = pipes.all_of(pipes.read_output, pipes.output).lstrip("x").split()
    said = pipes.all_of(pipes.read_errors, pipes.errors)
    assert "something is wrong." in said
    assert printed[-19:] == [str(number) for number in range(81, 100)]
    assert f"{100 - len(printed)} lines of progress were lost" in said


def test_a_reader_that_never_comes_back_does_not_hold_up_the_end(pipes: Pipes) -> None:
    filled = pipes.fill_output()
    printer = Printer(output=pipes.output, errors=pipes.errors)
    printer.write("{}\n")
    printer.close(0.05)
    assert printer._thread.is_alive()
    os.read(pipes.read_output, filled)
    printer.close(WAIT)


def test_a_full_disk_is_told_once_and_fails_for_nobody(pipes: Pipes) -> None:
    with Path("/dev/full").open("wb") as full:
        printer = Printer(output=full.fileno(), errors=pipes.errors)
        for _ in range(3):
            printer.write("{}\n")
        printer.close(WAIT)
    told, lost = pipes.all_of(pipes.read_errors, pipes.errors).splitlines()
    assert told.endswith("and is lost: No space left on device.")
    assert "3 lines of progress were lost" in lost


def test_when_nobody_reads_we_are_asked_to_end(pipes: Pipes) -> None:
    os.close(pipes.read_output)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        printer = Printer(output=pipes.output, errors=pipes.errors)
        printer.write("{}\n")
        printer.write("{}\n")
        printer.close(WAIT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
