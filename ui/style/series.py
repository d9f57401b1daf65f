"""Colours that tell several curves of a chart apart, by theme."""

from ui.style.theme import Colors

_SERIES = {
    "light": ("#0b66c3", "#c4500a", "#a03a8c", "#8a6d00", "#1d8a99", "#5b4bb5", "#5f6670"),
    "dark": ("#6db3ff", "#ff9f6b", "#e59ad5", "#e8c547", "#5fd0de", "#b3a5ff", "#a9b1bc"),
}
"""Readable on a card of the theme, and different from each other and from its accent also for those
who see few colours: they differ in brightness, too."""

COUNT = len(_SERIES["light"])
"""How many there are, beside the accent."""


def series_colors(colors: Colors) -> tuple[str, ...]:
    """Those of a theme, beside its accent."""
    return _SERIES[colors.name]
