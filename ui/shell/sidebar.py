"""The sidebar: the product's name, a button for each page, and notes at the foot."""

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QButtonGroup, QSizePolicy, QVBoxLayout, QWidget

from app.common.i18n import _
from app.state.facts import LocalApi, Release
from ui.style.icons import ThemedIcon
from ui.style.plain import control_text, set_tool_tip
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.buttons import button
from ui.widgets.labels import label


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the window with its entry in the navigation."""

    title: str
    """Translated."""

    icon: str
    """Name of the icon's file in ``resources/icons``, without the ending."""

    widget: QWidget


class Sidebar(QWidget):
    """Buttons for the pages. The foot shows a newer version of the app and the local API's port."""

    chosen = Signal(int)
    """Carries the index of the page that the user chose."""

    def __init__(self, pages: Sequence[Page], theme: Theme) -> None:
        super().__init__()
        self.setObjectName("sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._group = QButtonGroup(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 20, 12, 20)
        column.setSpacing(2)
        for text, role in ((texts.PRODUCT, "product"), (texts.PRODUCT_KIND, "kind")):
            name = label(text, role)
            name.setContentsMargins(10, 0, 0, 0)
            column.addWidget(name)
        column.addSpacing(18)
        for index, page in enumerate(pages):
            self._add(index, page, theme)
        column.addStretch()
        self.release, self.local_api = button(kind="foot"), button(kind="foot")
        for each in (self.release, self.local_api):
            each.hide()
            column.addWidget(each)
        self._release_page = ""
        self.release.clicked.connect(self._open_release_page)
        self._group.idClicked.connect(self.chosen)

    def _add(self, index: int, page: Page, theme: Theme) -> None:
        one = button(f"  {page.title}", "nav")
        one.setCheckable(True)
        one.setAccessibleName(page.title)
        set_tool_tip(one, _("{page} (Ctrl+{number})").format(page=page.title, number=index + 1))
        ThemedIcon(one, page.icon, theme)
        self._group.addButton(one, index)
        layout = self.layout()
        assert layout is not None
        layout.addWidget(one)

    def show_local_api(self, api: LocalApi | None) -> None:
        """Show the local API's port; None hides the line."""
        self.local_api.setVisible(api is not None)
        if api is not None:
            self.local_api.setText(texts.local_api(api))
            set_tool_tip(
                self.local_api, _("How programs reach this app: {url}").format(url=api.url)
            )

    def show_release(self, release: Release | None) -> None:
        """Show that a newer version is available; None hides the line."""
        self._release_page = release.url if release is not None else ""
        self.release.setVisible(release is not None)
        if release is not None:
            text = _("Version {version} is available").format(version=release.version)
            self.release.setText(control_text(text))
            set_tool_tip(self.release, _("Open {url} in the browser").format(url=release.url))

    def _open_release_page(self) -> None:
        QDesktopServices.openUrl(QUrl(self._release_page))

    def mark(self, index: int) -> None:
        """Mark a page as the one that is open."""
        self._group.button(index).setChecked(True)
