"""Smoothing of curves: an exponential mean of the last points, as many charts of training have."""

import math
from enum import StrEnum

import numpy as np

from app.common.i18n import _
from ui.widgets.charts.axes import Floats


class Smoothing(StrEnum):
    """How much of a curve's noise is taken out."""

    NONE = "none"
    LIGHT = "light"
    STRONG = "strong"

    @property
    def points(self) -> int:
        """About as many of the last points count; 1 is the curve as it was measured."""
        return {Smoothing.NONE: 1, Smoothing.LIGHT: 8, Smoothing.STRONG: 40}[self]

    def applied_to(self, values: Floats) -> Floats:
        """The exponential mean at each point. A gap (NaN) stays one, and the mean begins anew.

        The first points have fewer before them: their weights are made to sum up to 1, so that the
        curve doesn't begin at 0.
        """
        if self is Smoothing.NONE:
            return values
        kept = 1 - 1 / self.points
        total = weight = 0.0
        means = []
        for value in values.tolist():
            if math.isfinite(value):
                total, weight = kept * total + value, kept * weight + 1
                means.append(total / weight)
            else:
                total = weight = 0.0
                means.append(math.nan)
        return np.array(means, dtype=np.float64)


def smoothings() -> dict[Smoothing, str]:
    """The choices in words."""
    return {
        Smoothing.NONE: _("As measured"),
        Smoothing.LIGHT: _("Smoothed"),
        Smoothing.STRONG: _("Very smooth"),
    }


def how_it_is_smoothed(smoothing: Smoothing) -> str:
    """For the tool tip of a chart that is smoothed."""
    return _(
        "The lines are exponential means of about the last {count} points. What was measured is"
        " the faint line behind them, and what is copied and saved."
    ).format(count=smoothing.points)
