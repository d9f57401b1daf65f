"""What the curves of a chart run along: time, or how far the run is, in epochs or in samples.

A plot's own x coordinates are counted from the axis's ``origin``: in seconds from now, or in epochs
or samples from the run's begin.
"""

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from app.common.i18n import _
from ui.texts import units
from ui.widgets.charts.axes import Floats, nice_step

MIN_SPAN = 15.0
"""Seconds that are shown at least."""

_BESIDE = 15.0
"""Seconds: for so long before the first and after the last time that the run's progress was seen,
it is taken to have been the same."""

_STEPS = (
    *(1, 2, 5, 15, 30, 60, 120, 300, 600, 1800, 3600),
    *(7200, 14400, 21600, 43200, 86400, 172800),
)
_MOST_TICKS = 4.5
_DAY = 86400


class AxisKind(StrEnum):
    """The unit of a chart's x axis."""

    TIME = "time"
    EPOCH = "epoch"
    SAMPLES = "samples"


@dataclass(frozen=True, kw_only=True)
class XAxis:
    """An axis at one moment. Its values are seconds since the epoch, epochs or samples."""

    now: float
    """In seconds since the epoch."""

    kind: AxisKind = AxisKind.TIME

    times: Floats = field(default_factory=lambda: np.empty(0))
    """When the run's progress was seen: shape (n,), in seconds since the epoch, ascending."""

    epochs: Floats = field(default_factory=lambda: np.empty(0))
    """The epochs that the run had got to at each of ``times``, with fractions; NaN is a gap."""

    batch: int = 1
    """Samples of an epoch."""

    @property
    def origin(self) -> float:
        """The value at which the plot's own x coordinate is 0."""
        return self.now if self.kind is AxisKind.TIME else 0.0

    def place(self, times: Floats) -> Floats:
        """The axis's values at some times, shape (n,).

        Never falling: NaN where the run's progress isn't known, and for what was undone, because
        the run went on from an earlier epoch later.
        """
        if self.kind is AxisKind.TIME or not times.size:
            return times
        seen, epochs = self._seen()
        if not seen.size:
            return np.full(times.shape, math.nan)
        values = np.interp(times, seen, epochs) * self._per_epoch
        unknown = (times < seen[0] - _BESIDE) | (times > seen[-1] + _BESIDE)
        values[unknown] = math.inf  # not lower than anything before it
        values[values > np.minimum.accumulate(values[::-1])[::-1]] = math.nan
        values[np.isinf(values)] = math.nan
        return values

    def full(self, start: float) -> tuple[float, float]:
        """The axis's ends if all since ``start`` (seconds since the epoch) is shown."""
        if self.kind is AxisKind.TIME:
            return min(start, self.now - MIN_SPAN), self.now
        seen, epochs = self._seen()
        inside = epochs[seen >= start - _BESIDE] * self._per_epoch
        if not inside.size:
            return 0.0, self._per_epoch
        low, high = float(inside.min()), float(inside.max())
        return low, max(high, low + self._per_epoch / 100)

    def time_of(self, value: float) -> float:
        """When the axis had a value first, in seconds since the epoch."""
        seen, epochs = self._seen()
        if self.kind is AxisKind.TIME or not seen.size:
            return value if self.kind is AxisKind.TIME else self.now
        later = np.flatnonzero(epochs * self._per_epoch >= value)
        return float(seen[max(0, later[0] - 1)] if later.size else seen[-1])

    def _seen(self) -> tuple[Floats, Floats]:
        known = np.isfinite(self.epochs)
        return self.times[known], self.epochs[known]

    @property
    def _per_epoch(self) -> float:
        return float(self.batch) if self.kind is AxisKind.SAMPLES else 1.0

    # --- in words

    def words(self, value: float) -> str:
        """A place on the axis, such as ``10:23:07`` or ``epoch 12.3``."""
        if self.kind is AxisKind.TIME:
            return units.clock(value)
        if self.kind is AxisKind.EPOCH:
            return _("epoch {epoch}").format(epoch=f"{value:,.2f}")
        return _("{count} samples").format(count=units.count(round(value)))

    def title(self) -> str:
        """What the axis shows, with its unit."""
        return {
            AxisKind.TIME: _("Time"),
            AxisKind.EPOCH: _("Epochs of the swarm"),
            AxisKind.SAMPLES: _("Samples of the swarm"),
        }[self.kind]

    def ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """Places, in the plot's own x coordinates, and their labels between two values."""
        if self.kind is not AxisKind.TIME:
            return self._run_ticks(low, high)
        if high >= self.now:
            return ago_ticks(low - self.now)
        return self._clock_ticks(low, high)

    def _run_ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        step = nice_step((high - low) / _MOST_TICKS)
        first, last = math.ceil(low / step), math.floor(high / step)
        marks = [index * step for index in range(first, last + 1)]
        fine = step < high / 100  # three digits wouldn't tell them apart
        digits = max(0, -math.floor(math.log10(step)))
        if self.kind is AxisKind.EPOCH or fine:
            return [(mark, f"{mark:,.{digits}f}") for mark in marks]
        return [(mark, units.short(mark)) for mark in marks]

    def _clock_ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """Labels by the clock: what is shown stands still, while "5 minutes ago" moves on."""
        step = _step(high - low)
        shift = time.localtime(low).tm_gmtoff
        first, last = math.ceil((low + shift) / step), math.floor((high + shift) / step)
        form = "%m-%d" if step >= _DAY else "%H:%M" if step >= 60 else "%H:%M:%S"
        moments = [index * step - shift for index in range(first, last + 1)]
        return [
            (moment - self.now, time.strftime(form, time.localtime(moment))) for moment in moments
        ]


def axis_kinds() -> dict[AxisKind, str]:
    """The choices in words."""
    return {
        AxisKind.TIME: _("Over time"),
        AxisKind.EPOCH: _("Over epochs"),
        AxisKind.SAMPLES: _("Over samples"),
    }


def ago_ticks(start: float) -> list[tuple[float, str]]:
    """Ticks from ``start``, in seconds from now and negative, to now."""
    step = _step(-start)
    marks = range(step, round(-start) + 1, step)
    return [(0.0, _("now")), *((-float(mark), _ago(mark)) for mark in marks)]


def _step(span: float) -> int:
    """Seconds between two ticks."""
    days = math.ceil(span / _MOST_TICKS / _DAY)
    return next((step for step in _STEPS if span / step <= _MOST_TICKS), days * _DAY)


def _ago(seconds: int) -> str:
    for length, text in ((86400, _("−{n} d")), (3600, _("−{n} h")), (60, _("−{n} min"))):
        if seconds >= length and seconds % (length // 2) == 0:
            return text.format(n=f"{seconds / length:g}")
    return _("−{n} s").format(n=seconds)
