"""The light and the dark theme: named colours, filled into one style sheet.

The app follows the system's theme while it runs, unless the user chose one.
"""

import re
from dataclasses import asdict, dataclass
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QApplication

from app.common.i18n import _
from app.common.paths import RESOURCES

ThemeName = Literal["system", "light", "dark"]

ICONS = RESOURCES / "icons"
MIN_POINTS = 10.0
"""The smallest font size: without a desktop's font Qt takes 9 points, too small for numbers."""


@dataclass(frozen=True, kw_only=True)
class Colors:
    """The colours of a theme, as ``#rrggbb``, by their use.

    The contrast of text to its background is 4.5:1 or more.
    """

    name: str
    """The theme's name; part of the names of icon files in the style sheet."""

    window: str
    """Background of the window."""

    sidebar: str
    """Background of the sidebar."""

    selected: str
    """Background of the open page's button in the sidebar."""

    card: str
    """Background of cards."""

    field: str
    """Background of input fields."""

    raised: str
    """Background of what is under the pointer or selected."""

    border: str
    """Lines and the borders of cards."""

    edge: str
    """Borders of buttons and other controls."""

    track: str
    """The empty part of bars."""

    text: str
    """Ordinary text."""

    muted: str
    """Secondary text."""

    faint: str
    """Disabled text."""

    accent: str
    """Primary buttons, and this machine's curves and bars."""

    accent_hover: str
    """Primary buttons under the pointer."""

    accent_text: str
    """Links and other accented text on a card."""

    on_accent: str
    """Text on ``accent``."""

    danger: str
    """Buttons that stop something, and signs of a problem."""

    danger_hover: str
    """Such buttons under the pointer."""

    danger_text: str
    """Text about an error."""

    on_danger: str
    """Text on ``danger``."""

    caution: str
    """Text and signs of a warning."""

    swarm: str
    """The swarm's curves and its part of the epoch bar."""

    focus: str
    """The frame around the control that has the keyboard focus."""


DARK = Colors(
    name="dark",
    window="#15181d",
    sidebar="#111317",
    selected="#1d2127",
    card="#1d2127",
    field="#191c22",
    raised="#282d35",
    border="#2b3038",
    edge="#313740",
    track="#2b3038",
    text="#e7eaee",
    muted="#98a0ab",
    faint="#6a717c",
    accent="#4cc2a6",
    accent_hover="#5fd0b5",
    accent_text="#4cc2a6",
    on_accent="#0c1f1a",
    danger="#c24a46",
    danger_hover="#cf5955",
    danger_text="#f0857f",
    on_danger="#ffffff",
    caution="#dcaa4a",
    swarm="#7f8ea3",
    focus="#7fb4ff",
)

LIGHT = Colors(
    name="light",
    window="#f4f5f7",
    sidebar="#e9ebee",
    selected="#ffffff",
    card="#ffffff",
    field="#ffffff",
    raised="#eef0f3",
    border="#dfe2e7",
    edge="#d6dae0",
    track="#dfe2e7",
    text="#1b1f24",
    muted="#5d646e",
    faint="#8d949e",
    accent="#0c7f64",
    accent_hover="#0a6f57",
    accent_text="#0c7f64",
    on_accent="#ffffff",
    danger="#b8403c",
    danger_hover="#a63733",
    danger_text="#b8403c",
    on_danger="#ffffff",
    caution="#946200",
    swarm="#8b97a8",
    focus="#1f6fd6",
)


def theme_labels() -> dict[str, str]:
    """The themes that the user can choose from, with their labels."""
    return {"system": _("Like the system"), "light": _("Light"), "dark": _("Dark")}


class Theme(QObject):
    """The theme in force; applies it to the whole application."""

    changed = Signal()
    """The colours changed; widgets that paint or colour icons themselves must do so again."""

    def __init__(self, application: QApplication, choice: ThemeName = "system") -> None:
        super().__init__(application)
        self._application = application
        self._template = (RESOURCES / "themes" / "style.qss").read_text(encoding="utf-8")
        self.choice: ThemeName = choice
        self.colors = LIGHT
        application.setStyle("Fusion")  # looks the same on every system, and uses the palette
        application.setFont(_readable(application.font()))
        application.styleHints().colorSchemeChanged.connect(self._follow)
        self.choose(choice)

    def choose(self, choice: ThemeName) -> None:
        """Apply a theme; ``system`` follows the system's."""
        self.choice = choice
        hints = self._application.styleHints()
        hints.setColorScheme(_SCHEMES[choice])  # for the window's frame and native dialogs
        self._apply(self._colors())

    def _follow(self) -> None:
        if (colors := self._colors()) != self.colors:
            self._apply(colors)

    def _colors(self) -> Colors:
        if self.choice != "system":
            return DARK if self.choice == "dark" else LIGHT
        scheme = self._application.styleHints().colorScheme()
        return DARK if scheme is Qt.ColorScheme.Dark else LIGHT

    def _apply(self, colors: Colors) -> None:
        self.colors = colors
        self._application.setPalette(_palette(colors))
        values = asdict(colors) | _sizes(self._application.font()) | {"icons": ICONS.as_posix()}
        self._application.setStyleSheet(filled(self._template, values))
        self.changed.emit()


_SCHEMES = {
    "system": Qt.ColorScheme.Unknown,
    "light": Qt.ColorScheme.Light,
    "dark": Qt.ColorScheme.Dark,
}


def filled(template: str, values: dict[str, str]) -> str:
    """The template with each ``{{name}}`` replaced. Raises `KeyError` for an unknown name."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _readable(font: QFont) -> QFont:
    font.setPointSizeF(max(MIN_POINTS, font.pointSizeF()))
    font.setFeature(QFont.Tag("tnum"), 1)  # digits of one width: changing numbers don't jump
    return font


def _sizes(font: QFont) -> dict[str, str]:
    base = font.pointSizeF()
    factors = {"title_pt": 1.9, "page_pt": 1.45, "product_pt": 1.15, "small_pt": 0.9}
    return {name: f"{base * factor:.1f}" for name, factor in factors.items()}


def _palette(colors: Colors) -> QPalette:
    """The palette, for what the style sheet leaves out: check boxes, menu marks, Qt's dialogs."""
    role = QPalette.ColorRole
    palette = QPalette(QColor(colors.card), QColor(colors.window))
    named = {
        role.WindowText: colors.text,
        role.Text: colors.text,
        role.ButtonText: colors.text,
        role.Base: colors.field,
        role.AlternateBase: colors.card,
        role.ToolTipBase: colors.raised,
        role.ToolTipText: colors.text,
        role.PlaceholderText: colors.muted,
        role.Highlight: colors.accent,
        role.HighlightedText: colors.on_accent,
        role.Accent: colors.accent,
        role.Link: colors.accent_text,
    }
    for name, color in named.items():
        palette.setColor(name, QColor(color))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(colors.faint))
    return palette
