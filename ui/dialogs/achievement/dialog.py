"""The dialog that shows what this machine achieved in a run, as a picture to save or copy."""

from pathlib import Path

from PySide6.QtCore import QSignalBlocker, QSize, Qt
from PySide6.QtGui import QGuiApplication, QImage, QPixmap
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QWidget
from shiboken6 import isValid

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.plain import one_line
from app.contributions.summary import Summary
from ui.dialogs.achievement.picture import picture_of
from ui.dialogs.dialog import Dialog
from ui.models.achievement import Achievement, achievement_of, run_to_tell_of, runs_by_id
from ui.models.session_model import SessionModel
from ui.style.plain import control_text
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.texts.given import contributions as contribution_texts
from ui.widgets.buttons import button
from ui.widgets.choice import Choice
from ui.widgets.forms.fields import error_label, show_error
from ui.widgets.labels import PlainLabel, label
from ui.widgets.save_dialog import ask_where_to_save

SHOWN = QSize(600, 315)
"""Logical pixels of the preview: half of the picture's."""

MOST_OF_A_TITLE = 60
"""Characters, in the list of runs."""

MOST_RUNS = 24
"""To choose from: so many runs' curves are kept."""


class AchievementDialog(Dialog):
    """Shows the picture of one of the runs that this machine has given to: the one that we are in,
    and then the latest first."""

    def __init__(self, model: SessionModel, theme: Theme, window: QWidget) -> None:
        width = SHOWN.width() + 48
        super().__init__(window, _("What you achieved"), width=width, scrolls=True)
        self._model = model
        self._theme = theme
        self._summary: Summary | None = None
        self._achievement: Achievement | None = None
        self.image = QImage()
        self.runs = Choice()
        self.runs.setAccessibleName(_("The run that the picture is about"))
        self.preview = PlainLabel()
        self.preview.setFixedSize(SHOWN)
        self.words, self.error = label(role="muted", wrap=True), error_label()
        alias = model.session.machines.alias
        self.named = QCheckBox(
            control_text(_("With this machine's alias, {alias}").format(alias=one_line(alias)))
        )
        self.named.setChecked(True)
        self.named.setVisible(bool(alias))
        self.copy = button(_("Copy"), later=[_("Copied")])
        self.save = button(_("Save as a picture…"))
        self.done_button = button(_("Done"), "primary")
        self._lay_out()
        self._connect()
        self._working = model.start(self._load())
        self.finished.connect(lambda _result: self._working.cancel())

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        for part in (self.copy, self.save):
            part.setEnabled(False)
            row.addWidget(part)
        row.addStretch()
        row.addWidget(self.done_button)
        self.runs.hide()
        for widget in (self.runs, self.preview, self.words, self.named, self.error):
            self.column.addWidget(widget)
        self.column.addLayout(row)
        self.done_button.setDefault(True)
        self.done_button.setFocus()

    def _connect(self) -> None:
        self.runs.currentIndexChanged.connect(self._choose_run)
        self.named.toggled.connect(lambda _checked: self._draw())
        self._theme.changed.connect(self._draw)
        self.copy.clicked.connect(self._copy)
        self.save.clicked.connect(self._choose_file)
        self.done_button.clicked.connect(self.accept)

    # --- what to show

    async def _load(self) -> None:
        try:
            self._summary = await self._model.session.contributions.summary()
        except UserFacingError as error:
            self.words.setText(texts.error_text(error))
            return
        first = run_to_tell_of(self._model.session, self._summary)
        runs = sorted(self._summary.swarms, key=lambda run_id: run_id != first)[:MOST_RUNS]
        titles = await runs_by_id(self._model.session)
        if not isValid(self):  # the window was closed meanwhile
            return
        with QSignalBlocker(self.runs):
            for run_id in runs:
                title, _batch = titles.get(run_id, (run_id, 0))
                self.runs.addItem(one_line(title, most=MOST_OF_A_TITLE), run_id)
        self.runs.setVisible(len(runs) > 1)
        await self._show_run()

    def _choose_run(self) -> None:
        self._working.cancel()
        self._working = self._model.start(self._show_run())

    async def _show_run(self) -> None:
        run_id, summary = self.runs.currentData(), self._summary
        self._achievement = None
        if run_id is not None and summary is not None:
            self._achievement = await achievement_of(self._model.session, summary, run_id)
        if isValid(self):
            self._draw()

    def _draw(self) -> None:
        achievement = self._achievement
        for part in (self.copy, self.save, self.named):
            part.setEnabled(achievement is not None)
        self.preview.setVisible(achievement is not None)
        if achievement is None:
            self.words.setText(_("None of this machine's samples has entered a round yet."))
            self.words.show()
            return
        alias = self._model.session.machines.alias if self.named.isChecked() else ""
        self.copy.setText(_("Copy"))
        self.image = picture_of(achievement, self._theme.colors, alias=alias)
        ratio = self.devicePixelRatioF()
        shown = self.image.scaled(SHOWN * ratio, mode=Qt.TransformationMode.SmoothTransformation)
        shown.setDevicePixelRatio(ratio)
        self.preview.setPixmap(QPixmap.fromImage(shown))
        words = contribution_texts.achieved(achievement.run_share, achievement.loss)
        self.words.setText(words)
        self.words.setVisible(bool(words))
        self.preview.setAccessibleName(f"{achievement.title}. {words}")
        self.fit()

    # --- what becomes of it

    def _copy(self) -> None:
        QGuiApplication.clipboard().setImage(self.image)
        self.copy.setText(_("Copied"))

    def _choose_file(self) -> None:
        self.asking = ask_where_to_save(
            self,
            self.save.text(),
            name="contribution.png",
            kinds={"png": _("Pictures (*.png)")},
            save=self.save_as,
        )

    def save_as(self, path: Path) -> None:
        """Write the picture."""
        is_saved = self.image.save(str(path), "PNG")  # type: ignore[call-overload]
        problem = _("{file} can't be written. Check that you may write there.")
        show_error(self.error, "" if is_saved else problem.format(file=path))
