"""Numbers as text: counts, rates, durations, sizes, times. Unknown values become `NONE`."""

import math
import time
from datetime import datetime

from app.common.i18n import _

NONE = "–"
"""Shown instead of a value that isn't known."""

_KIB = 1024
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_HALF_A_MINUTE_MATTERS = 600


def count(number: int | None) -> str:
    """A number with all its digits: ``1,234,567``."""
    return NONE if number is None else f"{number:,}"


def short(number: float | None) -> str:
    """A number of at most three digits and a scale: ``0.84 M``, ``124 M``, ``7.2 B``."""
    if number is None:
        return NONE
    for scale in _scales().split():
        zeros, _equals, name = scale.partition("=")
        if number >= 10 ** int(zeros) * 0.5 and number >= 10_000:
            return f"{_three_digits(number / 10 ** int(zeros))} {name}"
    return f"{number:,.0f}"


def _scales() -> str:
    # Translators: the large numbers that your language counts in, largest first, each with its
    # number of zeros. Chinese counts in 10,000s: "12=万亿 8=亿 4=万".
    return _("12=T 9=B 6=M 3=k")


def rate(value: float | None) -> str:
    """A rate with about as many digits as are steady: ``3.2``, ``81``, ``1,214``."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if value >= 100 else _three_digits(value)


def loss(value: float | None) -> str:
    """A cross-entropy: ``2.314``."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}"


def percent(part: float, whole: float) -> str:
    """A percentage, with a no-break space: ``12 %``."""
    share = 100 * part / whole if whole else 0.0
    return _("{number}\u00a0%").format(number=f"{share:.0f}")


def size(bytes_: int) -> str:
    """A size in bytes as ``12 GiB``."""
    unit = _unit_of(bytes_)
    return f"{_three_digits(bytes_ / _KIB**unit)} {_BYTES[unit]}"


def part_of_size(part: int, whole: int) -> str:
    """Two sizes in bytes in the unit of the larger: ``0.79 of 10 GiB``."""
    amount = _three_digits(part / _KIB ** _unit_of(whole))
    return _("{part} of {whole}").format(part=amount, whole=size(whole))


def _unit_of(bytes_: int) -> int:
    unit = 0
    while bytes_ >= _KIB ** (unit + 1) and unit < len(_BYTES) - 1:
        unit += 1
    return unit


def duration(seconds: float | None) -> str:
    """A duration in at most two units: ``6 s``, ``3 min 20 s``, ``3 h 41 min``, ``2 d 4 h``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_rest = divmod(minutes, 60)
    days, hours_rest = divmod(hours, 24)
    if days:
        return _("{days} d {hours} h").format(days=days, hours=hours_rest)
    if hours:
        return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes_rest)
    if minutes and whole < _HALF_A_MINUTE_MATTERS:
        return _("{minutes} min {seconds} s").format(minutes=minutes, seconds=rest)
    if minutes:
        return _("{minutes} min").format(minutes=minutes)
    return _("{seconds} s").format(seconds=rest)


def seconds(value: float) -> str:
    """A short duration in tenths of seconds: ``2.1 s``."""
    return _("{seconds} s").format(seconds=f"{value:.1f}")


def clock(moment: float) -> str:
    """The local time of day of a moment, in seconds since the epoch."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def date(moment: float) -> str:
    """The local date and time of a moment, without seconds."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def day(moment: float) -> str:
    """The local date of a moment."""
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def timestamp(moment: float) -> str:
    """The local date and time of a moment with its UTC offset (ISO 8601), for files."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")


def shortened(identifier: str, *, ends: int = 6) -> str:
    """Both ends of a peer id or key, enough to recognise it: ``12D3Ko…x7YzQp``.

    ends: characters of each end.
    """
    if len(identifier) <= 2 * ends + 3:
        return identifier
    return f"{identifier[:ends]}…{identifier[-ends:]}"


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2f}"
