"""The button that commands the selected machines, or all that are shown if none is selected."""

from collections.abc import Callable, Sequence

from PySide6.QtWidgets import QAbstractItemView, QPushButton, QTableView

from app.common.i18n import _
from app.lab.admin import reachable
from app.swarm.fleet import Machine
from ui.models.rows_model import RowsModel
from ui.widgets.buttons import allow

CommandMachines = Callable[[Sequence[Machine]], None]
"""Opens the dialog for it."""


class CommandButton(QPushButton):
    """Lets several rows of a table be selected, and opens the dialog for them.

    is_own: whether a machine is the one that the app runs on, which has buttons of its own.
    """

    def __init__(
        self,
        table: QTableView,
        rows: RowsModel[Machine],
        command: CommandMachines,
        *,
        is_own: Callable[[Machine], bool],
    ) -> None:
        super().__init__(_("Command…"))
        self.setProperty("kind", "plain")
        self._table = table
        self._rows = rows
        self._command = command
        self._is_own = is_own
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.clicked.connect(self._open)
        table.selectionModel().selectionChanged.connect(self._enable)
        for changed in (rows.dataChanged, rows.layoutChanged, rows.modelReset):
            changed.connect(self._enable)
        self._enable()

    def chosen(self) -> list[Machine]:
        """Those that can be called, in the order of the table."""
        shown, places = self._rows.shown, self._selected()
        found = [shown[place] for place in places] if places else shown
        return [each for each in found if reachable(each) and not self._is_own(each)]

    def _selected(self) -> list[int]:
        return sorted({index.row() for index in self._table.selectionModel().selectedRows()})

    def _enable(self) -> None:
        allow(self, why_not="" if self.chosen() else self._why_not())

    def _why_not(self) -> str:
        if self._selected():
            return _(
                "None of the selected machines can be commanded: this one has buttons of its own,"
                " and others must be in the swarm."
            )
        return _("No other machine is listed that could be commanded.")

    def _open(self) -> None:
        if machines := self.chosen():
            self._command(machines)
