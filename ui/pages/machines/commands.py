"""The button that commands the selected machines, or all that are shown if none is selected."""

from collections.abc import Callable, Sequence

from PySide6.QtWidgets import QAbstractItemView, QPushButton, QTableView

from app.common.i18n import _
from app.lab.admin import reachable
from app.swarm.fleet import Machine
from ui.models.rows_model import RowsModel

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

    def chosen(self) -> list[Machine]:
        """Those that can be called, in the order of the table."""
        places = {index.row() for index in self._table.selectionModel().selectedRows()}
        shown = self._rows.shown
        found = [shown[place] for place in sorted(places)] if places else shown
        return [each for each in found if reachable(each) and not self._is_own(each)]

    def _open(self) -> None:
        if machines := self.chosen():
            self._command(machines)
