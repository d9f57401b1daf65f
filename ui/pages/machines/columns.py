"""The columns of the machines' table, and its filter."""

import math
import time
from collections.abc import Callable, Sequence

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap

from app.common.i18n import _
from app.p2p.machine_records import LEFT
from app.swarm.fleet import HOUR, Concern, Fleet, Machine
from ui.models.rows_model import Column
from ui.style.theme import Theme
from ui.texts import fleet as fleet_texts
from ui.texts import units

MINUTES = 60
"""Points of a sparkline, one a minute."""


def columns(
    fleet: Fleet, theme: Theme, *, is_own: Callable[[Machine], bool]
) -> Sequence[Column[Machine]]:
    """The columns from left to right.

    fleet: holds the history for the sparklines. is_own: whether the app runs on a machine.
    """
    dots = Dots(theme, is_own)
    return (
        Column(
            title=_("Machine"),
            text=lambda machine: fleet_texts.machine_name(machine, own=is_own(machine)),
            key=lambda machine: machine.record.alias.casefold(),
            tone=lambda machine: "accent_text" if is_own(machine) else "",
            sample="machine-0000",
            picture=dots.icon,
        ),
        Column(
            title=_("Lab"),
            text=lambda machine: machine.record.lab,
            key=lambda machine: machine.record.lab.casefold() or None,
            sample="robotics-lab",
            tone=lambda _machine: "muted",
        ),
        Column(
            title=_("State"),
            text=lambda machine: fleet_texts.machine_state(machine, time.time()),
            key=_urgency,
            sample=_("hot, training"),
            tone=_tone,
            tip=lambda machine: machine.record.last_error,
        ),
        Column(
            title=_("Device"),
            text=lambda machine: machine.record.device or units.NONE,
            key=lambda machine: machine.record.device.casefold() or None,
            sample="GeForce RTX 4090",
        ),
        Column(
            title=_("Samples/s"),
            text=lambda machine: units.rate(_rate(machine)),
            key=_rate,
            sample="1,214",
            right=True,
        ),
        Column(
            title=_("Last hour"),
            text=lambda _machine: "",
            key=_rate,
            sample="mmmmm",
            figures=lambda machine: sparkline(fleet, machine.public_key),
            tip=lambda _machine: _("Samples/s over the last hour"),
        ),
        *_figures(),
    )


def _figures() -> tuple[Column[Machine], ...]:
    return (
        Column(
            title=_("Loss"),
            text=lambda machine: units.loss(machine.record.loss),
            key=lambda machine: machine.record.loss,
            sample="2.314",
            right=True,
        ),
        Column(
            title=_("CPU, GPU"),
            text=lambda machine: ", ".join(map(fleet_texts.share, _use(machine))),
            key=lambda machine: max(
                (one for one in _use(machine) if one is not None), default=None
            ),
            sample="99 %, 99 %",
            right=True,
        ),
        Column(
            title=_("Temp."),
            text=lambda machine: fleet_texts.temperature(machine.record.temperature),
            key=lambda machine: machine.record.temperature,
            sample="100 °C",
            right=True,
            tone=lambda machine: "caution" if Concern.HOT in machine.concerns else "",
        ),
        Column(
            title=_("Power"),
            text=lambda machine: fleet_texts.power(machine.record.power),
            key=lambda machine: machine.record.power,
            sample="1.2 kW",
            right=True,
        ),
        Column(
            title=_("Up"),
            text=lambda machine: fleet_texts.age(0, machine.record.up_seconds),
            key=lambda machine: machine.record.up_seconds,
            sample="59 min",
            right=True,
            tip=lambda machine: units.duration(machine.record.up_seconds),
        ),
    )


def _use(machine: Machine) -> tuple[float | None, float | None]:
    """How busy CPU and GPU are, from 0 to 1."""
    return machine.record.cpu_use, machine.record.gpu_use


def _rate(machine: Machine) -> float | None:
    """Samples/s now; None for a silent machine, whose last record is too old to count."""
    return machine.record.samples_per_second if machine.trains else None


def sparkline(fleet: Fleet, public_key: str) -> list[float]:
    """A machine's samples/s over the last hour, one mean per minute, oldest first; NaN is a gap."""
    now = time.time()
    sums, counts = [0.0] * MINUTES, [0] * MINUTES
    told = fleet.track(public_key, "samples_per_second", seconds=HOUR, now=now)
    for moment, value in zip(*told, strict=True):
        ago = int((now - moment) // 60)
        if 0 <= ago < MINUTES and not math.isnan(value):
            sums[ago] += value
            counts[ago] += 1
    pairs = zip(reversed(sums), reversed(counts), strict=True)
    return [total / count if count else math.nan for total, count in pairs]


def _urgency(machine: Machine) -> tuple[int, str]:
    """Sort key: machines with a concern come first, the others are sorted by their phase."""
    order = list(Concern)
    first = min((order.index(one) for one in machine.concerns), default=len(order))
    return first, machine.record.state


def _tone(machine: Machine) -> str:
    """A colour only for machines with a concern; the cell's text says the same."""
    if Concern.FAILING in machine.concerns:
        return "danger_text"
    return "caution" if machine.concerns else ""


class Dots:
    """The icons before the machines' names: a dot, a ring for one with a concern, and a square for
    the machine that the app runs on."""

    SIZE = 12
    """In pixels."""

    def __init__(self, theme: Theme, is_own: Callable[[Machine], bool]) -> None:
        self._theme = theme
        self._is_own = is_own
        self._made: dict[tuple[str, bool, bool], QIcon] = {}

    def icon(self, machine: Machine) -> QIcon:
        """A machine's icon."""
        colors, own = self._theme.colors, self._is_own(machine)
        if machine.concerns:
            return self._dot(colors.caution, ring=True, own=own)
        gone = machine.record.state == LEFT
        color = colors.accent if machine.trains else colors.faint if gone else colors.swarm
        return self._dot(color, ring=False, own=own)

    def _dot(self, color: str, *, ring: bool, own: bool) -> QIcon:
        if (color, ring, own) not in self._made:
            self._made[color, ring, own] = _drawn(color, self.SIZE, ring=ring, square=own)
        return self._made[color, ring, own]


def _drawn(color: str, size: int, *, ring: bool, square: bool) -> QIcon:
    made = QIcon()
    for scale in (1, 2, 3):
        image = QPixmap(size * scale, size * scale)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush if ring else QColor(color))
        pen = painter.pen()
        pen.setColor(QColor(color))
        pen.setWidthF(2.0 * scale if ring else 0.01)
        painter.setPen(pen)
        inset = 2.5 * scale
        place = QRectF(image.rect()).adjusted(inset, inset, -inset, -inset)
        if square:
            painter.drawRect(place)
        else:
            painter.drawEllipse(place)
        painter.end()
        image.setDevicePixelRatio(scale)
        made.addPixmap(image)
    return made


def filter_for(text: str, lab: str) -> Callable[[Machine], bool]:
    """A filter for the table.

    Args:
        text: contained in alias, lab, device or phase, in upper or lower case; "" for all.
        lab: the machine's lab; "" for all.
    """
    wanted = text.casefold()

    def matches(machine: Machine) -> bool:
        record = machine.record
        if lab and record.lab != lab:
            return False
        if not wanted:
            return True
        named = (record.alias, record.lab, record.device, fleet_texts.phase(record.state))
        return any(wanted in one.casefold() for one in named)

    return matches
