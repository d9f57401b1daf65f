"""Creates the tables of the window; a click on a header sorts them."""

from collections.abc import Hashable
from typing import Any

from PySide6.QtCore import QItemSelectionModel, QObject, Qt
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
    _KeyboardPlace(made, model)
    return made


class _KeyboardPlace(QObject):
    """Keeps a table's current row when rows appear or go, for which Qt forgets it.

    The selection follows it where only one row can be selected; a selection of several is up to
    whoever lets them be selected. The view owns it.
    """

    def __init__(self, view: QTableView, model: RowsModel[Any]) -> None:
        super().__init__(view)
        self._view, self._model = view, model
        self._column = 0
        self._row: Hashable = None
        self._was_selected = False
        model.modelAboutToBeReset.connect(self._note)
        model.modelReset.connect(self._return)

    def _note(self) -> None:
        index = self._view.currentIndex()
        self._row = self._model.identity_of(index.row()) if index.isValid() else None
        self._column = index.column()
        self._was_selected = self._view.selectionModel().isSelected(index)

    def _return(self) -> None:
        place = None if self._row is None else self._model.row_of(self._row)
        if place is None:
            return
        flags = QItemSelectionModel.SelectionFlag
        single = self._view.selectionMode() is QTableView.SelectionMode.SingleSelection
        how = flags.ClearAndSelect | flags.Rows if single and self._was_selected else flags.NoUpdate
        self._view.setAutoScroll(False)  # the user may be reading elsewhere in the table
        index = self._model.index(place, self._column)
        self._view.selectionModel().setCurrentIndex(index, how)
        self._view.setAutoScroll(True)


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
