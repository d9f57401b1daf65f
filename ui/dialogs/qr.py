"""A QR code as a label: dark on light in both themes, as scanners need it, and sharp."""

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPixmap, qRgb
from typing_extensions import override

from app.common.i18n import _
from ui.widgets.labels import PlainLabel

SIDE = 248
"""The label's width and height in logical pixels."""

QUIET = 4
"""Width of the light border in modules; the standard asks for four."""

MOST_CHARACTERS = 1600
"""With more characters, the modules are too small for a telephone to read from a screen."""


class QrCode(PlainLabel):
    """Shows a text as a QR code; hidden if the text is too long."""

    def __init__(self) -> None:
        super().__init__()
        self._image = QImage()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setFixedSize(SIDE, SIDE)
        self.setAccessibleName(_("The invite link as a QR code"))

    def show_text(self, text: str) -> None:
        """Show a text, or hide if it has more than `MOST_CHARACTERS`."""
        self._image = image_of(text) if len(text) <= MOST_CHARACTERS else QImage()
        self.setVisible(not self._image.isNull())
        self._draw()

    @override
    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._draw()
        return super().event(event)

    def _draw(self) -> None:
        """Draw the code with a whole number of screen pixels for each module."""
        if self._image.isNull():
            return
        ratio = self.devicePixelRatioF()
        scale = max(1, int(SIDE * ratio) // self._image.width())
        side = QSize(self._image.width() * scale, self._image.height() * scale)
        drawn = self._image.scaled(side, mode=Qt.TransformationMode.FastTransformation)
        picture = QPixmap.fromImage(drawn)
        picture.setDevicePixelRatio(ratio)
        self.setPixmap(picture)


def image_of(text: str) -> QImage:
    """A QR code with one pixel for each module, including the quiet zone around it."""
    import segno

    rows = list(segno.make_qr(text, error="l").matrix_iter(border=QUIET))
    image = QImage(len(rows), len(rows), QImage.Format.Format_RGB32)
    image.fill(QColor(Qt.GlobalColor.white))
    for y, row in enumerate(rows):
        for x, dark in enumerate(row):
            if dark:
                image.setPixel(x, y, qRgb(0, 0, 0))
    return image
