"""A chart's menu: copy it as a picture or its values as CSV, save its values."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu, QMessageBox, QToolButton, QWidget

from app.common.i18n import _
from ui.style.plain import message_box
from ui.style.theme import Theme
from ui.widgets.buttons import icon_button
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.save_dialog import ask_where_to_save


class CopyMenu(QMenu):
    """A menu that opens by its ``button`` and by a right click on the chart.

    Args:
        chart: what is copied as a picture.
        theme: colours the button's icon.
        values: returns the shown values.
    """

    def __init__(self, chart: QWidget, theme: Theme, *, values: Callable[[], ValueTable]) -> None:
        super().__init__(chart)
        self._chart = chart
        self._values = values
        self.addAction(_("Copy as picture")).triggered.connect(self.copy_picture)
        self.addAction(_("Copy values as CSV")).triggered.connect(self.copy_csv)
        self.addAction(_("Save values…")).triggered.connect(self._choose_file)
        chart.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        chart.customContextMenuRequested.connect(self._open)
        self.button = icon_button("more", _("Copy this chart"), theme)
        self.button.setMenu(self)
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)

    def _open(self, position: QPoint) -> None:
        self.popup(self._chart.mapToGlobal(position))

    def copy_picture(self) -> None:
        """Copy a picture of the chart to the clipboard."""
        QGuiApplication.clipboard().setPixmap(self._chart.grab())

    def copy_csv(self) -> None:
        """Copy the shown values to the clipboard, as CSV."""
        QGuiApplication.clipboard().setText(self._values().as_csv())

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
            box = message_box(
                QMessageBox.Icon.Warning, str(path), f"{path}: {reason}", parent=self._chart
            )
            box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            box.open()
