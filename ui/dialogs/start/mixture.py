"""The parts of a mixture in the form: rows that are added and removed."""

import math
from collections.abc import Mapping

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.common.i18n import _
from app.spec.form.names import LEAST_PARTS, MOST_PARTS, PART_DEFAULTS, part_name
from ui.dialogs.start.sources import choice, paths, plain_sources, source_options, text
from ui.texts import units
from ui.widgets.buttons import allow, button
from ui.widgets.forms.fields import Field, FieldGrid
from ui.widgets.labels import label, line


class MixtureRow(QWidget):
    """A part of a mixture."""

    def __init__(self) -> None:
        super().__init__()
        options = source_options() | {"paths": paths()}
        self.fields: dict[str, Field] = {
            "data.source": choice(_("Source"), plain_sources()),
            "weight": text(_("Weight"), _("In proportion to those of the others")),
            **{f"data.{name}": field for name, field in options.items()},
        }
        """By their names in `PART_DEFAULTS`."""
        self.title = label(role="strong")
        self.remove = button(_("Remove"), "quiet")
        self.remove.setAutoDefault(False)
        self.grid = FieldGrid(tuple(self.fields.values()))
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(self.remove)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(line())
        column.addLayout(head)
        column.addWidget(self.grid)
        for name, value in PART_DEFAULTS.items():
            self.fields[name].set_value(value)

    @property
    def weight(self) -> float:
        """As far as it is one; NaN otherwise."""
        try:
            weight = float(self.fields["weight"].value)
        except ValueError:
            return math.nan
        return weight if 0 < weight < math.inf else math.nan

    def show_place(self, number: int, share: float) -> None:
        """Say which part it is, counted from 1, and its share of the samples; NaN if unknown."""
        name = _("Source {number}").format(number=units.count(number))
        if not math.isnan(share):
            name = _("Source {number}: {percent} of the samples").format(
                number=units.count(number), percent=units.percent(share, 1)
            )
        self.title.setText(name)
        self.setAccessibleName(name)
        text = _("Remove source {number}").format(number=units.count(number))
        self.remove.setAccessibleName(text)


class MixtureRows(QWidget):
    """All parts of a mixture, two at least."""

    edited = Signal()
    """A value changed."""

    changed = Signal()
    """There are other rows, or one has another source."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[MixtureRow] = []
        self.add = button(_("Add a source"))
        self.add.setAutoDefault(False)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(12)
        self._column.addWidget(self.add, 0, Qt.AlignmentFlag.AlignLeft)
        self.add.clicked.connect(self._add_by_hand)
        self._insert({"data.source": "builtin"})
        self._insert({})

    @property
    def fields(self) -> dict[str, Field]:
        """Of all rows, by their names in `app.spec.form.names`."""
        return {
            part_name(number, name): field
            for number, row in enumerate(self.rows)
            for name, field in row.fields.items()
        }

    def arrange(self) -> None:
        """Show the fields that are relevant, and hide the others."""
        for row in self.rows:
            row.grid.arrange()

    def _add_by_hand(self) -> None:
        row = self._insert({})
        self.changed.emit()
        row.fields["data.source"].control.setFocus(Qt.FocusReason.OtherFocusReason)

    def _insert(self, values: Mapping[str, str]) -> MixtureRow:
        row = MixtureRow()
        for name, value in values.items():
            row.fields[name].set_value(value)
        for field in row.fields.values():
            field.edited.connect(self.edited)
        row.fields["weight"].edited.connect(self._show_places)
        row.fields["data.source"].edited.connect(self.changed)
        row.remove.clicked.connect(lambda: self._remove(row))
        self._column.insertWidget(len(self.rows), row)
        row.show()  # Qt would do so later, and what isn't shown takes no focus
        self._follow(row)
        self.rows.append(row)
        self._show_places()
        return row

    def _follow(self, row: MixtureRow) -> None:
        """Let the Tab key go through a new row, then to the button. Qt puts new widgets last."""
        before: QWidget = self.rows[-1].remove if self.rows else self
        controls = [field.control for field in row.fields.values()]
        for control in (*controls, row.remove, self.add):
            QWidget.setTabOrder(before, control)
            before = control

    def _remove(self, row: MixtureRow) -> None:
        place = self.rows.index(row)
        self.rows.remove(row)
        self._column.removeWidget(row)
        row.hide()
        row.deleteLater()
        self._show_places()
        self.changed.emit()
        after = self.rows[place].remove if place < len(self.rows) else self.add
        target = after if after.isEnabled() else self.add
        target.setFocus(Qt.FocusReason.OtherFocusReason)

    def _show_places(self) -> None:
        whole = sum(row.weight for row in self.rows)  # NaN where one isn't known
        for number, row in enumerate(self.rows, 1):
            row.show_place(number, row.weight / whole)
        least = _("A mixture has {count} sources at least").format(count=LEAST_PARTS)
        for row in self.rows:
            allow(row.remove, why_not=least if len(self.rows) <= LEAST_PARTS else "")
        most = _("A mixture has {count} sources at most").format(count=MOST_PARTS)
        allow(self.add, why_not=most if len(self.rows) >= MOST_PARTS else "")
