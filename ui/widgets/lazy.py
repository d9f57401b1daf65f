"""A widget that is built only when it is first shown, so that the window appears sooner."""

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget
from typing_extensions import override

Built = TypeVar("Built", bound=QWidget)


class Lazy(QWidget, Generic[Built]):
    """Keeps the place of a widget in a layout, builds it when first shown, and then holds it."""

    def __init__(self, build: Callable[[], Built]) -> None:
        super().__init__()
        self._build = build
        self._built: Built | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    @property
    def built(self) -> Built | None:
        """The widget, or None if it wasn't built yet."""
        return self._built

    @property
    def widget(self) -> Built:
        """The widget; built now if it wasn't yet."""
        if self._built is None:
            self._built = self._build()
            self._column.addWidget(self._built)
        return self._built

    def build(self) -> None:
        """Build the widget ahead of time, if it wasn't built yet."""
        _ = self.widget

    @override
    def showEvent(self, event: QShowEvent) -> None:
        self.widget.show()
        super().showEvent(event)
