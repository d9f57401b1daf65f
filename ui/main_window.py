"""The window: navigation, pages, menus. It holds no business of its own."""

from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QWidget
from typing_extensions import override

from app.i18n import _
from app.logs import RingBuffer
from ui import texts
from ui.actions import Actions
from ui.icons import app_icon
from ui.menus import Menus
from ui.pages.log import LogPage
from ui.pages.overview import Overview
from ui.preferences import Preferences
from ui.session_model import SessionModel
from ui.theme import Theme
from ui.widgets.sidebar import Page, Sidebar


class MainWindow(QMainWindow):
    """``painted``: the first picture is on the screen. ``close_wanted``: the user closes the
    window; it stays until `close_now`, since the trainer saves its work first.
    ``local_api_wanted``: the user wants to see how programs reach us."""

    painted = Signal()
    close_wanted = Signal()
    local_api_wanted = Signal()

    def __init__(
        self, model: SessionModel, actions: Actions, theme: Theme, ring: RingBuffer
    ) -> None:
        super().__init__()
        self._actions = actions
        self._was_painted = False
        self._closing = False
        self._may_close = False
        self.overview = Overview(model, actions, theme)
        self.log = LogPage(ring, actions, theme)
        self.pages = (
            Page(title=_("Overview"), icon="overview", widget=self.overview),
            Page(title=_("Log"), icon="log", widget=self.log),
        )
        self.sidebar = Sidebar(self.pages, theme)
        self.stack = QStackedWidget()
        self._menus = Menus(
            self,
            actions,
            Preferences(model, theme),
            self.pages,
            open_page=self.open_page,
            open_local_api=self.local_api_wanted.emit,
        )
        self._lay_out()
        self.sidebar.chosen.connect(self.open_page)
        self.sidebar.local_api.clicked.connect(self.local_api_wanted)
        model.changed.connect(self._menus.show_state)
        model.changed.connect(lambda state: self.sidebar.show_local_api(state.local_api))
        self._menus.show_state(model.state)
        self.open_page(0)
        self.setFocus()  # no control has it, until the user takes one with Tab

    def _lay_out(self) -> None:
        self.setWindowTitle(f"{texts.PRODUCT} {texts.PRODUCT_KIND}")
        self.setWindowIcon(app_icon())
        self.setAcceptDrops(True)
        self.resize(1280, 800)
        self.setMinimumSize(960, 600)
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.sidebar)
        row.addWidget(self.stack, 1)
        for page in self.pages:
            self.stack.addWidget(page.widget)
        self.setCentralWidget(middle)

    def open_page(self, index: int) -> None:
        """Show a page."""
        self.stack.setCurrentIndex(index)
        self.sidebar.mark(index)

    # --- swarm files dropped onto the window

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        files = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if files and not self._closing:
            self._actions.join_file(Path(files[0]))

    # --- first paint and end

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._was_painted:
            self._was_painted = True
            # children paint within this same event: when the timer fires, all of it is there
            QTimer.singleShot(0, self.painted.emit)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if self._may_close:
            event.accept()
            return
        event.ignore()
        if self._closing:
            self.hide()  # asked twice: out of sight at once, the work is saved all the same
        self.close_wanted.emit()

    def show_closing(self) -> None:
        """Say that the app ends, and let nothing be clicked any more."""
        self._closing = True
        self.open_page(0)
        self.overview.show_closing()
        self.menuBar().setEnabled(False)
        self.sidebar.setEnabled(False)

    def close_now(self) -> None:
        """Close for good."""
        self._may_close = True
        self.log.close_log()
        self.close()
