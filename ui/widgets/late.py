"""A page, or a part of one, that is built when it is first looked at, so that the window shows
sooner."""

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget
from typing_extensions import override

Built = TypeVar("Built", bound=QWidget)


class Late(QWidget, Generic[Built]):
    """Takes the place of what is built, and holds it afterwards."""

    def __init__(self, build: Callable[[], Built]) -> None:
        super().__init__()
        self._build = build
        self._built: Built | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    @property
    def built(self) -> Built | None:
        """What was looked at already."""
        return self._built

    @property
    def widget(self) -> Built:
        """What it holds, built if it wasn't yet."""
        if self._built is None:
            self._built = self._build()
            self._column.addWidget(self._built)
        return self._built

    def build(self) -> None:
        """Build it ahead of time, if it wasn't yet."""
        _ = self.widget

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self.widget.show()
        super().showEvent(event)
