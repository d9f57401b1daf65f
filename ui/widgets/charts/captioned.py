"""A picture of a chart that still says what it shows when it is seen without the window."""

import time
from collections.abc import Iterable, Mapping

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPixmap
from PySide6.QtWidgets import QWidget

from app.common.i18n import _
from app.common.plain import one_line
from ui.style.theme import Theme
from ui.texts import states, units

_MARGIN = 16


def captioned(chart: QWidget, theme: Theme, about: Mapping[str, str]) -> QPixmap:
    """The chart as it is on the screen; title and run above it, names of the axes below.

    about: ``chart``, ``run``, ``x_axis`` and ``y_axis``, as in `ValueTable`; "" or left out where
    there is none.
    """
    grabbed = chart.grab()
    ratio, size = grabbed.devicePixelRatio(), grabbed.deviceIndependentSize()
    strip = chart.fontMetrics().height() * 2
    made = QPixmap(grabbed.width(), round((size.height() + 2 * strip) * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(theme.colors.card)
    painter = QPainter(made)
    painter.drawPixmap(0, strip, grabbed)
    painter.setFont(chart.font())
    foot = QRectF(_MARGIN, size.height() + strip, size.width() - 2 * _MARGIN, strip)
    axes = {"x_axis": _("x: {axis}"), "y_axis": _("y: {axis}")}
    named = [text.format(axis=about[name]) for name, text in axes.items() if about.get(name)]
    _write(painter, (*named, units.date(time.time())), foot, theme.colors.muted)
    bold = QFont(chart.font())
    bold.setWeight(QFont.Weight.DemiBold)
    painter.setFont(bold)
    head = QRectF(_MARGIN, 0, foot.width(), strip)
    _write(painter, (about.get("chart", ""), about.get("run", "")), head, theme.colors.text)
    painter.end()
    return made


def _write(painter: QPainter, parts: Iterable[str], place: QRectF, color: str) -> None:
    """Write what there is on one line, shortened to its place."""
    text = one_line(states.DOT.join(part for part in parts if part))
    elide = painter.fontMetrics().elidedText
    painter.setPen(QColor(color))
    painter.drawText(
        place,
        Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft,
        elide(text, Qt.TextElideMode.ElideRight, round(place.width())),
    )
