"""Form fields: a caption, a control, and below it a hint or what is wrong with the value."""

from collections.abc import Mapping, Sequence

from PySide6.QtCore import Signal, SignalInstance
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from app.common.errors import UserFacingError
from ui.texts.states import sentences
from ui.widgets.choice import Choice
from ui.widgets.labels import label, restyle

Control = QLineEdit | Choice | QCheckBox | QPlainTextEdit

COLUMNS = 2

NARROW = 560
"""Pixels. A form that has less is in one column."""

LINES_HEIGHT = 76
COMBO_WIDTH = 120
"""Pixels that a combo box takes at least, however long its entries are: a screen may be narrow."""

CHECK_INDENT = 32
"""Pixels from a check box's edge to its text; the hint below is indented as far."""


class Field(QWidget):
    """One value of a form, read and set as text whatever the control is."""

    edited = Signal()
    """The value changed, by the user or by `set_value`."""

    def __init__(self, caption: str, control: Control, hint: str = "") -> None:
        super().__init__()
        self.relevant = True
        """Whether the value matters, given the form's other values. `FieldGrid` hides it if not."""
        self.caption = label(caption, "strong")
        self.control = control
        self.hint = label(hint, "small", wrap=True)
        self.error = error_label()
        control.setAccessibleName(caption)
        self._lay_out()
        self.set_hint(hint)
        self._connect()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        if isinstance(self.control, QCheckBox):
            for below in (self.error, self.hint):
                below.setIndent(CHECK_INDENT)
        else:
            if isinstance(self.control, Choice):
                self.control.setMinimumWidth(COMBO_WIDTH)
            self.caption.setBuddy(self.control)
            column.addWidget(self.caption)
        column.addWidget(self.control)
        column.addWidget(self.error)
        column.addWidget(self.hint)
        column.addStretch()

    def _connect(self) -> None:
        match self.control:
            case QLineEdit():
                self.control.textChanged.connect(self.edited)
            case Choice():
                self.control.currentIndexChanged.connect(self.edited)
            case QCheckBox():
                self.control.toggled.connect(self.edited)
            case QPlainTextEdit():
                self.control.textChanged.connect(self.edited)

    @property
    def value(self) -> str:
        """The text; the key of a combo box's entry; of a check box ``true``, or "" if unchecked."""
        match self.control:
            case QLineEdit():
                return self.control.text()
            case Choice():
                return str(self.control.currentData())
            case QCheckBox():
                return "true" if self.control.isChecked() else ""
            case QPlainTextEdit():
                return self.control.toPlainText()

    @property
    def committed(self) -> SignalInstance:
        """Like ``edited``, but for a line of text only once the user leaves it or hits Return."""
        if isinstance(self.control, QLineEdit):
            return self.control.editingFinished
        return self.edited

    def set_hint(self, hint: str) -> None:
        """Set the hint below the control."""
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        self.control.setAccessibleDescription(hint)

    def set_value(self, value: str) -> None:
        """Set the value, in the form that `value` returns."""
        match self.control:
            case QLineEdit():
                self.control.setText(value)
            case Choice():
                self.control.setCurrentIndex(self.control.findData(value))
            case QCheckBox():
                self.control.setChecked(value == "true")
            case QPlainTextEdit():
                self.control.setPlainText(value)

    def show_problem(self, error: UserFacingError | None) -> None:
        """Show what is wrong with the value instead of the hint; None shows the hint again."""
        self.show_wrong("" if error is None else sentences(error))

    def show_wrong(self, text: str) -> None:
        """As `show_problem`, in words; "" shows the hint again."""
        show_error(self.error, text)
        self.hint.setVisible(bool(self.hint.text()) and not text)
        restyle(self.control, "wrong", "true" if text else "false")
        self.control.setAccessibleDescription(text or self.hint.text())


class FieldGrid(QWidget):
    """Fields in columns, or in one where there is little room; irrelevant fields are hidden and
    leave no gaps."""

    def __init__(self, fields: Sequence[Field], *, columns: int = COLUMNS) -> None:
        super().__init__()
        self._fields = fields
        self._most_columns = self._columns = columns
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(12)
        for field in fields:
            field.setParent(self)
        self.arrange()

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        columns = 1 if self.width() < NARROW else self._most_columns
        if columns != self._columns:
            self._columns = columns
            self.arrange()

    def arrange(self) -> None:
        """Place the relevant fields, and hide the others."""
        for field in self._fields:
            self._grid.removeWidget(field)
            field.setVisible(field.relevant)
        for column in range(self._most_columns):
            self._grid.setColumnStretch(column, int(column < self._columns))
        shown = [field for field in self._fields if field.relevant]
        for index, field in enumerate(shown):
            self._grid.addWidget(field, index // self._columns, index % self._columns)


def line_edit(name: str = "") -> QLineEdit:
    """A line of text. name: for screen readers, if no `Field` gives it one."""
    made = QLineEdit()
    made.setAccessibleName(name)
    return made


def combo_box(words: Mapping[str, str]) -> Choice:
    """A combo box. words: the text of each entry, by its key."""
    made = Choice()
    for key, text in words.items():
        made.addItem(text, key)
    return made


def text_area(placeholder: str) -> QPlainTextEdit:
    """A field for several lines of text."""
    made = QPlainTextEdit()
    made.setTabChangesFocus(True)
    made.setPlaceholderText(placeholder)
    made.setFixedHeight(LINES_HEIGHT)
    return made


def error_label() -> QLabel:
    """A label for an error; hidden while there is none. Set it with `show_error`."""
    made = label(role="error", wrap=True)
    made.hide()
    return made


def show_error(place: QLabel, text: str) -> None:
    """Show an error in a label; "" hides the label."""
    place.setText(text)
    place.setAccessibleName(text)
    place.setVisible(bool(text))
