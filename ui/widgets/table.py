"""Tables that are sorted by a click on a header."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from ui.models.rows_model import RowsModel
from ui.style.theme import Theme
from ui.widgets.cells import CellDelegate

HEADER_ROOM = 30
"""For the padding, and the arrow of the column that is sorted by."""

CELL_ROOM = 28
ICON_ROOM = 20


def table(
    model: RowsModel[Any], theme: Theme, *, name: str, stretched: int, padding: int = 12
) -> QTableView:
    """A table on a model. stretched: the column that takes what room is left; padding: pixels
    of a row's height beyond the text's."""
    made = QTableView()
    made.setModel(model)
    made.setItemDelegate(CellDelegate(model, theme, made))
    made.setAccessibleName(name)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    made.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    made.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    made.setTabKeyNavigation(False)  # Tab leaves the table, as everywhere else
    made.setWordWrap(False)
    made.setShowGrid(False)
    made.verticalHeader().hide()
    made.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    made.verticalHeader().setDefaultSectionSize(made.fontMetrics().height() + padding)
    made.horizontalHeader().setHighlightSections(False)
    made.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    made.setSortingEnabled(True)
    _set_widths(made, model, stretched)
    return made


def _set_widths(made: QTableView, model: RowsModel[Any], stretched: int) -> None:
    """By the columns' samples: asking each of a thousand rows for its width would stall."""
    metrics, header = made.fontMetrics(), made.horizontalHeader()
    for place, column in enumerate(model.columns):
        title = metrics.horizontalAdvance(column.title) + HEADER_ROOM
        sample = metrics.horizontalAdvance(column.sample) + CELL_ROOM
        sample += ICON_ROOM if column.picture else 0
        made.setColumnWidth(place, max(title, sample))
    header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    header.setMinimumSectionSize(64)
