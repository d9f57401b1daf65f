"""The main window: navigation, pages, menus. It has no logic beyond opening and closing them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.common.logs import RingBuffer
from app.state.state import ContributorState
from ui.dialogs.host import Dialogs, invite_in
from ui.models.actions import Actions
from ui.models.chart_choices import FILE_NAME as CHARTS_FILE
from ui.models.chart_choices import ChartChoices
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.models.summary_model import SummaryModel
from ui.pages.overview.page import Overview
from ui.shell.menus import Menus
from ui.shell.placement import FILE_NAME, Placement
from ui.shell.sidebar import Page, Sidebar
from ui.style.icons import app_icon
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.banner import Banner
from ui.widgets.lazy import Lazy

if TYPE_CHECKING:
    from ui.pages.contributions.page import ContributionsPage
    from ui.pages.devices.page import DevicesPage
    from ui.pages.log.page import LogPage
    from ui.pages.machines.page import MachinesPage
    from ui.pages.model.page import ModelPage
    from ui.pages.settings.page import SettingsPage
    from ui.pages.swarm.page import SwarmPage


class MainWindow(QMainWindow):
    """The window of the app. It stays open until `close_now`, since the trainer saves first."""

    painted = Signal()
    """The window was painted for the first time."""

    close_wanted = Signal()
    """The user closes the window; the app may go on in the tray."""

    quit_wanted = Signal()
    """The user wants to end the app."""

    local_api_wanted = Signal()
    """The user wants to see the local API's address and tokens."""

    def __init__(
        self,
        model: SessionModel,
        actions: Actions,
        theme: Theme,
        ring: RingBuffer,
        *,
        preferences: Preferences,
    ) -> None:
        super().__init__()
        self._was_painted = False
        self._closing = False
        self._may_close = False
        self.summary_model = SummaryModel(model)
        data = model.session.folders.data
        self._charts = ChartChoices(data / CHARTS_FILE)
        self.overview = Overview(model, actions, theme, self.summary_model, charts=self._charts)
        self.log = Lazy(lambda: _log_page(ring, actions, theme))
        self.swarm = Lazy(lambda: _swarm_page(model, actions, theme, self._charts))
        self.model = Lazy(lambda: _model_page(model, actions, theme, self.summary_model))
        self.devices = Lazy(lambda: _devices_page(model, actions, theme))
        self.contributions = Lazy(
            lambda: _contributions_page(model, actions, theme, self.summary_model)
        )
        self.machines = Lazy(lambda: _machines_page(self, model, theme))
        self.settings = Lazy(
            lambda: _settings_page(preferences, model, theme, self.local_api_wanted.emit)
        )
        self.pages = (
            Page(title=_("Overview"), icon="overview", widget=self.overview),
            Page(title=_("Swarm"), icon="swarm", widget=self.swarm),
            Page(title=_("Model"), icon="model", widget=self.model),
            Page(title=_("Devices"), icon="devices", widget=self.devices),
            Page(title=_("Contributions"), icon="contributions", widget=self.contributions),
            Page(title=_("Machines"), icon="machines", widget=self.machines),
            Page(title=_("Log"), icon="log", widget=self.log),
            Page(title=_("Settings"), icon="settings", widget=self.settings),
        )
        self.sidebar = Sidebar(self.pages, theme)
        self.banner = Banner(theme)
        self._above = QWidget()
        self.stack = QStackedWidget()
        self.dialogs = Dialogs(self, model, actions, theme, preferences)
        self._menus = Menus(
            self,
            actions,
            preferences,
            self.pages,
            open_page=self.open_page,
            open_local_api=self.local_api_wanted.emit,
            quit_app=self.quit_wanted.emit,
        )
        self._placement = Placement(data / FILE_NAME, [page.icon for page in self.pages])
        self._lay_out()
        self._first_page = self._placement.restore(self)
        self._connect(actions)
        model.changed.connect(self._show_state)
        self._show_state(model.state)
        self.open_page(0)
        self.setFocus()  # no control has the focus until the user presses Tab

    def _connect(self, actions: Actions) -> None:
        self.banner.dismiss.clicked.connect(actions.dismiss_problem)
        self.banner.check.clicked.connect(actions.check_wanted)
        self.sidebar.chosen.connect(self.open_page)
        self.sidebar.local_api.clicked.connect(self.local_api_wanted)
        actions.terms_wanted.connect(lambda: self.open_page(self._index_of(self.settings)))

    def _lay_out(self) -> None:
        self.setWindowTitle(f"{texts.PRODUCT} {texts.PRODUCT_KIND}")
        self.setWindowIcon(app_icon())
        self.setAcceptDrops(True)
        room = self.screen().availableSize()  # little at a scale of 200 %
        self.resize(QSize(1280, 800).boundedTo(room))
        self.setMinimumSize(QSize(960, 600).boundedTo(room))
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.sidebar)
        row.addLayout(self._page_below_banner(), 1)
        for page in self.pages:
            self.stack.addWidget(page.widget)
        self.setCentralWidget(middle)

    def _page_below_banner(self) -> QVBoxLayout:
        """A problem is told on each page, since any of them may have caused it."""
        above = QVBoxLayout(self._above)
        above.setContentsMargins(24, 16, 24, 0)
        above.addWidget(self.banner)
        column = QVBoxLayout()
        column.setSpacing(0)
        column.addWidget(self._above)
        column.addWidget(self.stack, 1)
        return column

    def _show_state(self, state: ContributorState) -> None:
        self._menus.show_state(state)
        self.banner.show_problem(state.problem)
        self._above.setVisible(state.problem is not None)  # with its margins
        self.sidebar.show_local_api(state.local_api)
        self.sidebar.show_release(state.release)

    def _index_of(self, widget: QWidget) -> int:
        return [page.widget for page in self.pages].index(widget)

    def open_page(self, index: int) -> None:
        """Show a page."""
        self.stack.setCurrentIndex(index)
        self.sidebar.mark(index)

    # --- invites dropped onto the window

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if invite_in(event.mimeData()):
            event.acceptProposedAction()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self.dialogs.join(invite_in(event.mimeData()))

    # --- first paint, completion and end

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._was_painted:
            self._was_painted = True
            # children are painted within this same event, so they are done when the timer fires
            QTimer.singleShot(0, self.painted.emit)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if self._may_close:
            event.accept()
            return
        event.ignore()
        if self._closing:
            self.hide()  # closed a second time: hide at once, the checkpoint is saved anyway
        self.close_wanted.emit()

    async def complete(self) -> None:
        """Import the other pages and build the charts, so that the first click doesn't wait."""
        await asyncio.to_thread(_import_pages)
        self.overview.charts.build()  # plots take the longest; they are shown once we join
        self.overview.happened.build()
        if self.stack.currentIndex() == 0:  # unless the user was faster
            self.open_page(self._first_page)

    def show_closing(self) -> None:
        """Say that the app is closing, and disable all controls."""
        self._closing = True
        self._placement.save(self, self.stack.currentIndex())
        self._charts.save()
        self.dialogs.close()
        self.summary_model.close()
        self.open_page(0)
        self.overview.show_closing()
        self.menuBar().setEnabled(False)
        self.sidebar.setEnabled(False)

    def close_now(self) -> None:
        """Close the window for good."""
        self._may_close = True
        self.dialogs.close()
        self.summary_model.close()
        if (log := self.log.built) is not None:
            log.close_log()
        self.close()


def _import_pages() -> None:
    """Import the modules of the lazy pages; pyqtgraph takes the longest."""
    import ui.pages.contributions.page
    import ui.pages.devices.page
    import ui.pages.log.page
    import ui.pages.machines.page
    import ui.pages.model.page
    import ui.pages.settings.page
    import ui.pages.swarm.page  # noqa: F401


def _swarm_page(
    model: SessionModel, actions: Actions, theme: Theme, charts: ChartChoices
) -> "SwarmPage":
    from ui.pages.swarm.page import SwarmPage

    return SwarmPage(model, actions, theme, charts)


def _model_page(
    model: SessionModel, actions: Actions, theme: Theme, summary_model: SummaryModel
) -> "ModelPage":
    from ui.pages.model.page import ModelPage

    return ModelPage(model, actions, theme, summary_model)


def _contributions_page(
    model: SessionModel, actions: Actions, theme: Theme, summary_model: SummaryModel
) -> "ContributionsPage":
    from ui.pages.contributions.page import ContributionsPage

    return ContributionsPage(model, actions, theme, summary_model)


def _machines_page(window: MainWindow, model: SessionModel, theme: Theme) -> "MachinesPage":
    from ui.dialogs.lab.dialog import LabDialog
    from ui.pages.machines.page import MachinesPage

    return MachinesPage(model, theme, lambda machines: LabDialog(model, window, machines).open())


def _log_page(ring: RingBuffer, actions: Actions, theme: Theme) -> "LogPage":
    from ui.pages.log.page import LogPage

    return LogPage(ring, actions, theme)


def _settings_page(
    preferences: Preferences, model: SessionModel, theme: Theme, open_local_api: Callable[[], None]
) -> "SettingsPage":
    from ui.pages.settings.page import SettingsPage
    from ui.pages.settings.terms import TermsSection

    return SettingsPage(
        preferences,
        model.session.folders,
        terms=TermsSection(model, preferences, theme),
        open_local_api=open_local_api,
    )


def _devices_page(model: SessionModel, actions: Actions, theme: Theme) -> "DevicesPage":
    from ui.pages.devices.page import DevicesPage

    return DevicesPage(model, actions, theme)
