"""A sorted and filtered table whose rows are replaced every second, without losing the selection.

`ui.widgets.cells` paints it. The model sorts and filters by itself: a `QSortFilterProxyModel` calls
Python for each of the ten thousand comparisons that a thousand rows need, which stalls the window;
`sorted` takes 1 ms.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QIcon
from typing_extensions import override

from app.common.plain import one_line
from ui.style.plain import tip_text

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
Row = TypeVar("Row")
Role = Qt.ItemDataRole


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """A column of the table. The functions compute a cell from its row."""

    title: str
    """The header, translated."""

    text: Callable[[Row], str]
    """The cell's text."""

    key: Callable[[Row], Any]
    """The value to sort by. Rows with None come last in either order."""

    sample: str
    """The widest usual text; it sets the column's width."""

    right: bool = False
    """Align to the right, for numbers."""

    tone: Callable[[Row], str] | None = None
    """Name of the text's colour in `ui.style.theme.Colors`; "" for the ordinary colour."""

    tip: Callable[[Row], str] | None = None
    """The tool tip; without this function it is the cell's text."""

    picture: Callable[[Row], QIcon] | None = None
    """An icon before the text."""

    figures: Callable[[Row], Sequence[float]] | None = None
    """Values of a small curve that is drawn instead of the text, oldest first; NaN is a gap."""


class RowsModel(QAbstractTableModel, Generic[Row]):
    """A table model over rows of any type.

    Args:
        columns: the columns, from left to right.
        identity: gives the key by which a row is recognised when the rows are replaced.
    """

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        *,
        identity: Callable[[Row], Hashable],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.columns = columns
        self._identity = identity
        self._all: Sequence[Row] = ()
        self._shown: list[Row] = []
        self._matches: Callable[[Row], bool] = _everything
        self._sorted_by, self._descending = 0, False

    @property
    def shown(self) -> Sequence[Row]:
        """The visible rows, filtered and in their present order."""
        return self._shown

    def row_of(self, identity: Hashable) -> int | None:
        """The index of a visible row; None if the row isn't visible."""
        places = enumerate(self._shown)
        return next((place for place, row in places if self._identity(row) == identity), None)

    def identity_of(self, place: int) -> Hashable:
        """The identity of the visible row with this index."""
        return self._identity(self._shown[place])

    # --- rows, filter, order

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Replace all rows; those that the filter matches are visible."""
        self._all = rows
        self._arrange()

    def filter_rows(self, matches: Callable[[Row], bool]) -> None:
        """Set the filter: rows for which it returns True are visible."""
        self._matches = matches
        self._arrange()

    @override
    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._sorted_by, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def _arrange(self) -> None:
        """Update the visible rows, with the cheapest signal to the view that is right."""
        rows = self._in_order([row for row in self._all if self._matches(row)])
        before = [self._identity(row) for row in self._shown]
        after = [self._identity(row) for row in rows]
        if before == after:
            self._shown = rows
            if rows:
                self._tell_changed()
        elif len(before) == len(after) and set(before) == set(after):
            self._reorder(rows, before, after)
        else:
            self.beginResetModel()
            self._shown = rows
            self.endResetModel()

    def _in_order(self, rows: list[Row]) -> list[Row]:
        key = self.columns[self._sorted_by].key
        known = [(value, row) for row in rows if (value := key(row)) is not None]
        unknown = [row for row in rows if key(row) is None]
        known.sort(key=lambda pair: pair[0], reverse=self._descending)
        return [row for _, row in known] + unknown

    def _tell_changed(self) -> None:
        last = self.index(len(self._shown) - 1, len(self.columns) - 1)
        self.dataChanged.emit(self.index(0, 0), last)

    def _reorder(self, rows: list[Row], before: list[Any], after: list[Any]) -> None:
        """Show the same rows in a new order, and let the selection follow its row."""
        self.layoutAboutToBeChanged.emit()
        places = {identity: place for place, identity in enumerate(after)}
        old = self.persistentIndexList()
        new = [self.index(places[before[index.row()]], index.column()) for index in old]
        self._shown = rows
        self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()

    # --- QAbstractTableModel

    @override
    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._shown)

    @override
    def columnCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.columns)

    @override
    def data(self, index: Index, role: int = Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        column, row = self.columns[index.column()], self._shown[index.row()]
        match role:
            case Role.DisplayRole:
                return one_line(column.text(row))
            case Role.TextAlignmentRole:
                return _alignment(right=column.right)
            case Role.ToolTipRole:
                return tip_text((column.tip or column.text)(row))
            case _:
                return None

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        if role == Role.TextAlignmentRole:
            return _alignment(right=self.columns[section].right)
        return self.columns[section].title if role == Role.DisplayRole else None


def _everything(_row: Any) -> bool:
    return True


def _alignment(*, right: bool) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
