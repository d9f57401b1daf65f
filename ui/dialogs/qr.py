"""A QR code: dark on light in every theme, since scanners want it so, and sharp at every scale."""

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPixmap, qRgb
from PySide6.QtWidgets import QLabel
from typing_extensions import override

from app.common.i18n import _

SIDE = 248
"""Logical pixels, at most."""

QUIET = 4
"""Modules of light around it; the standard asks for four."""

MOST_CHARACTERS = 1600
"""Beyond, the modules are too small for a telephone to tell apart on a screen."""


class QrCode(QLabel):
    """Shows a text as a QR code, or nothing where the text is too long for one."""

    def __init__(self) -> None:
        super().__init__()
        self._image = QImage()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setFixedSize(SIDE, SIDE)
        self.setAccessibleName(_("The invite link as a QR code"))

    def show_text(self, text: str) -> None:
        """Draw a text; hide where it has too many characters."""
        self._image = image_of(text) if len(text) <= MOST_CHARACTERS else QImage()
        self.setVisible(not self._image.isNull())
        self._draw()

    @override
    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._draw()
        return super().event(event)

    def _draw(self) -> None:
        """Each module takes a whole number of the screen's pixels."""
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
    """A QR code with a pixel for each module, the quiet zone around it."""
    import segno

    rows = list(segno.make_qr(text, error="l").matrix_iter(border=QUIET))
    image = QImage(len(rows), len(rows), QImage.Format.Format_RGB32)
    image.fill(QColor(Qt.GlobalColor.white))
    for y, row in enumerate(rows):
        for x, dark in enumerate(row):
            if dark:
                image.setPixel(x, y, qRgb(0, 0, 0))
    return image
