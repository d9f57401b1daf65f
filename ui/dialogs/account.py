"""The dialog for the account at the backend: sign in, create an account, sign out."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget
from shiboken6 import isValid

from app.backend.reporting import Reporting
from app.common.errors import UserFacingError
from app.common.i18n import _
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.texts import states as texts
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.forms.fields import Field, error_label, line_edit, show_error
from ui.widgets.labels import label

WIDTH = 520
SPACING = 16


class AccountDialog(Dialog):
    """Shows the account that is signed in, or the form to sign in."""

    def __init__(self, model: SessionModel, window: QWidget) -> None:
        super().__init__(window, _("Account"), width=WIDTH, scrolls=True)
        self._model = model
        self.known, self.form = KnownAccount(model), SignInForm(model)
        for part in (self.known, self.form):
            self.column.addWidget(part)
            part.done.connect(self.accept)
            part.grown.connect(self.fit)
        self.form.cancels.clicked.connect(self.reject)
        self.known.again.clicked.connect(self._sign_in_again)
        self._show(form=not model.state.reporting.signed_in_as)

    def _sign_in_again(self) -> None:
        """Show the form: the backend ended the sign-in, or the user wants another account."""
        self.form.fields["email"].set_value(self._model.state.reporting.signed_in_as)
        self._show(form=True)
        self.form.fields["password"].control.setFocus()

    def _show(self, *, form: bool) -> None:
        self.form.setVisible(form)
        self.known.setVisible(not form)
        self.form.go.setDefault(form)
        self.fit()


class KnownAccount(QWidget):
    """Says which account is signed in, with buttons to sign out or in again."""

    done = Signal()
    """The user signed out."""

    grown = Signal()
    """It may need more room."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._account = model.session.account
        state = model.state.reporting
        text = _("You are signed in to {url} as {email}. Contributions are reported there.")
        self.leave, self.again = button(_("Sign out")), button(_("Sign in again…"))
        self.leave.setAutoDefault(False)  # Return must not sign out
        self.leave.clicked.connect(lambda: model.run(self._sign_out()))
        column = _column(self)
        where = text.format(url=state.backend_url, email=state.signed_in_as)
        column.addWidget(label(where, wrap=True))
        column.addWidget(label(_kept(), "muted", wrap=True))
        self.error = error_label()
        column.addWidget(self.error)
        column.addLayout(_row(self.leave, self.again))

    async def _sign_out(self) -> None:
        try:
            await self._account.sign_out()
        except UserFacingError as error:
            if not isValid(self):  # the dialog was closed meanwhile
                raise
            show_error(self.error, texts.error_text(error))
            announce(self.error)
            self.grown.emit()
            return
        if isValid(self):
            self.done.emit()


class SignInForm(QWidget):
    """Signs in, or creates an account first."""

    done = Signal()
    """The user is signed in."""

    grown = Signal()
    """The form may need more room."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._account: Reporting = model.session.account
        self._needs_backend: list[QWidget] = []
        self.fields = {
            "email": Field(_("E-mail"), line_edit()),
            "password": Field(_("Password"), _hidden()),
            "username": Field(_("Name"), line_edit(), _("May be left empty.")),
        }
        self.new = QCheckBox(_("I have no account yet: make one"))
        self.stay = QCheckBox(_("Stay signed in"))
        self.stay.setAccessibleDescription(_stay())
        self.error = error_label()
        self.go, self.cancels = button(kind="primary"), button(_("Cancel"))
        self._lay_out()
        self.go.clicked.connect(self._submit)
        self.new.toggled.connect(self._show_kind)
        self._show_kind(False)
        model.run(self._look_for_backend())

    def _lay_out(self) -> None:
        state = self._model.state.reporting
        column = _column(self)
        text = _("Sign in to {url}, and what this machine gives to its swarms is reported there.")
        self._needs_backend = [label(text.format(url=state.backend_url), "muted", wrap=True)]
        if not state.encrypted:
            warning = _not_encrypted(allowed=state.plain_http)
            self._needs_backend.append(label(warning, "caution", wrap=True))
        self._needs_backend += [*self.fields.values(), self.new, self.stay]
        self._needs_backend += [label(_stay(), "small", wrap=True), self.go]
        for part in (*self._needs_backend[:-1], self.error):
            column.addWidget(part)
        column.addStretch()
        column.addLayout(_row(self.cancels, self.go))

    def _show_kind(self, new: bool) -> None:
        self.fields["username"].setVisible(new)
        self.go.setText(_("Make the account") if new else _("Sign in"))
        self.grown.emit()

    async def _look_for_backend(self) -> None:
        """Ask nobody for a password that could be sent nowhere."""
        try:
            await self._account.look_for_backend()
        except UserFacingError as error:
            if not isValid(self):
                return
            for part in self._needs_backend:
                part.hide()
            self._show_problem(error)

    # --- signing in

    def _submit(self) -> None:
        self._show_problem(None)
        self.go.setEnabled(False)
        self._model.run(self._try())

    async def _try(self) -> None:
        problem: UserFacingError | None = None
        try:
            await self._sign_in()
        except UserFacingError as error:
            problem = error
        if not isValid(self):
            return  # the dialog was closed meanwhile
        self.go.setEnabled(True)
        self._show_problem(problem)
        if problem is None:
            self.done.emit()

    async def _sign_in(self) -> None:
        email, name = (self.fields[each].value.strip() for each in ("email", "username"))
        password, stay = self.fields["password"].value, self.stay.isChecked()
        if self.new.isChecked():
            await self._account.register(email, password=password, username=name, stay=stay)
        else:
            await self._account.sign_in(email, password=password, stay=stay)

    def _show_problem(self, error: UserFacingError | None) -> None:
        for field in self.fields.values():
            field.show_problem(None)
        place = None if error is None else self.fields.get(error.field)
        if place is not None:
            place.show_problem(error)
            place.control.setFocus()
        text = "" if error is None or place is not None else texts.error_text(error)
        show_error(self.error, text)
        self.grown.emit()


def _column(widget: QWidget) -> QVBoxLayout:
    made = QVBoxLayout(widget)
    made.setContentsMargins(0, 0, 0, 0)
    made.setSpacing(SPACING)
    return made


def _row(*buttons: QPushButton) -> QHBoxLayout:
    made = QHBoxLayout()
    made.addStretch()
    for each in buttons:
        made.addWidget(each)
    return made


def _hidden() -> QLineEdit:
    made = line_edit()
    made.setEchoMode(QLineEdit.EchoMode.Password)
    return made


def _not_encrypted(*, allowed: bool) -> str:
    if allowed:
        return _("This address is not encrypted: others on the way can read your password.")
    return _(
        "This address is not encrypted, so your password is not sent there. Use an https address,"
        " or allow it in the settings."
    )


def _stay() -> str:
    return _(
        "The backend ends each sign-in after a week. With this, your password is kept as well, and"
        " this machine signs in again by itself. {kept}"
    ).format(kept=_kept())


def _kept() -> str:
    return _(
        "What a sign-in needs is kept in the system's keyring or, where there is none, in a file"
        " that only you can read."
    )
