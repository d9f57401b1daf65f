"""The dialog that takes a model out, into a folder and to a repository of a model hub."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QProgressBar, QWidget
from shiboken6 import isValid

from app.common.errors import ExportError, UserFacingError
from app.common.i18n import _
from app.export.exporter import export, upload
from app.export.kept_runs import KeptRun, KeptRuns
from app.export.target import ExportTarget, default_folder
from app.export.words import percent_of, step_in_words
from app.state.facts import Swarm
from app.takeout.messages import Exported, ExportFacts, ExportProgress
from app.takeout.usage import lines_to_load
from ui.dialogs.dialog import Dialog
from ui.dialogs.export.hub_fields import HubFields
from ui.models.actions import open_folder
from ui.models.session_model import SessionModel
from ui.style.plain import control_text
from ui.texts import units
from ui.texts.states import error_text
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.choice import Choice
from ui.widgets.forms.fields import Field, error_label, line_edit, show_error
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.session import Session

WIDTH = 640


class ExportDialog(Dialog):
    """Lets the user choose run and folder, shows the progress, and how to load the result."""

    def __init__(self, model: SessionModel, window: QWidget) -> None:
        super().__init__(window, _("Export the model"), width=WIDTH, scrolls=True)
        self._model = model
        self._runs: list[KeptRun] = []
        self._working: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        """The folder that was exported last, complete and loadable."""
        self._result = ""
        self._lay_out()
        self._connect()
        self._begin(self._look_for_runs)

    def _lay_out(self) -> None:
        self.run, self.folder = Field(_("Run"), Choice()), Field(_("Folder"), line_edit())
        self.choose = button(_("Choose…"))
        self.replace = QCheckBox(_("Set aside what lies there now"))
        self.to_hub = QCheckBox(_("Upload it to the Hugging Face hub as well"))
        self.hub = HubFields()
        self.status, self.error, self.code = label(wrap=True), error_label(), label(wrap=True)
        self.code.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(_("Progress of the export"))
        self.copy = button(_("Copy these lines"), later=[_("Copied")])
        self.show_it = button(_("Open folder"))
        self.again = button(_("Upload again"))
        self.closes = button(_("Close"), later=[_("Cancel")])
        self.go = button(_("Export"), "primary")
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignBottom)
        self.column.addWidget(label(_what_it_does(), "muted", wrap=True))
        self.column.addWidget(self.run)
        self.column.addLayout(place)
        for choice in (self.replace, self.to_hub, self.hub):
            self.column.addWidget(choice)
        for shown in (self.status, self.bar, self.error, self.code):
            self.column.addWidget(shown)
        self.column.addStretch()
        self.replace.hide()
        self.go.setDefault(True)
        self.add_buttons(self.copy, self.show_it, self.again, self.go, self.closes)

    def _connect(self) -> None:
        self.run.edited.connect(self._propose_folder)
        self.folder.edited.connect(self._forget_result)
        self.choose.clicked.connect(self._choose)
        self.to_hub.toggled.connect(self._show_what_can_be_done)
        self.go.clicked.connect(lambda: self._start(self._export))
        self.again.clicked.connect(lambda: self._start(self._upload))
        self.show_it.clicked.connect(self._open)
        self.copy.clicked.connect(self._copy)
        self.closes.clicked.connect(self.reject)
        self.finished.connect(self._stop)

    def _show_what_can_be_done(self) -> None:
        busy, written = self._working is not None, self._folder is not None
        for part in (self.run, self.folder, self.choose, self.replace, self.to_hub, self.hub):
            part.setEnabled(not busy)
        self.hub.setVisible(self.to_hub.isChecked())
        self.go.setEnabled(bool(self._runs) and not busy)
        self.again.setVisible(written and self.to_hub.isChecked())
        self.again.setEnabled(not busy)
        self.bar.setVisible(busy)
        for result in (self.code, self.copy, self.show_it):
            result.setVisible(written)
        self.closes.setText(_("Cancel") if busy else _("Close"))
        self.fit()

    # --- what to export

    async def _look_for_runs(self) -> None:
        kept = await KeptRuns.of(self._model.session.folders)
        runs = await asyncio.to_thread(kept.all)
        if not isValid(self):
            return
        self._runs, box = runs, self.run.control
        assert isinstance(box, Choice)
        for number, run in enumerate(runs):
            box.addItem(control_text(_run_in_words(run)), number)
        box.setCurrentIndex(_place_of(self._model.state.swarm, runs))
        if not runs:
            self._say(_("There is no checkpoint on this machine yet: train first."))

    def _chosen(self) -> KeptRun:
        return self._runs[int(self.run.value)]

    def _propose_folder(self) -> None:
        self.folder.set_value(str(default_folder(self._chosen().spec.run_id)))
        self._forget_result()  # the folder may be the same

    def _forget_result(self) -> None:
        """What was exported is not what is chosen now, and must not be uploaded in its place."""
        self._folder, self._result = None, ""
        self.replace.setChecked(False)
        self.replace.hide()
        self.status.setText("")
        show_error(self.error, "")
        self._show_what_can_be_done()

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, _("Folder to put the model's folder into"))
        if name:
            self.folder.set_value(str(Path(name) / self._chosen().spec.run_id))

    # --- doing it

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a piece of work for the user, if the form is right."""
        show_error(self.error, "")
        if self.to_hub.isChecked() and not self.hub.check():
            self.fit()
            return
        self._begin(work)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.bar.setRange(0, 0)
        self._working = self._model.start(self._work(work))
        self._show_what_can_be_done()

    async def _work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except UserFacingError as error:
            if isValid(self):
                self.status.setText(self._result)
                show_error(self.error, error_text(error))
                announce(self.error)
        finally:
            if isValid(self):  # else the dialog was closed meanwhile
                self._working = None
                self._show_what_can_be_done()

    async def _export(self) -> None:
        run, self._folder, self._result = self._chosen(), None, ""
        self._show_what_can_be_done()
        target = ExportTarget(Path(self.folder.value), overwrite=self.replace.isChecked())
        try:
            await asyncio.to_thread(target.check)
        except ExportError:
            self.replace.show()
            raise
        facts, cache = await _facts(self._model.session, run), self._model.session.folders.cache
        result, aside = await export(
            run, target, cache=cache, facts=facts, on_progress=self._show_progress
        )
        self.replace.setChecked(False)
        self.replace.hide()
        self._folder = target.folder
        self.code.setText(lines_to_load(str(target.folder), exact_tokenizer=result.exact_tokenizer))
        self._result = _result_in_words(target.folder, result, aside)
        self._say(self._result)
        if self.to_hub.isChecked():
            await self._upload()

    async def _upload(self) -> None:
        assert self._folder is not None
        arrived = await upload(self.hub.order(self._folder), on_progress=self._show_progress)
        text = _("Uploaded, private: {url}")
        if arrived.public:
            text = _("Uploaded, and visible to everybody: {url}")
        self._say(f"{self._result}\n{text.format(url=arrived.url)}")

    def _show_progress(self, progress: ExportProgress) -> None:
        self.status.setText(step_in_words(progress))
        self.bar.setRange(0, 100 if progress.size else 0)
        self.bar.setValue(percent_of(progress))

    def _say(self, text: str) -> None:
        self.status.setText(text)
        announce(self.status)

    def _stop(self) -> None:
        if self._working is not None:
            self._working.cancel()

    # --- the result

    def _open(self) -> None:
        if self._folder is not None:
            open_folder(self._folder)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.code.text())
        self.copy.setText(_("Copied"))


def _what_it_does() -> str:
    return _(
        "Writes the newest checkpoint of a run on this machine as a folder that the library"
        " transformers loads by itself, with tokenizer and model card. Training goes on meanwhile."
    )


def _place_of(swarm: Swarm | None, runs: list[KeptRun]) -> int:
    """Of the swarm's newest run; the first place for no swarm, or one that didn't train here."""
    run_ids = [run.spec.run_id for run in runs]
    return run_ids.index(swarm.run_id) if swarm and swarm.run_id in run_ids else 0


def _run_in_words(run: KeptRun) -> str:
    return _("{title}, epoch {epoch} ({date})").format(
        title=run.spec.name, epoch=units.count(run.epoch), date=units.date(run.saved_at)
    )


def _result_in_words(folder: Path, result: Exported, aside: Path | None) -> str:
    lines = [
        _("Exported epoch {epoch}, {size}: {folder}").format(
            epoch=units.count(result.epoch), size=units.size(result.size), folder=folder
        )
    ]
    text = _("{file} is damaged: an older checkpoint was taken.")
    lines += (text.format(file=name) for name in result.passed_over)
    if aside is not None:
        lines.append(_("What lay there is now {folder}").format(folder=aside))
    return "\n".join(lines)


async def _facts(session: "Session", run: KeptRun) -> ExportFacts:
    """What this machine knows of the run, now."""
    shown = session.machines.publishing and run.is_own
    names = {session.machines.alias} if shown else set[str]()
    swarm = session.store.state.swarm
    if swarm is not None and swarm.run_id == run.spec.run_id:
        machines = await session.machines.read()
        names |= {machine.record.alias for machine in machines if machine.trains}
    return ExportFacts(since=run.since, contributors=tuple(sorted(names - {""})))
