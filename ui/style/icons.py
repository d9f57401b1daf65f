"""Icons: one-coloured SVG files, drawn in a colour of the theme."""

from functools import cache

from PySide6.QtCore import QByteArray, QObject, QSize, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QAbstractButton, QLabel

from ui.style.theme import ICONS, Theme

SIZE = 20
_SCALES = (1, 2, 3)


def app_icon() -> QIcon:
    """The app's own icon."""
    return QIcon(str(ICONS / "app.svg"))


def pixmap(name: str, color: str, *, size: int = SIZE, scale: float = 1) -> QPixmap:
    """An icon in one colour, ``size`` logical pixels wide, for a screen of this scale."""
    image = QPixmap(QSize(round(size * scale), round(size * scale)))
    image.fill(Qt.GlobalColor.transparent)
    renderer = QSvgRenderer(QByteArray(_source(name).replace("currentColor", color).encode()))
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    image.setDevicePixelRatio(scale)
    return image


@cache
def _source(name: str) -> str:
    return (ICONS / f"{name}.svg").read_text(encoding="utf-8")


def icon(name: str, color: str, checked_color: str) -> QIcon:
    """An icon for a button: in ``color``, and in ``checked_color`` while the button is checked."""
    made = QIcon()
    for scale in _SCALES:
        made.addPixmap(pixmap(name, color, scale=scale), QIcon.Mode.Normal, QIcon.State.Off)
        made.addPixmap(pixmap(name, checked_color, scale=scale), QIcon.Mode.Normal, QIcon.State.On)
    return made


class ThemedIcon(QObject):
    """Keeps a button's icon in the theme's colours, as long as the button lives."""

    def __init__(self, button: QAbstractButton, name: str, theme: Theme) -> None:
        super().__init__(button)
        self._button = button
        self._name = name
        self._theme = theme
        theme.changed.connect(self._draw)
        self._draw()

    def _draw(self) -> None:
        colors = self._theme.colors
        self._button.setIcon(icon(self._name, colors.muted, colors.text))
        self._button.setIconSize(QSize(SIZE, SIZE))


class ThemedPicture(QObject):
    """Keeps a label's picture in a colour of the theme, as long as the label lives."""

    def __init__(self, label: QLabel, name: str, theme: Theme, *, color: str) -> None:
        super().__init__(label)
        self._label = label
        self._name = name
        self._theme = theme
        self._color = color
        theme.changed.connect(self._draw)
        self._draw()

    def _draw(self) -> None:
        color = getattr(self._theme.colors, self._color)
        scale = self._label.devicePixelRatioF()
        self._label.setPixmap(pixmap(self._name, color, scale=scale))
