"""Curves as an SVG picture, without a plotting library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, GAP = 760, 150, 70, 46
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777", "#222255")
MOST_POINTS = 360


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    name: str
    points: Sequence[tuple[float, float]]
    """(seconds, value)."""


@dataclass(frozen=True)
class Plot:
    """Curves over one axis of time."""

    title: str
    curves: Sequence[Curve]
    from_zero: bool = True


def svg(plots: Sequence[Plot]) -> str:
    """All plots, one below the other."""
    height = GAP + len(plots) * (HEIGHT + GAP)
    end = max(point[0] for plot in plots for curve in plot.curves for point in curve.points)
    drawn = [_drawn(plot, GAP + place * (HEIGHT + GAP), end) for place, plot in enumerate(plots)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 190} {height}"',
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *drawn,
            "</svg>\n",
        )
    )


def _drawn(plot: Plot, top: float, end: float) -> str:
    values = [value for curve in plot.curves for _, value in curve.points]
    low = min(0.0, *values) if plot.from_zero else min(values)
    high = max(values)
    span = (high - low) or 1.0
    lines = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(plot.title)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = top + HEIGHT * (1 - share)
        value = f"{low + share * span:.4g}"
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value}</text>')
        minutes = share * end / 60
        lines.append(
            f'<text x="{LEFT + share * WIDTH:.0f}" y="{top + HEIGHT + 14}" text-anchor="middle">'
            f"{minutes:.0f} min</text>"
        )
    for number, curve in enumerate(plot.curves):
        colour = COLOURS[number % len(COLOURS)]
        step = max(1, len(curve.points) // MOST_POINTS)
        path = " ".join(
            f"{LEFT + WIDTH * time / (end or 1.0):.1f},"
            f"{top + HEIGHT * (1 - (value - low) / span):.1f}"
            for time, value in curve.points[::step]
        )
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        lines.append(
            f'<text x="{LEFT + WIDTH + 8}" y="{top + 12 + 15 * number}" fill="{colour}">'
            f"{escape(curve.name)}</text>"
        )
    return "\n".join(lines)
