"""A QR code as a label: dark on light in both themes, as scanners need it, and sharp."""

from pathlib import Path

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPixmap, qRgb
from PySide6.QtWidgets import QHBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from ui.dialogs.dialog import Dialog
from ui.widgets.buttons import button
from ui.widgets.forms.fields import error_label, show_error
from ui.widgets.labels import PlainLabel
from ui.widgets.save_dialog import ask_where_to_save

SIDE, LARGE_SIDE = 248, 560
"""The label's width and height in logical pixels, and those of a large one."""

SAVED_SCALE = 12
"""Pixels of a module in a saved picture."""

QUIET = 4
"""Width of the light border in modules; the standard asks for four."""

MOST_CHARACTERS = 1600
"""With more characters, the modules are too small for a telephone to read from a screen."""


class QrCode(PlainLabel):
    """Shows a text as a QR code; hidden if the text is too long."""

    def __init__(self, side: int = SIDE) -> None:
        super().__init__()
        self._side = side
        self._image = QImage()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setFixedSize(side, side)
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
        scale = max(1, int(self._side * ratio) // self._image.width())
        side = QSize(self._image.width() * scale, self._image.height() * scale)
        drawn = self._image.scaled(side, mode=Qt.TransformationMode.FastTransformation)
        picture = QPixmap.fromImage(drawn)
        picture.setDevicePixelRatio(ratio)
        self.setPixmap(picture)


class LargeQrCode(Dialog):
    """A QR code to be scanned from across a room, or saved as a picture."""

    def __init__(self, text: str, name: str, parent: QWidget) -> None:
        """name: of the picture's file, without its suffix."""
        super().__init__(parent, _("QR code of the invite"), width=LARGE_SIDE + 48)
        self._text, self._name = text, name
        self.code = QrCode(min(LARGE_SIDE, self.screen().availableSize().height() - 220))
        self.code.show_text(text)
        self.save = button(_("Save as a picture…"))
        self.done_button = button(_("Done"), "primary")
        self.error = error_label()
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addStretch()
        row.addWidget(self.done_button)
        self.column.addWidget(self.code, 0, Qt.AlignmentFlag.AlignHCenter)
        self.column.addWidget(self.error)
        self.column.addLayout(row)
        self.done_button.setDefault(True)
        self.done_button.setFocus()
        self.save.clicked.connect(self._choose_file)
        self.done_button.clicked.connect(self.accept)

    def _choose_file(self) -> None:
        self.asking = ask_where_to_save(
            self,
            self.save.text(),
            name=f"{self._name}.png",
            kinds={"png": _("Pictures (*.png)")},
            save=self.save_as,
        )

    def save_as(self, path: Path) -> None:
        """Write the picture."""
        image = image_of(self._text)
        side = image.width() * SAVED_SCALE
        is_saved = image.scaled(side, side).save(str(path), "PNG")  # type: ignore[call-overload]
        problem = _("{file} can't be written. Check that you may write there.")
        show_error(self.error, "" if is_saved else problem.format(file=path))


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
