"""The epoch under way: how far the swarm's batch is filled, and which part of it is ours."""

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.p2p.sightings import Run
from app.state.state import ContributorState, OwnTraining
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import evaluation as evaluation_texts
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.card import Card
from ui.widgets.labels import ElidedLabel, label, swatch

BAR_HEIGHT = 10


class EpochBar(QWidget):
    """A progress bar of two parts, the others' and ours; `QProgressBar` has only one part."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._others = 0.0
        self._own = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(_("Progress of the epoch"))
        theme.changed.connect(self.update)

    def show_parts(self, others: float, own: float) -> None:
        """Set both parts, as fractions of the whole from 0 to 1."""
        own = min(max(own, 0.0), 1.0)
        others = min(max(others, 0.0), 1.0 - own)
        if (others, own) != (self._others, self._own):
            self._others, self._own = others, own
            self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(200, BAR_HEIGHT)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        colors = self._theme.colors
        whole = QRectF(self.rect())
        shape = QPainterPath()
        shape.addRoundedRect(whole, BAR_HEIGHT / 2, BAR_HEIGHT / 2)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipPath(shape)
        painter.fillRect(whole, QColor(colors.track))
        first = whole.width() * self._others
        painter.fillRect(QRectF(0, 0, first, whole.height()), QColor(colors.swarm))
        own = QRectF(first, 0, whole.width() * self._own, whole.height())
        painter.fillRect(own, QColor(colors.accent))
        painter.end()


class EpochCard(Card):
    """The epoch's bar and figures, the next averaging, how the last one went, and what the model
    has learnt."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(_("Epoch"))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.title = label(role="strong")
        self.health = ElidedLabel(role="muted", right=True)
        self.bar = EpochBar(theme)
        self.swarm = label(role="muted")
        self.own_swatch = swatch("own")
        self.own = label(role="muted")
        self.reading = label(wrap=True)
        self.writing = ElidedLabel(role="muted")
        self._lay_out()

    def _lay_out(self) -> None:
        above = QHBoxLayout()
        above.setSpacing(24)
        above.addWidget(self.title)
        above.addWidget(self.health, 1)
        below = QHBoxLayout()
        below.setSpacing(8)
        below.addWidget(self.swarm)
        below.addStretch()
        below.addWidget(self.own_swatch, 0, Qt.AlignmentFlag.AlignVCenter)
        below.addWidget(self.own)
        self.column.addLayout(above)
        self.column.addWidget(self.bar)
        self.column.addLayout(below)
        self.column.addWidget(self.reading)
        self.column.addWidget(self.writing)

    def show_state(self, state: ContributorState) -> None:
        """Show the epoch of this state; without a swarm nothing changes."""
        if state.swarm is None:
            return
        target = state.swarm.target_batch_size
        run, own = state.run or Run(), state.training
        ours = min(own.epoch_samples, run.samples) if own is not None else 0
        self.title.setText(_("Epoch {number}").format(number=units.count(run.epoch)))
        self.health.set_full(_health(state))
        self.bar.show_parts((run.samples - ours) / target, ours / target)
        self.swarm.setText(_of_the_swarm(state.run, target))
        self._show_own(own, ours, target)
        self._show_evaluation(state)
        self.bar.setAccessibleDescription(f"{self.swarm.text()}. {self.own.text()}")

    def _show_own(self, own: OwnTraining | None, ours: int, target: int) -> None:
        self.own_swatch.setVisible(own is not None)
        self.own.setVisible(own is not None)
        text = _("{count} by this machine ({percent})").format(
            count=units.count(ours), percent=units.percent(ours, target)
        )
        steps = texts.own_steps(own) if own is not None else ""
        self.own.setText(texts.DOT.join(filter(None, (text, steps))))

    def _show_evaluation(self, state: ContributorState) -> None:
        self.reading.setText(evaluation_texts.reading(state))
        set_tool_tip(self.reading, evaluation_texts.meaning(state))
        self.reading.setVisible(bool(self.reading.text()))
        self.writing.set_full(evaluation_texts.writing(state))
        self.writing.setVisible(bool(state.samples))


def _of_the_swarm(run: Run | None, target: int) -> str:
    if run is None:
        return _("nobody trains in this swarm yet")
    return _("{count} of {target} samples by the swarm").format(
        count=units.count(min(run.samples, target)), target=units.count(target)
    )


def _health(state: ContributorState) -> str:
    own = state.training
    parts = [texts.next_averaging(state)]
    if own is not None and own.last_round is not None:
        parts.append(texts.last_round(own.last_round))
    return texts.DOT.join(part for part in parts if part)
