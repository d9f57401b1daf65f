"""A chart's menu: copy or save it as a picture, copy its values as CSV, save its values."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtWidgets import QMenu, QMessageBox, QToolButton, QWidget

from app.common.i18n import _
from ui.style.plain import message_box
from ui.style.theme import Theme
from ui.widgets.buttons import icon_button
from ui.widgets.charts.captioned import captioned
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.save_dialog import ask_where_to_save


class CopyMenu(QMenu):
    """A menu that opens by its ``button`` and by a right click on the chart.

    Args:
        chart: what is copied as a picture.
        theme: colours the button's icon and the picture's captions.
        values: returns the shown values, and what they are of.
    """

    def __init__(self, chart: QWidget, theme: Theme, *, values: Callable[[], ValueTable]) -> None:
        super().__init__(chart)
        self._chart = chart
        self._theme = theme
        self._values = values
        self.addAction(_("Copy as picture")).triggered.connect(self.copy_picture)
        self.addAction(_("Copy values as CSV")).triggered.connect(self.copy_csv)
        self.addAction(_("Save as a picture…")).triggered.connect(self._choose_picture)
        self.addAction(_("Save values…")).triggered.connect(self._choose_file)
        chart.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        chart.customContextMenuRequested.connect(self._open)
        self.button = icon_button("more", _("Copy this chart"), theme)
        self.button.setMenu(self)
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)

    def _open(self, position: QPoint) -> None:
        self.popup(self._chart.mapToGlobal(position))

    def _picture(self) -> QPixmap:
        self.button.hide()  # it is no part of the chart
        try:
            return captioned(self._chart, self._theme, self._values().about)
        finally:
            self.button.show()

    def copy_picture(self) -> None:
        """Copy a picture of the chart to the clipboard."""
        QGuiApplication.clipboard().setPixmap(self._picture())

    def copy_csv(self) -> None:
        """Copy the shown values to the clipboard, as CSV."""
        QGuiApplication.clipboard().setText(self._values().as_csv())

    def _choose_picture(self) -> None:
        ask_where_to_save(
            self._chart,
            _("Save a picture of this chart"),
            name="chart.png",
            kinds={"png": _("Pictures (*.png)")},
            save=self.save_picture,
        )

    def save_picture(self, path: Path) -> None:
        """Write a picture of the chart; say so if that fails."""
        if not self._picture().save(str(path), "PNG"):
            problem = _("{file} can't be written. Check that you may write there.")
            self._complain(path, problem.format(file=path))

    def _choose_file(self) -> None:
        ask_where_to_save(
            self._chart,
            _("Save the values of this chart"),
            name="chart.csv",
            kinds={"csv": _("Tables (*.csv)"), "json": _("JSON (*.json)")},
            save=self.save,
        )

    def save(self, path: Path) -> None:
        """Write the shown values to a file, as JSON or CSV by its suffix; say why if it fails."""
        table = self._values()
        text = table.as_json() if path.suffix.lower() == ".json" else table.as_csv()
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            reason = _("can't be written: {reason}.").format(reason=error.strerror)
            self._complain(path, f"{path}: {reason}")

    def _complain(self, path: Path, text: str) -> None:
        box = message_box(QMessageBox.Icon.Warning, str(path), text, parent=self._chart)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()
