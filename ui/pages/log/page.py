"""The log page: a live table of log lines with filters."""

import logging

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction, QGuiApplication, QHideEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPlainTextEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from app.common.i18n import _
from app.common.logs import LogLine, RingBuffer
from app.common.plain import several_lines
from ui.models.actions import Actions
from ui.pages.log.model import MOST_OF_A_LINE, LogFilter, LogModel, as_text
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.buttons import button
from ui.widgets.choice import Choice
from ui.widgets.labels import label

REFRESH_MS = 250
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
SOURCES = ("app", "trainer", "peer", "partner")
_COLUMNS = ("00:00:00", "Warning", "Demo partner")
"""The widest texts of the first three columns; they set the columns' widths."""


class LogPage(QWidget):
    """Filters at the top, the table below them, and at the bottom the selected line in full."""

    def __init__(self, ring: RingBuffer, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._ring = ring
        self._stale = True
        self.model = LogModel(theme, self)
        self.text, self.level, self.source = _text_filter(), _level_filter(), _source_filter()
        self.libraries, self.follow = QCheckBox(_("Libraries")), QCheckBox(_("Follow"))
        self.copy, self.folder = button(_("Copy")), button(_("Open log folder"))
        self.table = _table(self.model)
        self.details = _details()
        self._timer = QTimer(self, interval=REFRESH_MS)
        # called on the thread that logs: it only sets a flag, which the timer reads on Qt's thread
        self._lines = ring.subscribe(self._on_line)
        self._lay_out()
        self._connect(actions)
        self._filter()

    def _lay_out(self) -> None:
        self.follow.setChecked(True)
        set_tool_tip(
            self.libraries,
            _("Also what libraries write, such as hivemind: for those who know their inside"),
        )
        set_tool_tip(self.follow, _("Keep the newest line in view"))
        set_tool_tip(self.copy, _("Copy the selected lines, or all that are shown"))
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(label(_("Log"), "page"))
        head.addStretch()
        head.addWidget(self.copy)
        head.addWidget(self.folder)
        filters = QHBoxLayout()
        filters.setSpacing(8)
        filters.addWidget(self.text, 1)
        for control in (self.level, self.source, self.libraries, self.follow):
            filters.addWidget(control)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 24)
        column.setSpacing(12)
        column.addLayout(head)
        column.addLayout(filters)
        column.addWidget(self.table, 1)
        column.addWidget(self.details)

    def _connect(self, actions: Actions) -> None:
        self.text.textChanged.connect(self._filter)
        self.level.currentIndexChanged.connect(self._filter)
        self.source.currentIndexChanged.connect(self._filter)
        self.libraries.toggled.connect(self._filter)
        self.follow.toggled.connect(self._follow_now)
        self.copy.clicked.connect(self.copy_lines)
        self.folder.clicked.connect(actions.open_log_folder)
        self.table.selectionModel().currentRowChanged.connect(self._show_details)
        # emitted when the user scrolls, not when `scrollToBottom` does
        self.table.verticalScrollBar().actionTriggered.connect(self._on_scroll)
        self._timer.timeout.connect(self._refresh)
        shortcut = QAction(self.table, shortcut=QKeySequence(QKeySequence.StandardKey.Copy))
        shortcut.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        shortcut.triggered.connect(self.copy_lines)
        self.table.addAction(shortcut)

    # --- new lines

    def _on_line(self, line: LogLine) -> None:
        self._stale = True

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._refresh()
        self._timer.start()

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def _refresh(self) -> None:
        if not self._stale:
            return
        self._stale = False  # before reading, so that a line logged meanwhile isn't missed
        self.model.update(self._ring.lines())
        self._follow_now()

    def _follow_now(self) -> None:
        if self.follow.isChecked():
            self.table.scrollToBottom()

    def _on_scroll(self) -> None:
        bar = self.table.verticalScrollBar()
        self.follow.setChecked(bar.sliderPosition() >= bar.maximum())

    # --- filter, details, copy

    def _filter(self) -> None:
        chosen = LogFilter(
            level=self.level.currentData(),
            source=self.source.currentData(),
            text=self.text.text().strip(),
            libraries=self.libraries.isChecked(),
        )
        self.model.set_filter(chosen)
        self.details.hide()
        self._follow_now()

    def _show_details(self) -> None:
        row = self.table.currentIndex().row()
        self.details.setVisible(row >= 0)
        if row >= 0:
            self.follow.setChecked(False)  # the line being read must stay in view
            text = several_lines(self.model.line(row).text, most=MOST_OF_A_LINE)
            self.details.setPlainText(text)

    def copy_lines(self) -> None:
        """Copy the selected lines to the clipboard, or all shown lines if none is selected."""
        rows = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        chosen = rows or range(self.model.rowCount())
        QGuiApplication.clipboard().setText(as_text([self.model.line(row) for row in chosen]))

    def close_log(self) -> None:
        """Unsubscribe from the log. May be called twice."""
        self._timer.stop()
        self._lines.close()


def _text_filter() -> QLineEdit:
    made = QLineEdit()
    made.setPlaceholderText(_("Filter by text"))
    made.setAccessibleName(_("Filter by text"))
    made.setClearButtonEnabled(True)
    return made


def _level_filter() -> Choice:
    made = Choice()
    made.setAccessibleName(_("Lowest level shown"))
    for level in LEVELS:
        text = _("{level} and above").format(level=texts.level_name(level))
        made.addItem(_("All levels") if level == LEVELS[0] else text, level)
    return made


def _source_filter() -> Choice:
    made = Choice()
    made.setAccessibleName(_("Source shown"))
    made.addItem(_("All sources"), "")
    for source in SOURCES:
        made.addItem(texts.log_source(source), source)
    return made


def _table(model: LogModel) -> QTableView:
    made = QTableView()
    made.setModel(model)
    made.setAccessibleName(_("Log lines"))
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    made.setTabKeyNavigation(False)  # Tab leaves the table, as everywhere else
    made.setWordWrap(False)
    made.setShowGrid(False)
    made.verticalHeader().hide()
    made.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    made.verticalHeader().setDefaultSectionSize(made.fontMetrics().height() + 8)
    header = made.horizontalHeader()
    header.setStretchLastSection(True)
    header.setHighlightSections(False)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    for column, words in enumerate(_COLUMNS):
        made.setColumnWidth(column, made.fontMetrics().horizontalAdvance(words) + 32)
    return made


def _details() -> QPlainTextEdit:
    made = QPlainTextEdit()
    made.setReadOnly(True)
    made.setTabChangesFocus(True)
    made.setAccessibleName(_("The selected line in full"))
    made.setFixedHeight(104)
    made.hide()
    return made
