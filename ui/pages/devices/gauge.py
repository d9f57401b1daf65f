"""A gauge: a figure with its title, a bar or a curve of the last minute, and a note."""

import math
from collections import deque

from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QProgressBar, QVBoxLayout, QWidget
from typing_extensions import override

from ui.style.theme import Theme
from ui.texts.devices import Figure
from ui.widgets.cells import polylines
from ui.widgets.labels import ElidedLabel, label, restyle

BAR_STEPS = 1000
CURVE_POINTS = 60
"""One a second."""

PICTURE_HEIGHT = 24


class GaugeCurve(QWidget):
    """The last `CURVE_POINTS` values, from 0 to 1; the newest is at the right."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._values: deque[float] = deque([math.nan] * CURVE_POINTS, maxlen=CURVE_POINTS)
        theme.changed.connect(self.update)

    def add(self, value: float | None) -> None:
        """Append a value; None is a gap. To be called once a second."""
        self._values.append(math.nan if value is None else value)
        self.update()

    def clear(self) -> None:
        """Forget all values, since time has passed without any."""
        self._values.extend([math.nan] * CURVE_POINTS)
        self.update()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        ground = QRectF(self.rect()).adjusted(0.5, 1.5, -0.5, -1.5)
        painter = QPainter(self)
        painter.setPen(QPen(QColor(self._theme.colors.track), 1))
        painter.drawLine(ground.bottomLeft(), ground.bottomRight())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self._theme.colors.accent), 1))
        for line in polylines(self._values, ground, bounds=(0.0, 1.0)):
            painter.drawPolyline(line)
        painter.end()


class Gauge(QWidget):
    """One figure. curve: show it over the last minute, instead of a bar with its present value."""

    def __init__(self, title: str, theme: Theme, *, curve: bool) -> None:
        super().__init__()
        self.value = ElidedLabel(role="strong")
        self.note = ElidedLabel(role="small")
        self.curve = GaugeCurve(theme) if curve else None
        self.bar = QProgressBar()
        self.bar.setRange(0, BAR_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(title)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        picture = QWidget()
        picture.setFixedHeight(PICTURE_HEIGHT)  # the same for bars and curves: aligns the notes
        inside = QVBoxLayout(picture)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.curve or self.bar)
        for part in (label(title, "muted"), self.value, picture, self.note):
            column.addWidget(part)

    def show_figure(self, figure: Figure, *, is_new: bool) -> None:
        """Show the figure's newest value. is_new: it goes on the curve, too; once a second."""
        self.value.set_full(figure.value)
        self.note.set_full(figure.note)
        restyle(self.note, "tone", "bad" if figure.hot else "")
        if self.curve is not None:
            if is_new:
                self.curve.add(figure.share)
            return
        self.bar.setVisible(figure.share is not None)
        self.bar.setValue(round((figure.share or 0.0) * BAR_STEPS))
