"""A page that is built when it is first looked at, so that the window shows sooner."""

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget
from typing_extensions import override

Built = TypeVar("Built", bound=QWidget)


class Late(QWidget, Generic[Built]):
    """Takes the place of the page until then, and holds it afterwards."""

    def __init__(self, build: Callable[[], Built]) -> None:
        super().__init__()
        self._build = build
        self._page: Built | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    @property
    def built(self) -> Built | None:
        """The page, if it was looked at already."""
        return self._page

    @property
    def page(self) -> Built:
        """The page, built if it wasn't yet."""
        if self._page is None:
            self._page = self._build()
            self._column.addWidget(self._page)
        return self._page

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self.page.show()
        super().showEvent(event)
