"""The tab for the swarms that the user joined before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from app.common.i18n import _
from app.common.plain import one_line
from ui.style.plain import set_tool_tip
from ui.texts import specs as spec_texts
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec
    from app.swarm.recents import Recent


class RecentSwarms(QWidget):
    """A list of swarms; the dialog loads it."""

    chosen = Signal(object)
    """Carries the `SwarmSpec` that the user chose."""

    forgotten = Signal(str)
    """Carries the run id of a swarm to remove from the list."""

    def __init__(self) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setAccessibleName(_("Swarms that you joined"))
        self.empty = label(
            _("None yet. The swarms that you join are listed here, so that you find them again."),
            "muted",
            wrap=True,
        )
        self.view = button(_("View"), "primary")
        self.forget = button(_("Forget"))
        set_tool_tip(self.forget, _("Take it off the list; checkpoints stay"))
        self._lay_out()
        self._connect()
        self.show_recents(())

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.forget)
        buttons.addWidget(self.view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self.empty, 0, Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.list, 1)
        column.addLayout(buttons)

    def _connect(self) -> None:
        self.list.itemActivated.connect(lambda _item: self._choose())
        self.list.itemSelectionChanged.connect(self._enable)
        self.view.clicked.connect(self._choose)
        self.forget.clicked.connect(self._forget)
        removes = QAction(self.list, shortcut=QKeySequence(QKeySequence.StandardKey.Delete))
        removes.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        removes.triggered.connect(self._forget)
        self.list.addAction(removes)

    def show_recents(self, recents: "Sequence[Recent]") -> None:
        """Replace the list."""
        self.list.clear()
        for recent in recents:
            item = QListWidgetItem(_words(recent))
            item.setData(Qt.ItemDataRole.UserRole, recent.spec)
            self.list.addItem(item)
        self.list.setCurrentRow(0 if recents else -1)
        self.empty.setVisible(not recents)
        for part in (self.list, self.view, self.forget):
            part.setVisible(bool(recents))
        self._enable()

    def _enable(self) -> None:
        some = self._spec() is not None
        self.view.setEnabled(some)
        self.forget.setEnabled(some)

    def _spec(self) -> "SwarmSpec | None":
        item, some = self.list.currentItem(), self.list.currentRow() >= 0
        spec: SwarmSpec | None = item.data(Qt.ItemDataRole.UserRole) if some else None
        return spec

    def _choose(self) -> None:
        if (spec := self._spec()) is not None:
            self.chosen.emit(spec)

    def _forget(self) -> None:
        if (spec := self._spec()) is not None:
            self.forgotten.emit(spec.run_id)


def _words(recent: "Recent") -> str:
    title = one_line(recent.spec.name)
    details = texts.DOT.join(
        (
            spec_texts.model_name(recent.spec.model.model_type),
            recent.spec.run_id,
            _("joined {date}").format(date=units.date(recent.joined_at)),
        )
    )
    return f"{title}\n{one_line(details)}"
