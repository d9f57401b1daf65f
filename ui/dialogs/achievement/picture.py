"""Draws what this machine achieved in a run, as a picture to be shared.

Nothing on it is private: no peer id, no address, no name but the alias, which the swarm sees too.
"""

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QGuiApplication,
    QImage,
    QPainter,
    QPen,
    QPolygonF,
    QTextOption,
)

from app.common.i18n import _
from app.common.plain import one_line
from app.curves.loss_change import LossChange
from ui.models.achievement import Achievement
from ui.style.icons import pixmap
from ui.style.theme import Colors
from ui.texts import states, units
from ui.texts.given import contributions as contribution_texts

WIDTH, HEIGHT = 1200, 630
"""Pixels: a size that is shown whole where people share links and pictures."""

_EDGE, _INSIDE = 28.0, 92.0
"""From the picture's edge to the card, and to what is written on it."""

_MIDDLE, _RIGHT = 620.0, WIDTH - _INSIDE
_TITLE_SIZES = (52, 44, 38, 32)
_MOST_OF_A_TITLE = 90
"""Characters; so many fit in two lines, also of wide ones."""


def picture_of(achievement: Achievement, colors: Colors, *, alias: str) -> QImage:
    """The picture, in a theme's colours. alias: this machine's; "" to leave it out."""
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_RGB32)
    image.fill(QColor(colors.window))
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    card = QRectF(_EDGE, _EDGE, WIDTH - 2 * _EDGE, HEIGHT - 2 * _EDGE)
    painter.setPen(QPen(QColor(colors.border), 2))
    painter.setBrush(QColor(colors.card))
    painter.drawRoundedRect(card, 24, 24)
    pen = _Pen(painter, colors)
    _write_head(pen, achievement)
    _write_figure(pen, achievement)
    loss = achievement.loss
    if loss is not None:
        _write_loss(pen, loss)
    _write_facts(pen, achievement, alias)
    painter.end()
    return image


class _Pen:
    """Writes texts in the theme's colours, in sizes of pixels."""

    def __init__(self, painter: QPainter, colors: Colors) -> None:
        self.painter = painter
        self.colors = colors

    def write(
        self,
        text: str,
        place: QPointF,
        *,
        size: int,
        color: str,
        most: float,
        bold: bool = False,
        right: bool = False,
    ) -> None:
        """Write a line, shortened to ``most`` pixels.

        place: the left end of its base line, or with ``right`` the right end.
        """
        font = font_of(size, bold=bold)
        metrics = QFontMetricsF(font)
        shown = metrics.elidedText(one_line(text), Qt.TextElideMode.ElideRight, most)
        width = metrics.horizontalAdvance(shown)
        self.painter.setFont(font)
        self.painter.setPen(QColor(color))
        self.painter.drawText(QPointF(place.x() - width if right else place.x(), place.y()), shown)


def font_of(size: int, *, bold: bool = False) -> QFont:
    """The app's font in a size of pixels."""
    font = QFont(QGuiApplication.font())
    font.setPixelSize(size)
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    return font


def _write_head(pen: _Pen, achievement: Achievement) -> None:
    """The product, the days, and the run's title in up to two lines."""
    painter, colors = pen.painter, pen.colors
    icon = pixmap("app", colors.text, size=48)
    painter.drawPixmap(QPointF(_INSIDE, 66), icon)
    name = f"{states.PRODUCT} {states.PRODUCT_KIND}"
    pen.write(name, QPointF(_INSIDE + 64, 99), size=28, color=colors.muted, most=600)
    first, last = achievement.totals.began or 0.0, achievement.totals.ended or 0.0
    days = sorted({units.day(first), units.day(last)})
    text = " – ".join(days)
    pen.write(text, QPointF(_RIGHT, 99), size=28, color=colors.muted, most=420, right=True)
    title = one_line(achievement.title, most=_MOST_OF_A_TITLE)
    place = QRectF(_INSIDE, 136, _RIGHT - _INSIDE, 132)
    wrapped = QTextOption()
    wrapped.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    painter.setFont(_fitting(title, place))
    painter.setPen(QColor(colors.text))
    painter.setClipRect(place)
    painter.drawText(place, title, wrapped)
    painter.setClipping(False)


def _fitting(title: str, place: QRectF) -> QFont:
    """The largest font in which a title has room, broken between words; else the smallest."""
    for size in _TITLE_SIZES:
        font = font_of(size, bold=True)
        needed = QFontMetricsF(font).boundingRect(place, Qt.TextFlag.TextWordWrap, title)
        if place.contains(needed):
            return font
    return font_of(_TITLE_SIZES[-1], bold=True)


def _write_figure(pen: _Pen, achievement: Achievement) -> None:
    """This machine's part of the run, or its samples where the run's aren't known."""
    if achievement.run_share:
        figure, of = contribution_texts.part_of_run(achievement.run_share), _("of this run")
    else:
        figure, of = units.count(achievement.totals.samples), _("samples given to this run")
    most = (_MIDDLE if achievement.loss is not None else _RIGHT) - _INSIDE - 24
    size = 112
    while size > 40 and QFontMetricsF(font_of(size, bold=True)).horizontalAdvance(figure) > most:
        size -= 8
    accent = pen.colors.accent_text
    pen.write(figure, QPointF(_INSIDE, 388), size=size, color=accent, most=most, bold=True)
    pen.write(of, QPointF(_INSIDE, 434), size=30, color=pen.colors.muted, most=most)


def _write_loss(pen: _Pen, loss: LossChange) -> None:
    """From what to what, and the curve between."""
    colors = pen.colors
    name = _("Loss on unseen text") if loss.unseen else _("Training loss")
    most = _RIGHT - _MIDDLE
    pen.write(name, QPointF(_MIDDLE, 306), size=26, color=colors.muted, most=most)
    text = contribution_texts.from_to(loss)
    pen.write(text, QPointF(_MIDDLE, 356), size=46, color=colors.text, most=most, bold=True)
    _draw_curve(pen, loss.points, QRectF(_MIDDLE, 378, most, 72))


def _draw_curve(pen: _Pen, points: Sequence[tuple[float, float]], place: QRectF) -> None:
    times, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    width, height = times[-1] - times[0] or 1.0, high - low or 1.0
    places = [
        QPointF(
            place.left() + (time - times[0]) / width * place.width(),
            place.bottom() - (value - low) / height * place.height(),
        )
        for time, value in points
    ]
    painter, shade = pen.painter, QColor(pen.colors.accent)
    shade.setAlpha(40)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(shade)
    painter.drawPolygon(QPolygonF([place.bottomLeft(), *places, place.bottomRight()]))
    painter.setPen(QPen(QColor(pen.colors.accent), 4, j=Qt.PenJoinStyle.RoundJoin))
    painter.drawPolyline(QPolygonF(places))


def _write_facts(pen: _Pen, achievement: Achievement, alias: str) -> None:
    """What was given, and who gave it."""
    totals, colors = achievement.totals, pen.colors
    facts = [
        (_("Compute time"), units.duration(totals.compute_time), 1.1),
        (_("Rounds"), units.count(totals.epochs), 0.8),
    ]
    if achievement.run_share:  # else they are the large figure
        facts.insert(0, (_("Samples"), units.count(totals.samples), 1.0))
    if alias:
        facts.append((_("Given by"), alias, 1.3))
    pen.painter.setPen(QPen(QColor(colors.border), 2))
    pen.painter.drawLine(QPointF(_INSIDE, 476), QPointF(_RIGHT, 476))
    x, all_of_it = _INSIDE, sum(width for _name, _value, width in facts)
    for name, value, width in facts:
        room = (_RIGHT - _INSIDE) * width / all_of_it
        pen.write(name, QPointF(x, 518), size=24, color=colors.muted, most=room - 20)
        pen.write(value, QPointF(x, 560), size=34, color=colors.text, most=room - 20, bold=True)
        x += room
