"""The account dialog, with a small real backend."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.contributions.ledger import Ledger
from app.state.events import ReportingChanged
from tests.support.backend.server import Fault, SmallBackend
from tests.support.gui.windows import Bench, clipped
from tests.support.training.works import contribution
from ui.dialogs.account import AccountDialog, SignInForm

pytestmark = pytest.mark.gui

EMAIL, PASSWORD = "you@example.org", "a good password"


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallBackend]:
    """A backend that runs before the window is made, since the settings hold its address."""
    with SmallBackend() as made:
        made.add_user(EMAIL, PASSWORD)
        monkeypatch.setenv("BACKEND_URL", made.url)
        yield made


@pytest.fixture(autouse=True)
def opened(backend: SmallBackend, bench: Bench, until_done: Callable[..., Any]) -> None:
    until_done(bench.session.contributions.open())
    until_done(bench.session.account.open())


def dialog_of(bench: Bench) -> AccountDialog:
    bench.actions.account_wanted.emit()
    made = bench.window.dialogs._shown["account"]
    assert isinstance(made, AccountDialog)
    return made


def shown(bench: Bench) -> SignInForm:
    return dialog_of(bench).form


def fill(form: SignInForm, **values: str) -> None:
    for name, value in values.items():
        form.fields[name].set_value(value)


def signed_in_as(bench: Bench) -> str:
    return bench.session.store.state.reporting.signed_in_as


def test_signing_in_by_keyboard(bench: Bench, qtbot: QtBot) -> None:
    form = shown(bench)
    qtbot.keyClicks(form.fields["email"].control, EMAIL)
    qtbot.keyClicks(form.fields["password"].control, PASSWORD)
    qtbot.keyClick(form.fields["password"].control, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: signed_in_as(bench) == EMAIL)
    qtbot.waitUntil(lambda: "account" not in bench.window.dialogs._shown)
    kept = bench.session.folders.account_file.read_text()
    assert PASSWORD not in kept  # only who stays signed in has it kept


def test_staying_signed_in_keeps_the_password(bench: Bench, qtbot: QtBot) -> None:
    form = shown(bench)
    fill(form, email=EMAIL, password=PASSWORD)
    form.stay.setChecked(True)
    form.go.click()
    qtbot.waitUntil(lambda: signed_in_as(bench) == EMAIL)
    assert PASSWORD in bench.session.folders.account_file.read_text()


def test_password_is_hidden(bench: Bench) -> None:
    control = shown(bench).fields["password"].control
    assert isinstance(control, QLineEdit)
    assert control.echoMode() is QLineEdit.EchoMode.Password


@pytest.mark.parametrize(
    ("values", "new", "field", "said"),
    [
        ({"email": "you", "password": PASSWORD}, False, "email", "no e-mail address"),
        ({"email": EMAIL, "password": ""}, False, "password", "missing"),
        ({"email": EMAIL, "password": "wrong"}, False, "password", "Invalid credentials"),
        ({"email": "new@example.org", "password": "short"}, True, "password", "8 characters"),
        ({"email": EMAIL, "password": PASSWORD}, True, "email", "already exists"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    bench: Bench, qtbot: QtBot, values: dict[str, str], new: bool, field: str, said: str
) -> None:
    form = shown(bench)
    form.new.setChecked(new)
    fill(form, **values)
    form.go.click()
    qtbot.waitUntil(lambda: said in form.fields[field].error.text())
    assert form.go.isEnabled()
    assert not form.error.isVisible()
    assert signed_in_as(bench) == ""


def test_making_an_account(bench: Bench, backend: SmallBackend, qtbot: QtBot) -> None:
    form = shown(bench)
    assert not form.fields["username"].isVisible()
    form.new.setChecked(True)
    assert form.fields["username"].isVisible()
    fill(form, email="new@example.org", password=PASSWORD, username="new")
    form.go.click()
    qtbot.waitUntil(lambda: signed_in_as(bench) == "new@example.org")
    assert "new@example.org" in backend.users


def test_signing_out(bench: Bench, qtbot: QtBot, until_done: Callable[..., Any]) -> None:
    until_done(bench.session.account.sign_in(EMAIL, password=PASSWORD))
    qtbot.waitUntil(lambda: signed_in_as(bench) == EMAIL)
    dialog_of(bench).known.leave.click()
    qtbot.waitUntil(lambda: signed_in_as(bench) == "")
    assert not bench.session.folders.account_file.exists()
    qtbot.waitUntil(lambda: "account" not in bench.window.dialogs._shown)


def test_a_sign_out_that_is_refused_is_said_in_the_dialog(
    bench: Bench, qtbot: QtBot, until_done: Callable[..., Any]
) -> None:
    until_done(bench.session.account.sign_in(EMAIL, password=PASSWORD))
    qtbot.waitUntil(lambda: signed_in_as(bench) == EMAIL)
    known = dialog_of(bench).known
    bench.session.account._account = None  # as long as the session opens
    known.leave.click()
    qtbot.waitUntil(known.error.isVisible)
    assert bench.session.store.state.problem is None
    assert not clipped(bench.window.dialogs._shown["account"])


def test_signing_in_again_when_the_backend_has_ended_the_sign_in(
    bench: Bench, qtbot: QtBot, until_done: Callable[..., Any]
) -> None:
    until_done(bench.session.account.sign_in(EMAIL, password=PASSWORD))
    qtbot.waitUntil(lambda: signed_in_as(bench) == EMAIL)
    dialog = dialog_of(bench)
    assert not dialog.form.isVisible()
    dialog.known.again.click()
    assert dialog.form.isVisible()
    assert dialog.form.fields["email"].value == EMAIL
    fill(dialog.form, password=PASSWORD)
    dialog.form.go.click()
    qtbot.waitUntil(lambda: "account" not in bench.window.dialogs._shown)


def test_backend_that_is_away_is_said(bench: Bench, backend: SmallBackend, qtbot: QtBot) -> None:
    form = shown(bench)
    fill(form, email=EMAIL, password=PASSWORD)
    backend.stop()
    try:
        form.go.click()
        qtbot.waitUntil(form.error.isVisible)
        assert "can't be reached" in form.error.text()
    finally:
        backend.start_again()


def test_signing_in_reports_what_waits_and_tells_the_reward(
    bench: Bench, backend: SmallBackend, qtbot: QtBot, until_done: Callable[..., Any]
) -> None:
    backend.quirk = False
    until_done(bench.session.contributions.ledger.run(Ledger.add, contribution()))
    bench.open("Contributions")
    reports = bench.window.contributions.widget.reports
    qtbot.waitUntil(lambda: reports.value("waiting") == "1")
    reports.account.click()
    form = shown(bench)
    fill(form, email=EMAIL, password=PASSWORD)
    form.go.click()
    qtbot.waitUntil(lambda: reports.value("confirmed") == "1")
    qtbot.waitUntil(lambda: reports.value("reward") == "100\u00a0% (place 1)")
    assert len(backend.rows) == 1
    assert reports.value("account") == EMAIL


def test_refused_ones_are_tried_again_when_asked(
    bench: Bench, backend: SmallBackend, qtbot: QtBot, until_done: Callable[..., Any]
) -> None:
    backend.quirk = False
    refusal = {"statusCode": 422, "message": ["computeTime must be a planned fault"]}
    backend.faults.append(Fault(route="submit", status=422, body=refusal))
    until_done(bench.session.account.sign_in(EMAIL, password=PASSWORD))
    bench.open("Contributions")
    until_done(bench.session.contributions.ledger.run(Ledger.add, contribution()))
    reports = bench.window.contributions.widget.reports
    qtbot.waitUntil(lambda: reports.refused.isVisible() and reports.retry.isVisible())
    assert "a planned fault" in reports.refused.text()
    qtbot.mouseClick(reports.retry, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: reports.value("confirmed") == "1")
    assert not reports.refused.isVisible()


def test_an_address_that_is_not_encrypted_is_said(bench: Bench) -> None:
    store = bench.session.store
    for allowed, said in ((False, "not sent there"), (True, "can read your password")):
        reporting = replace(store.state.reporting, encrypted=False, plain_http=allowed)
        store.dispatch(ReportingChanged(reporting=reporting))
        form = SignInForm(bench.model)
        texts = [each.text() for each in form.findChildren(QLabel)]
        assert any(said in text for text in texts)


def test_nobody_is_asked_for_a_password_where_no_backend_is_set_up(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backend.failures.COMPOSE_HOST", "backend.invalid")  # no such name
    store = bench.session.store
    reporting = replace(store.state.reporting, backend_url="http://backend.invalid:3001")
    store.dispatch(ReportingChanged(reporting=reporting))
    form = shown(bench)
    qtbot.waitUntil(lambda: "No CoTrain backend is set up here" in form.error.text())
    assert not form.fields["password"].isVisible()
    assert not form.go.isVisible()
    assert form.cancels.isVisible()
    assert not any(
        "backend.invalid" in each.text() for each in form.findChildren(QLabel) if each.isVisible()
    )
