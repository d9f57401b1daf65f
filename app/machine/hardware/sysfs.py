"""Read the Linux kernel's one-line files under /sys."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SYS = Path("/sys")


def number(file: Path) -> int | None:
    """Read an integer; None when the file is missing or unreadable, as while a device sleeps."""
    return _read(file, int)


def scaled(file: Path, unit: float) -> float | None:
    """Read an integer and multiply it by its unit, such as 1e-3 for thousandths."""
    value = number(file)
    return None if value is None else value * unit


def line(file: Path) -> str:
    """Read a line of text; "" when the file is missing or unreadable."""
    return _read(file, str.strip) or ""


def _read(file: Path, parse: Callable[[str], T]) -> T | None:
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
