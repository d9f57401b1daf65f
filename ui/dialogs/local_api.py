"""The dialog for the local API: its address, its tokens, and whose tasks are accepted."""

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget
from shiboken6 import isValid

from app.callback.tokens import ApiTokens, Role
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.session import Session
from app.tasks.tasks import Consent
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.style.plain import set_tool_tip
from ui.texts.states import error_text
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.card import Card
from ui.widgets.choice import Choice
from ui.widgets.forms.fields import error_label, show_error
from ui.widgets.labels import ElidedLabel, label

WIDTH = 620
MASK = "•" * 24


class LocalApiDialog(Dialog):
    """Address, tokens and consent. tokens: None while the API isn't running."""

    def __init__(self, window: QWidget, model: SessionModel, *, tokens: ApiTokens | None) -> None:
        super().__init__(window, _("Local API"), width=WIDTH, scrolls=True)
        self._model = model
        self._session = session = model.session
        self.finished.connect(self.deleteLater)
        self.column.addWidget(label(_introduction(session), "muted", wrap=True))
        if session.store.state.local_api is not None and tokens is not None:
            self._show_address()
            self._show_tokens(tokens)
            self._show_consent(Consent.of(session.store.settings))
        closing = button(_("Close"))
        closing.clicked.connect(self.accept)
        self.add_buttons(closing)

    def _show_address(self) -> None:
        api = self._session.store.state.local_api
        assert api is not None
        card = self._card(_("Address"))
        row = QHBoxLayout()
        self.address = ElidedLabel(api.url, "strong")
        self.copy_address, self.describe = button(_("Copy")), button(_("Open description"))
        self.page = button(_("Open page"))
        self.copy_address.setAccessibleName(_("Copy the address"))
        self.copy_address.clicked.connect(lambda: _copy(api.url))
        self.describe.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(f"{api.url}/docs")))
        row.addWidget(self.address, 1)
        self.page.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(api.url)))
        for each in (self.copy_address, self.page, self.describe):
            row.addWidget(each)
        card.column.addLayout(row)
        if api.wanted_port not in (0, api.port):
            text = _("Port {port} is taken by another program, so the next free one is used.")
            card.column.addWidget(label(text.format(port=api.wanted_port), "muted", wrap=True))

    def _show_tokens(self, tokens: ApiTokens) -> None:
        card = self._card(_("Tokens"))
        text = _("Give the operator's token only to those who may start and stop training here.")
        card.column.addWidget(label(text, "muted", wrap=True))
        self.operator = TokenRow(tokens, Role.OPERATOR, _("Operator: reads and changes"))
        self.viewer = TokenRow(tokens, Role.VIEWER, _("Viewer: reads only"))
        for token in (self.operator, self.viewer):
            token.grown.connect(self.fit)
            card.column.addWidget(token)

    def _show_consent(self, consent: Consent) -> None:
        card = self._card(_("Tasks from outside"))
        self.modes = Choice()
        for mode, words in _modes(consent).items():
            self.modes.addItem(words, mode)
        self.modes.setCurrentIndex(self.modes.findData(consent.mode))
        self.modes.setAccessibleName(_("Whose tasks are accepted"))
        self.modes.activated.connect(self._choose)
        self.error = error_label()
        card.column.addWidget(self.modes)
        card.column.addWidget(self.error)

    def _choose(self, index: int) -> None:
        self._model.run(self._do_choose(str(self.modes.itemData(index))))

    async def _do_choose(self, mode: str) -> None:
        problem = ""
        try:
            await self._session.change_settings({"consent": mode})
        except UserFacingError as error:
            if not isValid(self):  # the dialog was closed meanwhile
                raise
            problem = error_text(error)
        if isValid(self):
            show_error(self.error, problem)
            self.modes.setCurrentIndex(self.modes.findData(self._session.store.settings.consent))
            if problem:
                announce(self.error)
                self.fit()

    def _card(self, title: str) -> Card:
        card = Card(title)
        card.column.addWidget(label(title, "strong"))
        self.column.addWidget(card)
        return card


class TokenRow(QWidget):
    """One token, masked until the user wants to see it, with buttons to copy and renew it."""

    grown = Signal()
    """It needs more room."""

    def __init__(self, tokens: ApiTokens, role: Role, words: str) -> None:
        super().__init__()
        self._tokens = tokens
        self._role = role
        self._shown = False
        self.value = ElidedLabel()
        self.error = error_label()
        self.show_it = button(_("Show"), later=[_("Hide")])
        self.copy = button(_("Copy"))
        self.renew = button(_("Renew"))
        self.show_it.clicked.connect(self._toggle)
        self.copy.clicked.connect(lambda: _copy(tokens.of(role)))
        self.renew.clicked.connect(self._renew)
        for each in (self.show_it, self.copy, self.renew):
            each.setAccessibleName(f"{each.text()}: {words}")
            each.setMinimumHeight(each.sizeHint().height())  # in a short window, shrink the rest
        set_tool_tip(self.renew, _("The old token no longer works then."))
        self._lay_out(words)
        self._say()

    def _lay_out(self, words: str) -> None:
        row = QHBoxLayout()
        row.addWidget(self.value, 1)
        for each in (self.show_it, self.copy, self.renew):
            row.addWidget(each)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 4)
        column.setSpacing(4)
        column.addWidget(label(words))
        column.addLayout(row)
        column.addWidget(self.error)

    def _say(self) -> None:
        self.value.set_full(self._tokens.of(self._role) if self._shown else MASK)
        self.show_it.setText(_("Hide") if self._shown else _("Show"))

    def _toggle(self) -> None:
        self._shown = not self._shown
        self._say()

    def _renew(self) -> None:
        problem = ""
        try:
            self._tokens.renew(self._role)
        except UserFacingError as error:
            problem = error_text(error)
        show_error(self.error, problem)
        if problem:
            announce(self.error)
            self.grown.emit()
        self._say()


def _introduction(session: Session) -> str:
    if not session.store.settings.callback:
        return _("The local API is switched off, so no program can reach this app.")
    if session.store.state.local_api is None:
        return _("The local API isn't running yet, or couldn't start; the log says more.")
    return _(
        "Programs that you allow, such as the CoTrain backend, can ask this app how training goes"
        " and give it tasks. Reading is open to programs of this machine, changing needs a token."
    )


def _modes(consent: Consent) -> dict[str, str]:
    backends = ", ".join(consent.backends) or "–"
    return {
        "ask": _("Ask me each time"),
        "always": _("Always accept those from {backends}, ask about others").format(
            backends=backends
        ),
        "never": _("Never accept any"),
    }


def _copy(text: str) -> None:
    QGuiApplication.clipboard().setText(text)
