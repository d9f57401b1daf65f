"""Creates the tables of the window; a click on a header sorts them."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from ui.models.rows_model import RowsModel
from ui.style.theme import Theme
from ui.widgets.cells import CellDelegate

HEADER_ROOM = 30
"""Pixels beside a header's text, for the padding and the arrow of the sorted column."""

CELL_ROOM = 28
"""Pixels beside a cell's text, for the padding."""

ICON_ROOM = 20
"""Pixels for a cell's icon."""


def table(
    model: RowsModel[Any], theme: Theme, *, name: str, stretched: int, padding: int = 12
) -> QTableView:
    """A table that shows a model.

    Args:
        model: the rows and columns.
        theme: colours the cells.
        name: for screen readers.
        stretched: index of the column that takes the remaining width.
        padding: height of a row beyond its text's, in pixels.
    """
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
    """Set the widths by the columns' samples: measuring a thousand rows would stall the window."""
    metrics, header = made.fontMetrics(), made.horizontalHeader()
    for place, column in enumerate(model.columns):
        title = metrics.horizontalAdvance(column.title) + HEADER_ROOM
        sample = metrics.horizontalAdvance(column.sample) + CELL_ROOM
        sample += ICON_ROOM if column.picture else 0
        made.setColumnWidth(place, max(title, sample))
    header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    header.setMinimumSectionSize(64)
