"""The card in which the model goes on with a text of the user's."""

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut, QTextCursor
from PySide6.QtWidgets import QGridLayout, QPlainTextEdit, QWidget

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.plain import several_lines
from app.generation.process import WantedText, Written
from app.generation_messages import (
    MOST_PROMPT,
    GenerationEnded,
    TextGenerated,
    WeightsLoaded,
)
from ui.models.session_model import SessionModel
from ui.pages.model.fetching import FetchingRow
from ui.texts import model as model_texts
from ui.texts import units
from ui.texts.states import error_text, sentences
from ui.widgets.banner import announce
from ui.widgets.buttons import SteadyButton
from ui.widgets.card import Card, body_text
from ui.widgets.forms.fields import COMBO_WIDTH, combo_box, text_area
from ui.widgets.labels import label, restyle

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

OUTPUT_HEIGHT = 160
USUAL_TEMPERATURE, USUAL_LENGTH = "0.8", "200"


class WritingCard(Card):
    """A prompt, how to go on with it, and the text that comes of it. It writes one at a time."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__(_("Try it"))
        self._model = model
        self._generation = model.session.generation
        self._task: asyncio.Task[None] | None = None
        self._epoch: int | None = None
        self.why_not = body_text("")
        self.fetching = FetchingRow(model)
        self.prompt = text_area(_("How the text begins; leave it empty to let the model begin"))
        self.temperature = combo_box(model_texts.temperatures())
        self.length = combo_box(model_texts.lengths())
        self.write = SteadyButton(_("Write"))
        self.status = label(role="muted", wrap=True)
        self.output = _output()
        self._controls = QWidget()
        self._lay_out()
        self._connect()
        self._show_running()

    def _lay_out(self) -> None:
        self.column.setSpacing(12)
        self.prompt.setAccessibleName(_("How the text begins"))
        self.temperature.setAccessibleName(_("Temperature"))
        self.temperature.setCurrentIndex(self.temperature.findData(USUAL_TEMPERATURE))
        self.length.setAccessibleName(_("Length at most"))
        self.length.setCurrentIndex(self.length.findData(USUAL_LENGTH))
        grid = QGridLayout(self._controls)  # beside each other, they are wider than a small screen
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(8)
        for row, (text, control) in enumerate(
            (
                (_("Temperature"), self.temperature),
                (_("Length at most"), self.length),
            )
        ):
            caption = label(text, "muted")
            caption.setBuddy(control)
            control.setMinimumWidth(COMBO_WIDTH)
            grid.addWidget(caption, row, 0)
            grid.addWidget(control, row, 1)
        grid.setColumnStretch(2, 1)
        grid.addWidget(self.write, 1, 3)
        for part in (
            label(_("Try it"), "strong"),
            self.why_not,
            self.fetching,
            self.prompt,
            self._controls,
            self.status,
            self.output,
        ):
            self.column.addWidget(part)
        for part in (self.status, self.output):
            part.hide()  # until there is something to say

    def _connect(self) -> None:
        self.write.clicked.connect(self.toggle)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            shortcut = QShortcut(QKeySequence(keys), self.prompt)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(self._begin)

    @property
    def is_writing(self) -> bool:
        """A text is under way."""
        return self._task is not None

    def show_refusal(self, refusal: UserFacingError | None) -> None:
        """Say why nothing can be written; None lets the user write."""
        may_write = refusal is None or self.is_writing
        self.why_not.setVisible(not may_write)
        if refusal is not None:
            self.why_not.setText(sentences(refusal))
        for part in (self.prompt, self._controls):
            part.setVisible(may_write)

    def forget(self) -> None:
        """Drop a text of another swarm."""
        self.output.clear()
        self.fetching.forget()
        for part in (self.status, self.output):
            part.hide()

    # --- writing

    def toggle(self) -> None:
        """Begin to write, or stop writing."""
        if not self.is_writing:
            self._begin()
        else:
            self.write.setEnabled(False)
            self._model.run(self._generation.stop())

    def _begin(self) -> None:
        spec = self._model.session.swarm.spec
        if spec is None or self.is_writing:
            return
        wanted = WantedText(
            prompt=self.prompt.toPlainText()[-MOST_PROMPT:],
            temperature=float(self.temperature.currentData()),
            tokens=int(self.length.currentData()),
        )
        self._epoch = None
        self.output.setPlainText(several_lines(wanted.prompt))
        self._say(_("Loading the model; this takes some seconds…"))
        self._task = self._model.start(self._write(spec, wanted))
        self._show_running()

    async def _write(self, spec: "SwarmSpec", wanted: WantedText) -> None:
        try:
            async for written in self._generation.write(spec, wanted):
                self._take(written)
        except UserFacingError as error:
            self._say(error_text(error), role="error")
        finally:
            self._task = None
            self._show_running()

    def _take(self, written: Written) -> None:
        match written:
            case WeightsLoaded(epoch=epoch):
                self._epoch = epoch
                self.output.show()
                text = _("Writing with the weights of epoch {epoch}…")
                self._say(text.format(epoch=units.count(epoch)))
            case TextGenerated(text=text):
                self._append(text)
            case GenerationEnded():
                self._say(model_texts.how_it_ended(written, self._epoch))
                announce(self.status)

    def _append(self, text: str) -> None:
        """Add to the output, and keep its end in view unless the user reads further up."""
        bar = self.output.verticalScrollBar()
        at_end = bar.value() == bar.maximum()
        cursor = QTextCursor(self.output.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(several_lines(text))
        if at_end:
            bar.setValue(bar.maximum())

    def _say(self, text: str, *, role: str = "muted") -> None:
        restyle(self.status, "role", role)
        self.status.setText(text)
        self.status.setAccessibleName(text)
        self.status.show()

    def _show_running(self) -> None:
        self.write.setText(_("Stop") if self.is_writing else _("Write"))
        restyle(self.write, "kind", "danger" if self.is_writing else "primary")
        self.write.setEnabled(True)


def _output() -> QPlainTextEdit:
    made = QPlainTextEdit()
    made.setReadOnly(True)
    made.setTabChangesFocus(True)
    made.setUndoRedoEnabled(False)
    made.setAccessibleName(_("What the model wrote"))
    made.setFixedHeight(OUTPUT_HEIGHT)
    return made
