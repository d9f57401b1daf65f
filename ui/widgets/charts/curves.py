"""What a chart draws, as values: curves, marks, and how they are to be shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ui.widgets.charts.axes import Floats
from ui.widgets.charts.smoothing import Smoothing
from ui.widgets.charts.x_axis import XAxis


@dataclass(frozen=True)
class Curve:
    """The points of a curve."""

    times: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,), in seconds since the epoch, ascending."""

    values: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,); NaN is a gap."""


@dataclass(frozen=True)
class Unseen:
    """What is drawn dashed beside the losses of training: those on text that nobody trains on."""

    own: Curve = field(default_factory=Curve)
    swarm: Curve = field(default_factory=Curve)

    best: float | None = None
    """The lowest of this machine's so far: a dotted line."""


@dataclass(frozen=True)
class Mark:
    """A moment that is marked on the chart, since it explains the curve."""

    time: float
    """In seconds since the epoch."""

    words: str
    """What happened."""

    trouble: bool
    """In the colour of what went wrong."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything that a chart draws at once."""

    axis: XAxis
    """What the curves run along."""

    start: float
    """The left end, where it isn't zoomed, in seconds since the epoch."""

    own: Curve
    """This machine's."""

    swarm: Curve = field(default_factory=Curve)

    unseen: Unseen = field(default_factory=Unseen)

    beside: Sequence[Curve] = ()
    """Of others, each in a colour of its own; no more than `ui.style.series.COUNT`."""

    marks: Sequence[Mark] = ()

    smoothing: Smoothing = Smoothing.NONE
    """Of ``own`` and ``swarm``."""

    run: str = ""
    """Whose curves they are, for pictures and files; "" outside of a swarm."""


@dataclass(frozen=True)
class CurveReading:
    """The values at the crosshair, of the lines as they are drawn."""

    x: float
    """In the axis's unit: seconds since the epoch, epochs or samples."""

    where: str
    """The same in words."""

    own: float
    """This machine's value; NaN if there is none nearby."""

    swarm: float
    """The swarm's value; NaN if there is none nearby."""

    unseen: float = math.nan
    """The nearest loss on unseen text, this machine's or else the swarm's; NaN if there is none."""

    mark: str = ""
    """What happened there; "" for nothing that is marked."""

    beside: tuple[float, ...] = ()
    """Those of `Drawing.beside`; NaN where there is none nearby."""
