"""A table of rows that come anew every second: sorted, filtered, and the chosen one kept.
`ui.widgets.cells` paints it.

The model sorts and filters by itself: a `QSortFilterProxyModel` asks Python for each of the ten
thousand comparisons that a thousand rows take, which stalls the window; `sorted` takes 1 ms.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QIcon
from typing_extensions import override

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
Row = TypeVar("Row")
Role = Qt.ItemDataRole


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """A column. text: what a row shows; key: what it is sorted by, None last either way; sample:
    the widest usual words, for the width; tone: a colour of the theme by its name, "" for the
    ordinary one; tip: the tool tip; picture: an icon before the text; figures: instead of a text,
    the values of a small curve, from the oldest to now, NaN a gap."""

    title: str
    text: Callable[[Row], str]
    key: Callable[[Row], Any]
    sample: str
    right: bool = False
    tone: Callable[[Row], str] | None = None
    tip: Callable[[Row], str] | None = None
    picture: Callable[[Row], QIcon] | None = None
    figures: Callable[[Row], Sequence[float]] | None = None


class RowsModel(QAbstractTableModel, Generic[Row]):
    """identity: what tells that a row is the one from before."""

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
        self._takes: Callable[[Row], bool] = _everything
        self._sorted_by, self._descending = 0, False

    @property
    def shown(self) -> Sequence[Row]:
        """The rows as they stand."""
        return self._shown

    def row_of(self, identity: Hashable) -> int | None:
        """Where a row stands; None when it isn't shown."""
        places = enumerate(self._shown)
        return next((place for place, row in places if self._identity(row) == identity), None)

    # --- what changes

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show these rows from now on, as far as the filter takes them."""
        self._all = rows
        self._arrange()

    def filter_rows(self, takes: Callable[[Row], bool]) -> None:
        """Show other rows."""
        self._takes = takes
        self._arrange()

    @override
    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._sorted_by, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def _arrange(self) -> None:
        """Bring what is shown up to date, with as little news for the view as there is."""
        rows = self._in_order([row for row in self._all if self._takes(row)])
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
        """The same rows elsewhere: the selection goes with its row."""
        self.layoutAboutToBeChanged.emit()
        places = {identity: place for place, identity in enumerate(after)}
        old = self.persistentIndexList()
        new = [self.index(places[before[index.row()]], index.column()) for index in old]
        self._shown = rows
        self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()

    # --- Qt's questions

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
                return column.text(row)
            case Role.TextAlignmentRole:
                return _alignment(right=column.right)
            case Role.ToolTipRole:
                return (column.tip or column.text)(row)
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
