"""What the Linux kernel says in files of one line."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SYS = Path("/sys")


def number(file: Path) -> int | None:
    """A number; None where there is none, or the device sleeps."""
    return _read(file, int)


def scaled(file: Path, unit: float) -> float | None:
    """A number times the unit that it is in."""
    value = number(file)
    return None if value is None else value * unit


def line(file: Path) -> str:
    """A line of text; "" where there is none."""
    return _read(file, str.strip) or ""


def _read(file: Path, parse: Callable[[str], T]) -> T | None:
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
