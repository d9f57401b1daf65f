"""A picture of a chart that still says what it shows when it is seen without the window."""

import time
from collections.abc import Mapping

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
    bold, small = QFont(chart.font()), QFont(chart.font())
    bold.setWeight(QFont.Weight.DemiBold)
    strip = chart.fontMetrics().height() * 2
    made = QPixmap(grabbed.width(), round((size.height() + 2 * strip) * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(theme.colors.card)
    painter = QPainter(made)
    painter.drawPixmap(0, strip, grabbed)
    head = states.DOT.join(part for name in ("chart", "run") if (part := about.get(name, "")))
    foot = _("x: {x}, y: {y}").format(x=about.get("x_axis", ""), y=about.get("y_axis", ""))
    width = size.width() - 2 * _MARGIN
    for text, font, color, top in (
        (head, bold, theme.colors.text, 0.0),
        (
            f"{foot}{states.DOT}{units.date(time.time())}",
            small,
            theme.colors.muted,
            size.height() + strip,
        ),
    ):
        painter.setFont(font)
        painter.setPen(QColor(color))
        line = painter.fontMetrics().elidedText(
            one_line(text), Qt.TextElideMode.ElideRight, round(width)
        )
        place = QRectF(_MARGIN, top, width, strip)
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, line)
    painter.end()
    return made
