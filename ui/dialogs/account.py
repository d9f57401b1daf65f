"""The account at the backend: sign in, make one, sign out."""

from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget
from shiboken6 import isValid

from app.errors import UserFacingError
from app.i18n import _
from ui.dialogs.dialog import Dialog
from ui.session_model import SessionModel
from ui.widgets.buttons import button
from ui.widgets.form import Field, error_label, line_edit, show_error
from ui.widgets.labels import label

WIDTH = 520


class AccountDialog(Dialog):
    """Shows the account that is signed in, or the fields to do so."""

    def __init__(self, model: SessionModel, window: QWidget) -> None:
        super().__init__(window, _("Account"), width=WIDTH)
        self._model = model
        self._reporting = model.session.reporting
        self.error = error_label()
        if self._reporting.state.signed_in_as:
            self._show_account()
        else:
            self._show_fields()

    # --- signed in

    def _show_account(self) -> None:
        state = self._reporting.state
        text = _("You are signed in to {url} as {email}. Contributions are reported there.")
        where = text.format(url=state.backend_url, email=state.signed_in_as)
        self.column.addWidget(label(where, wrap=True))
        self.column.addWidget(label(_kept(), "muted", wrap=True))
        self.column.addWidget(self.error)
        self.leave, closes = button(_("Sign out")), button(_("Close"), "primary")
        self.leave.clicked.connect(lambda: self._model.run(self._sign_out()))
        closes.clicked.connect(self.accept)
        self.add_buttons(self.leave, closes)

    async def _sign_out(self) -> None:
        await self._reporting.sign_out()
        if isValid(self):
            self.accept()

    # --- signing in

    def _show_fields(self) -> None:
        state = self._reporting.state
        text = _("Sign in to {url}, and what this machine gives to its swarms is reported there.")
        self.column.addWidget(label(text.format(url=state.backend_url), "muted", wrap=True))
        if not state.encrypted:
            text = _("This address is not encrypted: others on the way can read your password.")
            self.column.addWidget(label(text, "caution", wrap=True))
        self.fields = {
            "email": Field(_("E-mail"), line_edit()),
            "password": Field(_("Password"), _hidden()),
            "username": Field(_("Name"), line_edit(), _("May be left empty.")),
        }
        for field in self.fields.values():
            self.column.addWidget(field)
        self.new = QCheckBox(_("I have no account yet: make one"))
        self.stay = QCheckBox(_("Stay signed in"))
        self.stay.setAccessibleDescription(_stay())
        for part in (self.new, self.stay, label(_stay(), "small", wrap=True), self.error):
            self.column.addWidget(part)
        self.go, cancels = button(kind="primary"), button(_("Cancel"))
        self.go.setDefault(True)
        self.go.clicked.connect(self._submit)
        cancels.clicked.connect(self.reject)
        self.add_buttons(cancels, self.go)
        self.new.toggled.connect(self._show_kind)
        self._show_kind(False)

    def _show_kind(self, new: bool) -> None:
        self.fields["username"].setVisible(new)
        self.go.setText(_("Make the account") if new else _("Sign in"))
        self.fit()

    def _value(self, name: str) -> str:
        return self.fields[name].value

    def _submit(self) -> None:
        self._show_problem(None)
        self.go.setEnabled(False)
        self._model.run(self._try())

    async def _try(self) -> None:
        try:
            await self._sign_in()
        except UserFacingError as error:
            if isValid(self):
                self._show_problem(error)
                self.go.setEnabled(True)
        else:
            if isValid(self):
                self.accept()

    async def _sign_in(self) -> None:
        email, password = self._value("email").strip(), self._value("password")
        stay = self.stay.isChecked()
        if self.new.isChecked():
            name = self._value("username").strip()
            await self._reporting.register(email, password=password, username=name, stay=stay)
        else:
            await self._reporting.sign_in(email, password=password, stay=stay)

    def _show_problem(self, error: UserFacingError | None) -> None:
        for field in self.fields.values():
            field.show_problem(None)
        place = None if error is None else self.fields.get(error.field)
        if place is not None:
            place.show_problem(error)
            place.control.setFocus()
        text = "" if error is None or place is not None else error.text
        show_error(self.error, text[:1].upper() + text[1:])
        self.fit()


def _hidden() -> QLineEdit:
    made = line_edit()
    made.setEchoMode(QLineEdit.EchoMode.Password)
    return made


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
