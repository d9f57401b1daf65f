"""The dialog that checks the connection and lists what it finds."""

import asyncio

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.common.i18n import _, ngettext
from app.swarm.connection_check import Finding, Grade
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.style.icons import ThemedPicture
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.labels import label

WIDTH, HEIGHT, ROWS_HEIGHT = 640, 560, 240

_PICTURES = {
    Grade.GOOD: ("check", "accent_text"),
    Grade.CAUTION: ("warning", "caution"),
    Grade.BAD: ("close", "danger_text"),
    Grade.UNKNOWN: ("unknown", "muted"),
}


class ConnectionCheckDialog(Dialog):
    """Runs the check when it is opened, and again on request."""

    checked = Signal()
    """The check is complete."""

    def __init__(self, model: SessionModel, theme: Theme, window: QWidget) -> None:
        super().__init__(window, _("Check the connection"), width=WIDTH)
        self._model = model
        self._theme = theme
        self.findings: list[Finding] = []
        self._checking: asyncio.Task[None] | None = None
        self.summary = label(role="strong", wrap=True)
        self.again = button(_("Check again"))
        self.copy = button(_("Copy as text"), later=[_("Copied")])
        self.close_button = button(_("Close"), "primary")
        self._lay_out()
        self.resize(WIDTH, HEIGHT)
        self.again.clicked.connect(self.check)
        self.copy.clicked.connect(self._copy)
        self.close_button.clicked.connect(self.accept)
        self.finished.connect(self._stop)
        self.check()

    def _lay_out(self) -> None:
        self.column.addWidget(label(_("Why am I not connected?"), "page"))
        self.column.addWidget(self.summary)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setMinimumHeight(ROWS_HEIGHT)
        self._scroll.setAccessibleName(_("What was found"))
        self.column.addWidget(self._scroll, 1)
        self.add_buttons(self.copy, self.again, self.close_button)

    def check(self) -> None:
        """Run the whole check from the start."""
        self._stop()
        self.findings.clear()
        page = QWidget()
        page.setObjectName("page")
        self._rows = QVBoxLayout(page)
        self._rows.setContentsMargins(0, 0, 8, 0)
        self._rows.setSpacing(12)
        self._rows.addStretch()
        self._scroll.setWidget(page)
        self.copy.setText(_("Copy as text"))
        self._say(_("Checking… This takes up to half a minute."), done=False)
        self._checking = self._model.start(self._check())

    async def _check(self) -> None:
        async for finding in self._model.session.check_connection():
            self.findings.append(finding)
            self._rows.insertWidget(self._rows.count() - 1, FindingRow(finding, self._theme))
        self._say(_summary(self.findings), done=True)
        self.checked.emit()

    def _say(self, text: str, *, done: bool) -> None:
        self.summary.setText(text)
        self.again.setEnabled(done)
        self.copy.setEnabled(done)
        self.summary.setAccessibleName(text)
        announce(self.summary)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(as_text(self.findings))
        self.copy.setText(_("Copied"))

    def _stop(self) -> None:
        if self._checking is not None:
            self._checking.cancel()


class FindingRow(QFrame):
    """One finding: an icon for its verdict, its text, and its remedy."""

    def __init__(self, finding: Finding, theme: Theme) -> None:
        super().__init__()
        self.setAccessibleName(_line(finding))
        picture = label()
        name, color = _PICTURES[finding.verdict]
        ThemedPicture(picture, name, theme, color=color)
        set_tool_tip(picture, _verdict(finding.verdict))
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(label(f"{finding.check}: {_verdict(finding.verdict)}", "strong", wrap=True))
        for text, role in ((finding.text, ""), (finding.remedy, "muted")):
            if text:
                words.addWidget(label(text, role, wrap=True))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)


def as_text(findings: list[Finding]) -> str:
    """All findings as text, for a mail or a bug report."""
    return "\n".join(map(_line, findings))


def _line(finding: Finding) -> str:
    verdict = _verdict(finding.verdict)
    return f"[{verdict}] {finding.check}: {finding.text} {finding.remedy}".rstrip()


def _verdict(verdict: Grade) -> str:
    return {
        Grade.GOOD: _("fine"),
        Grade.CAUTION: _("take care"),
        Grade.BAD: _("problem"),
        Grade.UNKNOWN: _("not known"),
    }[verdict]


def _summary(findings: list[Finding]) -> str:
    bad = sum(finding.verdict is Grade.BAD for finding in findings)
    if bad:
        text = ngettext("{count} problem was found.", "{count} problems were found.", bad)
        return text.format(count=units.count(bad))
    if any(finding.verdict is Grade.CAUTION for finding in findings):
        return _("Nothing keeps this machine from being connected, but look at what is marked.")
    return _("Nothing was found that keeps this machine from being connected.")
