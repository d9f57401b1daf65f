"""Which curve is which machine's, and what each has at the crosshair."""

from collections.abc import Sequence

from PySide6.QtGui import QColor, QPixmap
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from ui.style.series import COUNT, series_colors
from ui.style.theme import Theme
from ui.widgets.labels import ElidedLabel, label

_SIDE = 10
"""Of a swatch, in pixels."""


class CurvesLegend(QWidget):
    """A row for each of some curves: its colour, its name, a value."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._swatches: list[QLabel] = []
        self.names: list[ElidedLabel] = []
        self.values: list[QLabel] = []
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for row in range(1 + COUNT):
            parts = label(), ElidedLabel(), label(role="small")
            for place, part in enumerate(parts):
                grid.addWidget(part, row, place)
            self._swatches.append(parts[0])
            self.names.append(parts[1])
            self.values.append(parts[2])
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(grid)
        column.addStretch()
        theme.changed.connect(self._recolor)
        self._recolor()

    def _recolor(self) -> None:
        colors = self._theme.colors
        for swatch, color in zip(
            self._swatches, (colors.accent, *series_colors(colors)), strict=True
        ):
            ratio = self.devicePixelRatioF()
            picture = QPixmap(round(_SIDE * ratio), round(_SIDE * ratio))
            picture.setDevicePixelRatio(ratio)
            picture.fill(QColor(color))
            swatch.setPixmap(picture)

    def show_names(self, names: Sequence[str]) -> None:
        """Name the first rows, and hide the others."""
        for place, row in enumerate(zip(self._swatches, self.names, self.values, strict=True)):
            for part in row:
                part.setVisible(place < len(names))
            if place < len(names):
                row[1].set_full(names[place])

    def show_values(self, values: Sequence[str]) -> None:
        """Say a value beside each of the first rows."""
        for words, value in zip(self.values, values, strict=False):
            words.setText(value)
