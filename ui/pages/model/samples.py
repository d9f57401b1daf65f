"""The card with what the model wrote at each evaluation, so that one sees it learn to write."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit

from app.common.i18n import _
from app.common.plain import one_line, several_lines
from app.state.facts import GeneratedSample
from ui.models.rows_model import Column, RowsModel
from ui.style.theme import Theme
from ui.texts import model as model_texts
from ui.texts import units
from ui.widgets.card import Card, body_text
from ui.widgets.choice import Choice
from ui.widgets.forms.fields import COMBO_WIDTH
from ui.widgets.labels import label
from ui.widgets.table import table

ROWS_SHOWN = 6
"""Height of the table in rows; it scrolls beyond."""

TEXT_HEIGHT = 120


class SamplesCard(Card):
    """A prompt of the swarm's, what followed it in each epoch, and the chosen one in full."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(_("How it learns to write"))
        self._samples: Sequence[GeneratedSample] = ()
        self.prompt = Choice()
        self.rows: RowsModel[GeneratedSample] = RowsModel(
            _columns(), identity=lambda sample: sample.epoch, parent=self
        )
        self.table = table(self.rows, theme, name=_("Samples by epoch"), stretched=2)
        self.text = _text()
        self.empty = body_text(model_texts.no_samples())
        self._lay_out()
        self.prompt.currentIndexChanged.connect(self._show_rows)
        self.table.selectionModel().currentRowChanged.connect(self._show_text)
        self.show_samples(())

    def _lay_out(self) -> None:
        self.column.setSpacing(12)
        self.prompt.setAccessibleName(_("The prompt that the model goes on from"))
        self.prompt.setSizeAdjustPolicy(
            Choice.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.prompt.setMinimumContentsLength(24)
        self.prompt.setMinimumWidth(COMBO_WIDTH)
        self.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        header = self.table.horizontalHeader().sizeHint().height()
        rows = ROWS_SHOWN * self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(header + rows + 2 * self.table.frameWidth())
        self.caption = label(_("after the prompt"), "muted")
        self.caption.setBuddy(self.prompt)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.caption)
        head.addWidget(self.prompt)
        head.addStretch()
        self.column.addWidget(label(_("How it learns to write"), "strong"))
        self.column.addLayout(head)
        for part in (self.empty, self.table, self.text):
            self.column.addWidget(part)

    def show_samples(self, samples: Sequence[GeneratedSample]) -> None:
        """Show samples of any prompts and epochs."""
        if samples == self._samples and samples:
            return
        self._samples = samples
        self.empty.setVisible(not samples)
        for part in (self.caption, self.prompt, self.table, self.text):
            part.setVisible(bool(samples))
        self._show_prompts(list(dict.fromkeys(each.prompt for each in samples)))
        self._show_rows()

    def _show_prompts(self, prompts: list[str]) -> None:
        if prompts == [self.prompt.itemData(place) for place in range(self.prompt.count())]:
            return
        chosen = self.prompt.currentData()
        self.prompt.blockSignals(True)
        self.prompt.clear()
        for prompt in prompts:
            self.prompt.addItem(one_line(prompt), prompt)
        self.prompt.setCurrentIndex(max(0, self.prompt.findData(chosen)))
        self.prompt.blockSignals(False)

    def _show_rows(self) -> None:
        """The newest epoch is read in full, unless the user has chosen another one."""
        prompt, on_top = self.prompt.currentData(), self.table.currentIndex().row() <= 0
        self.rows.show_rows([each for each in self._samples if each.prompt == prompt])
        if self.rows.shown and (on_top or not self.table.currentIndex().isValid()):
            self.table.selectRow(0)
        self._show_text()

    def _show_text(self) -> None:
        row = self.table.currentIndex().row()
        if 0 <= row < len(self.rows.shown):
            sample = self.rows.shown[row]
            text = several_lines(sample.prompt + sample.text)
            if text != self.text.toPlainText():
                self.text.setPlainText(text)


def _columns() -> tuple[Column[GeneratedSample], ...]:
    return (
        Column(
            title=_("Epoch"),
            text=lambda sample: units.count(sample.epoch),
            key=lambda sample: sample.epoch,
            sample="12,345",
            right=True,
        ),
        Column(
            title=_("Written at"),
            text=lambda sample: units.date(sample.time),
            key=lambda sample: sample.time,
            sample="2026-12-24 20:00",
        ),
        Column(
            title=_("What followed"),
            text=lambda sample: one_line(sample.text),
            key=lambda sample: sample.text,
            sample="once upon a time",
        ),
    )


def _text() -> QPlainTextEdit:
    made = QPlainTextEdit()
    made.setReadOnly(True)
    made.setTabChangesFocus(True)
    made.setAccessibleName(_("The chosen sample in full"))
    made.setFixedHeight(TEXT_HEIGHT)
    return made
