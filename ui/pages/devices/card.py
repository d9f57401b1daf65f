"""A card for one device: its check box, details and gauges, or why it can't train."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QWidget

from app.machine.devices import DeviceEntry
from ui.pages.devices.gauge import Gauge
from ui.style.plain import control_text, set_tool_tip
from ui.style.theme import Theme
from ui.texts import devices as device_texts
from ui.widgets.card import Card
from ui.widgets.labels import ElidedLabel, label
from ui.widgets.notice import Notice

CURVES = ("use", "temperature")


class DeviceCard(Card):
    """Shows one device; the page tells it whether the device is chosen."""

    chosen = Signal(bool)
    """Carries whether the user checked the device to train on it."""

    def __init__(self, entry: DeviceEntry, theme: Theme) -> None:
        super().__init__(entry.name)
        self.device = entry.id
        self.check = QCheckBox(control_text(entry.name))
        self.badge = ElidedLabel(role="badge", right=True)
        self.details = ElidedLabel(role="muted")
        self.told = label(role="muted", wrap=True)
        self.problem = Notice(theme)
        self.gauges = {
            name: Gauge(title, theme, curve=name in CURVES)
            for name, title in device_texts.titles().items()
        }
        self._gauges = QWidget()
        self._lay_out()
        self.check.clicked.connect(self.chosen)
        self.show_entry(entry, is_new=False)

    def _lay_out(self) -> None:
        self.check.setProperty("strong", "true")
        self.column.setSpacing(6)
        grid = QGridLayout(self._gauges)
        grid.setContentsMargins(0, 4, 0, 0)
        grid.setHorizontalSpacing(24)
        for place, gauge in enumerate(self.gauges.values()):
            grid.addWidget(gauge, 0, place)
            grid.setColumnStretch(place, 1)
        head = QHBoxLayout()
        head.addWidget(self.check)
        head.addWidget(self.badge, 1)
        self.column.addLayout(head)
        for part in (self.details, self.told, self.problem, self._gauges):
            self.column.addWidget(part)

    def clear_curves(self) -> None:
        """Begin the curves anew."""
        for gauge in self.gauges.values():
            if gauge.curve is not None:
                gauge.curve.clear()

    def show_entry(self, entry: DeviceEntry, *, is_new: bool) -> None:
        """Show the device's newest figures, or its problem. is_new: as in `Gauge.show_figure`."""
        self.details.set_full(device_texts.details(entry))
        self.badge.set_full(device_texts.badge(entry))
        self.problem.say(device_texts.problem(entry))
        self.problem.setVisible(not entry.usable)
        self._gauges.setVisible(entry.usable)
        for name, figure in device_texts.figures(entry.figures).items():
            self.gauges[name].show_figure(figure, is_new=is_new)
        self.check.setAccessibleDescription(entry.problem or self.badge.full)

    def say(self, text: str) -> None:
        """Set the line about the trainer on this device, or about the memory it would need."""
        self.told.setText(text)
        self.told.setVisible(bool(text))

    def show_choice(self, *, chosen: bool, may_change: bool, why_not: str) -> None:
        """Show whether the next training runs on this device.

        Args:
            chosen: it does.
            may_change: the user may change that now.
            why_not: why the user may not, for the tool tip.
        """
        self.check.setChecked(chosen)
        self.check.setEnabled(may_change)
        set_tool_tip(self.check, "" if may_change else why_not)
