"""A chart's menu: copy it as a picture, or its values as CSV."""

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from app.common.i18n import _
from ui.style.theme import Theme
from ui.widgets.buttons import icon_button


class CopyMenu(QMenu):
    """A menu that opens by its ``button`` and by a right click on the chart.

    Args:
        chart: what is copied as a picture.
        theme: colours the button's icon.
        csv: returns the shown values as CSV.
    """

    def __init__(self, chart: QWidget, theme: Theme, *, csv: Callable[[], str]) -> None:
        super().__init__(chart)
        self._chart = chart
        self._csv = csv
        self.addAction(_("Copy as picture")).triggered.connect(self.copy_picture)
        self.addAction(_("Copy values as CSV")).triggered.connect(self.copy_csv)
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
        QGuiApplication.clipboard().setText(self._csv())
