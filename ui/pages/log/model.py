"""The log lines as a filtered table."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor
from typing_extensions import override

from app.common.i18n import _
from app.common.logs import LogLine
from app.common.plain import one_line, several_lines
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.texts import units

MOST_OF_A_LINE = 20_000
"""Characters of a log line that are shown in full or copied; a traceback has fewer."""

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()


@dataclass(frozen=True, kw_only=True)
class LogFilter:
    """Which log lines to show."""

    level: int = 0
    """The lowest level shown, as in the `logging` module."""

    source: str = ""
    """The only source shown, such as ``trainer``; "" for all."""

    text: str = ""
    """A text that the lines contain, in upper or lower case; "" for all."""

    libraries: bool = False
    """Also what libraries wrote."""

    def matches(self, line: LogLine) -> bool:
        """Whether the line is to be shown."""
        return (
            line.level >= self.level
            and (self.libraries or not line.library)
            and (not self.source or line.source == self.source)
            and (not self.text or self.text.lower() in line.text.lower())
        )


class LogModel(QAbstractTableModel):
    """A table with the columns time, level, source and text.

    It gets whole snapshots of the ring buffer and finds the new lines itself. So no line is lost or
    shown twice, whichever thread logs.
    """

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._all: Sequence[LogLine] = []
        self._shown: list[LogLine] = []
        self._filter = LogFilter()

    def update(self, lines: Sequence[LogLine]) -> None:
        """Take a snapshot of the ring: remove the lines that it dropped, append the new ones."""
        new = _new_lines(self._all, lines)
        gone = self._all[: max(0, len(self._all) + len(new) - len(lines))]
        self._all = lines
        self._drop(sum(map(self._filter.matches, gone)))
        self._append([line for line in new if self._filter.matches(line)])

    def _drop(self, count: int) -> None:
        if count:
            self.beginRemoveRows(_NO_PARENT, 0, count - 1)
            del self._shown[:count]
            self.endRemoveRows()

    def _append(self, lines: list[LogLine]) -> None:
        if lines:
            first = len(self._shown)
            self.beginInsertRows(_NO_PARENT, first, first + len(lines) - 1)
            self._shown += lines
            self.endInsertRows()

    def set_filter(self, chosen: LogFilter) -> None:
        """Show the lines that another filter matches."""
        self.beginResetModel()
        self._filter = chosen
        self._shown = [line for line in self._all if chosen.matches(line)]
        self.endResetModel()

    def line(self, row: int) -> LogLine:
        """The log line in a row of the table."""
        return self._shown[row]

    # --- QAbstractTableModel

    @override
    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._shown)

    @override
    def columnCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else 4

    @override
    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        line = self._shown[index.row()]
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            return self._level_color(line.level)
        return _words(line, index.column()) if role == Qt.ItemDataRole.DisplayRole else None

    def _level_color(self, level: int) -> QColor | None:
        """A colour for warnings and errors; the level's name says the same."""
        colors = self._theme.colors
        if level >= logging.ERROR:
            return QColor(colors.danger_text)
        return QColor(colors.caution) if level >= logging.WARNING else None

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation is not Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        return (_("Time"), _("Level"), _("Source"), _("Text"))[section]


def _words(line: LogLine, column: int) -> str:
    match column:
        case 0:
            return units.clock(line.time)
        case 1:
            return texts.level_name(line.level)
        case 2:
            return texts.log_source(line.source)
        case _:
            return one_line(line.text.partition("\n")[0])


def as_text(lines: Sequence[LogLine]) -> str:
    """Log lines as text for the clipboard."""
    return "\n".join(
        f"{units.timestamp(line.time)} {texts.level_name(line.level)} {line.source}:"
        f" {several_lines(line.text, most=MOST_OF_A_LINE)}"
        for line in lines
    )


def _new_lines(old: Sequence[LogLine], lines: Sequence[LogLine]) -> Sequence[LogLine]:
    if not old:
        return lines
    last = old[-1]
    for place in range(len(lines) - 1, -1, -1):
        if lines[place] is last:
            return lines[place + 1 :]
    return lines  # so many are new that the ring holds none of the old ones
