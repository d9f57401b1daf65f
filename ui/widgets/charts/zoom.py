"""Which section of its x axis a chart shows, as a value."""

from dataclasses import dataclass

STEP = 1.5
"""By which one press of + or one notch of the wheel magnifies."""

MOST = 5000.0
"""The highest magnification: beyond it, no chart has two points."""


@dataclass(frozen=True)
class Zoom:
    """A section of an axis, in the axis's unit."""

    low: float
    high: float

    follows: bool = False
    """It ends with the newest value, and goes on with it."""

    def within(self, low: float, high: float) -> "Zoom":
        """The section of the axis from ``low`` to ``high`` that is shown: as wide, and inside."""
        width = min(self.high - self.low, high - low)
        left = high - width if self.follows else min(max(self.low, low), high - width)
        return Zoom(left, left + width, self.follows)


def magnified(shown: Zoom, full: Zoom, by: float, around: float | None) -> Zoom | None:
    """A section that is ``by`` times narrower; None for all.

    around: the value that keeps its place; None for the end if that is the newest value, and else
    for the middle.
    """
    whole, width = full.high - full.low, (shown.high - shown.low) / by
    if width >= whole:
        return None
    width = max(width, whole / MOST)
    fixed = around if around is not None else _anchor(shown, full)
    share = (fixed - shown.low) / (shown.high - shown.low)
    return section(fixed - share * width, fixed + (1 - share) * width, full)


def _anchor(shown: Zoom, full: Zoom) -> float:
    return shown.high if shown.high >= full.high else (shown.low + shown.high) / 2


def moved(shown: Zoom, full: Zoom, by: float) -> Zoom | None:
    """The section moved by a part of its width; None for all."""
    step = by * (shown.high - shown.low)
    return section(shown.low + step, shown.high + step, full)


def section(low: float, high: float, full: Zoom) -> Zoom | None:
    """The section between two values, as far as it is on the axis; None for all.

    It follows the newest value if it reaches that.
    """
    width = min(high - low, full.high - full.low)
    if width >= (full.high - full.low) * (1 - 1e-9):
        return None
    left = min(max(low, full.low), full.high - width)
    return Zoom(left, left + width, follows=left + width >= full.high - width / 1000)
