"""The machines page: totals, a table of all machines, and the selected machine in detail."""

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QItemSelection, QItemSelectionModel, QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from app.common.i18n import _, ngettext
from app.common.paths import write_atomically
from app.common.plain import one_line
from app.common.subscription import Subscription
from app.swarm.fleet import FleetTotals, Machine, labs, totals
from app.swarm.fleet_table import as_csv
from ui.models.rows_model import RowsModel
from ui.models.session_model import SessionModel
from ui.pages.machines import columns as machine_columns
from ui.pages.machines.commands import CommandButton, CommandMachines
from ui.pages.machines.details import MachineDetails
from ui.style.plain import control_text, set_tool_tip
from ui.style.theme import Theme
from ui.texts import fleet as fleet_texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.card import Card
from ui.widgets.choice import Choice
from ui.widgets.empty_state import EmptyState
from ui.widgets.labels import ElidedLabel, label
from ui.widgets.lazy import Lazy
from ui.widgets.save_dialog import ask_where_to_save
from ui.widgets.table import table

REFRESH_SECONDS = 1.0
LOOK_MS = 250
"""How often the page checks for new machines, which it shows without waiting for the refresh."""


class MachinesPage(QWidget):
    """Shows the session's fleet, which is read from the swarm only while the page is visible."""

    def __init__(self, model: SessionModel, theme: Theme, command: CommandMachines) -> None:
        super().__init__()
        self.setObjectName("page")
        self._session_model = model
        self._machines = model.session.machines
        fleet = self._machines.fleet
        self._is_own: Callable[[Machine], bool] = lambda machine: (
            machine.public_key == self._machines.public_key
        )
        self.text, self.lab = _text_filter(), _lab_filter()
        self.export = button(_("Export…"))
        self.totals = FleetTotalCards()
        self.model: RowsModel[Machine] = RowsModel(
            machine_columns.columns(fleet, theme, is_own=self._is_own),
            identity=lambda machine: machine.public_key,
            parent=self,
        )
        self.table = table(self.model, theme, name=_("Machines"), stretched=3, padding=18)
        self.command = CommandButton(self.table, self.model, command, is_own=self._is_own)
        self._lazy_details = Lazy(lambda: self._build_details(theme))
        self._chosen: tuple[str, ...] = ()
        self.empty = EmptyState("machines", theme)
        self.publish = QCheckBox()
        self.note = ElidedLabel(role="small")
        self._watching = Subscription()
        self._timer = QTimer(self, interval=LOOK_MS)
        self._refreshed, self._count = 0.0, 0
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(label(_("Machines"), "page"))
        head.addStretch()
        for control in (self.text, self.lab, self.command, self.export):
            head.addWidget(control)
        foot = QHBoxLayout()
        foot.setSpacing(16)
        foot.addWidget(self.note, 1)
        foot.addWidget(self.publish)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 12)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self.totals)
        column.addWidget(self.empty, 1)
        column.addWidget(self.table, 3)
        column.addWidget(self._lazy_details, 2)
        column.addLayout(foot)
        self._lazy_details.hide()
        set_tool_tip(
            self.publish,
            _(
                "The swarm sees this machine's alias, device, state, rates and"
                " temperature; never the computer's or the user's name."
            ),
        )

    def _connect(self) -> None:
        self.text.textChanged.connect(self._filter)
        self.lab.currentIndexChanged.connect(self._filter)
        self.export.clicked.connect(self._choose_file)
        self.publish.clicked.connect(self._publish)
        self.table.selectionModel().selectionChanged.connect(self._choose)
        self.model.modelReset.connect(self._select_again)
        self._timer.timeout.connect(self._look)

    def _build_details(self, theme: Theme) -> MachineDetails:
        made = MachineDetails(self._session_model, theme)
        made.close_button.clicked.connect(self.table.selectionModel().clear)
        return made

    @property
    def details(self) -> MachineDetails:
        """The selected machine's details; built when first needed, since plots take long."""
        return self._lazy_details.widget

    # --- only while the page is visible

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watching = self._machines.watch()
        self.refresh()
        self._timer.start()

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()
        self._watching.close()

    def _look(self) -> None:
        due = time.monotonic() - self._refreshed >= REFRESH_SECONDS
        if due or len(self._machines.fleet) != self._count:
            self.refresh()

    def refresh(self) -> None:
        """Show the newest records of all machines."""
        self._refreshed, self._count = time.monotonic(), len(self._machines.fleet)
        inside = self._session_model.state.swarm is not None
        machines = self._machines.fleet.machines(time.time()) if inside else []
        self._show_labs(labs(machines))
        self.model.show_rows(machines)
        self.totals.show_totals(totals(machines))
        self._show_empty(any_machine=bool(machines))
        self.note.set_full(fleet_texts.dropped_records(self._machines.fleet.dropped))
        self._show_own()
        self._show_details()

    def _show_empty(self, *, any_machine: bool) -> None:
        self.empty.setVisible(not any_machine)
        self.table.setVisible(any_machine)
        self.totals.setVisible(any_machine)
        self.export.setEnabled(any_machine)
        if any_machine:
            return
        if self._session_model.state.swarm is None:
            title = _("No swarm yet")
            text = _("Join a swarm on the overview page: its machines are then listed here.")
        else:
            title = _("No machine has shown itself yet")
            text = _(
                "Each contributor's app publishes a line about its machine every few seconds,"
                " unless its owner has switched that off. The first ones appear within seconds."
            )
        self.empty.say(title, text)

    def _show_own(self) -> None:
        alias = self._machines.alias
        text = _("Show this machine to the swarm as {alias}").format(alias=alias)
        self.publish.setText(control_text(text) if alias else _("Show this machine to the swarm"))
        self.publish.setChecked(self._machines.publishing)

    def _show_labs(self, names: list[str]) -> None:
        shown = [self.lab.itemData(place) for place in range(1, self.lab.count())]
        if shown == names:
            return
        chosen = self.lab.currentData()
        self.lab.blockSignals(True)
        while self.lab.count() > 1:
            self.lab.removeItem(1)
        for name in names:
            self.lab.addItem(one_line(name), name)
        self.lab.setCurrentIndex(max(0, self.lab.findData(chosen)))
        self.lab.blockSignals(False)
        self._filter()

    # --- filter and selection

    def _filter(self) -> None:
        wanted = machine_columns.filter_for(self.text.text().strip(), self.lab.currentData() or "")
        self.model.filter_rows(wanted)

    def _choose(self) -> None:
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        now = dict.fromkeys(self.model.shown[row].public_key for row in rows)
        # those of before stay first, so that a curve keeps its colour
        self._chosen = tuple(dict.fromkeys((*filter(now.__contains__, self._chosen), *now)))
        self._show_details()

    def _select_again(self) -> None:
        """Select the same machines again after others appeared or disappeared."""
        chosen, selection = self._chosen, QItemSelection()
        for place, machine in enumerate(self.model.shown):
            if machine.public_key in chosen:
                index = self.model.index(place, 0)
                selection.select(index, index)
        flags, indexes = QItemSelectionModel.SelectionFlag, selection.indexes()
        if indexes:
            model = self.table.selectionModel()
            if not self.table.currentIndex().isValid():
                model.setCurrentIndex(indexes[0], flags.NoUpdate)
            model.select(selection, flags.Select | flags.Rows)
        self._chosen = chosen  # also those that a filter hides now
        self._show_details()

    def _show_details(self) -> None:
        shown = {each.public_key: each for each in self.model.shown} if self._chosen else {}
        machines = [shown[key] for key in self._chosen if key in shown]
        self._lazy_details.setVisible(bool(machines))
        if machines:
            self.details.show_machines(machines, self._machines.public_key)

    # --- what the user does

    def _publish(self, checked: bool) -> None:
        session = self._session_model.session
        self._session_model.run(session.change_settings({"publish_machine": checked}))

    def _choose_file(self) -> None:
        ask_where_to_save(
            self,
            _("Export the machines"),
            name="machines.csv",
            kinds={
                "csv": _("What is shown now (*.csv)"),
                "parquet": _("Their figures over time (*.parquet)"),
            },
            save=self.export_to,
        )

    def export_to(self, path: Path) -> None:
        """Write the shown machines to a CSV file, in the order of the table; or to a Parquet file
        what all have told over time."""
        if path.suffix.lower() == ".parquet":
            self._session_model.run(self._session_model.session.archive.export(path))
        else:
            self._session_model.run(_write(path, list(self.model.shown)))


async def _write(path: Path, machines: list[Machine]) -> None:
    import asyncio

    def work() -> None:
        # without this byte order mark, spreadsheets assume the system's old encoding
        write_atomically(path, as_csv(machines).encode("utf-8-sig"), mode=0o644)

    try:
        await asyncio.to_thread(work)
    except OSError as error:
        from app.common.errors import UserFacingError

        raise UserFacingError(
            _("the file can't be written: {reason}.").format(reason=error.strerror),
            field=str(path),
            remedy=_("Choose another folder."),
        ) from error


class FleetTotalCards(QWidget):
    """Four cards with totals over all machines."""

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        self.machines, self.rate = _TotalCard(_("machines")), _TotalCard(_("samples/s together"))
        self.power, self.concerns = _TotalCard(_("power drawn now")), _TotalCard(_("need a look"))
        for card in (self.machines, self.rate, self.power, self.concerns):
            row.addWidget(card, 1)

    def show_totals(self, totals: FleetTotals) -> None:
        """Show new totals."""
        self.machines.value.setText(units.count(totals.machines))
        what = ngettext(  # by the number above; {count} is another one
            "machine, {count} training", "machines, {count} training", totals.machines
        )
        self.machines.what.setText(what.format(count=units.count(totals.training)))
        self.rate.value.setText(units.rate(totals.samples_per_second or None))
        self.power.value.setText(fleet_texts.power(totals.power or None))
        self.concerns.value.setText(units.count(totals.need_a_look))


class _TotalCard(Card):
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.value, self.what = label(units.NONE, "page"), label(what, "muted")
        self.column.setSpacing(0)
        self.column.setContentsMargins(16, 8, 16, 8)
        self.column.addWidget(self.value)
        self.column.addWidget(self.what)


def _text_filter() -> QLineEdit:
    made = QLineEdit()
    made.setPlaceholderText(_("Filter by name, lab or device"))
    made.setAccessibleName(_("Filter by name, lab or device"))
    made.setClearButtonEnabled(True)
    made.setMinimumWidth(made.fontMetrics().horizontalAdvance(made.placeholderText()) + 56)
    return made


def _lab_filter() -> Choice:
    made = Choice()
    made.setAccessibleName(_("Lab shown"))
    made.addItem(_("All labs"), "")
    made.setSizeAdjustPolicy(Choice.SizeAdjustPolicy.AdjustToContents)
    return made
