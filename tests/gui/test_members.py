"""A signed invite in the window, and the members of a closed swarm."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.common.errors import RosterError
from app.organiser.files import OrganiserFiles
from app.organiser.roster import Member
from app.spec import schema
from app.spec.signing import signed
from app.state.events import AccessChanged, Left, TrainingAwaited
from app.state.facts import Access
from tests.support.gui.windows import DEVICES, WATCHING, Bench
from tests.support.organiser.organisers import FIRST, PLAIN, SECOND, organiser
from tests.support.training.specs import SMALLEST
from ui.dialogs.join.dialog import JoinDialog
from ui.dialogs.members import MembersDialog
from ui.dialogs.start.dialog import StartDialog

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
ADA = organiser()
POEMS = schema.parse({**SMALLEST, "run_id": "poems", "title": "Poems"})
SIGNED = signed(POEMS, ADA, name="Ada <b>", closed=True)
OURS = Access(
    closed=True,
    code=FIRST,
    organised_here=True,
    members=(Member(peer_id=FIRST, label="Ada"), Member(peer_id=PLAIN, label="Bob")),
)


# --- whose invite it is


@pytest.fixture
def dialog(bench: Bench) -> JoinDialog:
    bench.dispatch(*DEVICES)
    bench.window.dialogs.join()
    made = bench.window.dialogs._shown["join"]
    assert isinstance(made, JoinDialog)
    return made


def test_an_organiser_is_new_then_known(bench: Bench, dialog: JoinDialog, qtbot: QtBot) -> None:
    dialog.show_spec(SIGNED)
    qtbot.waitUntil(lambda: "new" in dialog.preview.signer.text())
    assert ADA.public_key[:12] in dialog.preview.signer.text()
    assert dialog.preview.signer.textFormat() is Qt.TextFormat.PlainText
    bench.session.organisation._known.remember("poems", SIGNED.organiser)
    dialog.show_spec(SIGNED)
    qtbot.waitUntil(lambda: "known" in dialog.preview.signer.text())
    assert dialog.join.isEnabled()
    assert not dialog.preview.forged.isVisible()


@pytest.mark.parametrize("doubtful", [POEMS, signed(POEMS, organiser(), name="Eve", closed=False)])
def test_another_organiser_must_be_accepted(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot, doubtful: schema.SwarmSpec
) -> None:
    bench.session.organisation._known.remember("poems", SIGNED.organiser)
    dialog.show_spec(doubtful)
    qtbot.waitUntil(dialog.preview.forged.isVisible)
    assert not dialog.join.isEnabled()
    assert not dialog.watch.isEnabled()
    qtbot.mouseClick(dialog.preview.trust, LEFT, pos=dialog.preview.trust.rect().center())
    dialog.preview.trust.setChecked(True)
    qtbot.mouseClick(dialog.join, LEFT)
    qtbot.waitUntil(lambda: "join poems" in bench.session.calls)
    known = bench.session.organisation._known.judge("poems", doubtful.organiser)
    assert known.standing in ("known", "unsigned")


def test_a_swarm_that_was_looked_at_before_leaves_no_warning(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot
) -> None:
    bench.session.organisation._known.remember("poems", SIGNED.organiser)
    dialog.show_spec(POEMS)
    qtbot.waitUntil(dialog.preview.forged.isVisible)
    dialog.show_spec(SIGNED)
    qtbot.waitUntil(dialog.preview.signer.isVisible)
    assert not dialog.preview.forged.isVisible()
    assert dialog.join.isEnabled()


# --- starting one


@pytest.mark.parametrize("access", ["signed", "closed"])
def test_a_started_swarm_is_signed(bench: Bench, qtbot: QtBot, access: str) -> None:
    bench.dispatch(*DEVICES)
    bench.window.dialogs.start()
    form = bench.window.dialogs._shown["start"]
    assert isinstance(form, StartDialog)
    form.fields["run_id"].set_value("poems")
    assert not form.fields["organiser.name"].isVisibleTo(form)
    form.fields["organiser.access"].set_value(access)
    form.try_to_start()
    assert form.isVisible()  # the name is missing
    form.fields["organiser.name"].set_value("Ada")
    form.try_to_start()
    qtbot.waitUntil(lambda: "join poems" in bench.session.calls)
    files = OrganiserFiles(bench.session.folders.data)
    assert files.key.exists()
    assert files.roster("poems").exists() is (access == "closed")


# --- members


@pytest.fixture
def members(bench: Bench, qtbot: QtBot) -> MembersDialog:
    bench.dispatch(*WATCHING, AccessChanged(access=OURS))
    bench.window.dialogs.members()
    made = bench.window.dialogs._shown["members"]
    assert isinstance(made, MembersDialog)
    return made


def items(dialog: MembersDialog) -> list[str]:
    return [dialog.list.item(row).text() for row in range(dialog.list.count())]


def test_the_organiser_sees_who_is_there(members: MembersDialog) -> None:
    assert items(members) == [f"Ada · {FIRST} · not seen", f"Bob · {PLAIN} · not seen"]
    assert "2 members" in members.words.text()
    assert members.add.isVisible()


def test_a_member_changes_nothing(bench: Bench, members: MembersDialog, qtbot: QtBot) -> None:
    bench.dispatch(
        AccessChanged(access=Access(closed=True, admitted=False, code=SECOND, members=OURS.members))
    )
    qtbot.waitUntil(lambda: not members.add.isVisible())
    assert SECOND in members.words.text()
    qtbot.mouseClick(members.copy, LEFT)
    assert QGuiApplication.clipboard().text() == SECOND


def test_members_are_added_and_removed(
    bench: Bench, members: MembersDialog, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    called: list[tuple[str, ...]] = []

    async def note(*arguments: str) -> None:
        called.append(arguments)

    monkeypatch.setattr(bench.session.organisation, "add", note)
    monkeypatch.setattr(bench.session.organisation, "remove", note)
    assert not members.add.isEnabled()
    assert not members.remove.isEnabled()
    members.code.setText(SECOND)
    members.label.setText("Eve")
    qtbot.keyClick(members.code, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: called == [(SECOND, "Eve")])
    qtbot.waitUntil(lambda: members.code.text() == "")
    members.list.setCurrentRow(1)
    qtbot.mouseClick(members.remove, LEFT)
    qtbot.waitUntil(lambda: called[1:] == [(PLAIN,)])


def test_what_can_not_be_added_is_said(members: MembersDialog, qtbot: QtBot) -> None:
    members.code.setText(SECOND)  # the test's session has no organiser's key
    qtbot.mouseClick(members.add, LEFT)
    qtbot.waitUntil(lambda: "organiser's key" in members.error.text())
    assert members.code.text() == SECOND


def test_what_is_wrong_with_a_code_is_said_without_the_name_of_a_field(
    members: MembersDialog,
) -> None:
    members._show_problem(RosterError("“x” is no peer id.", field="peer_id", remedy="Look."))
    assert members.error.text() == "“x” is no peer id. Look."


def test_it_closes_with_the_swarm(bench: Bench, members: MembersDialog, qtbot: QtBot) -> None:
    bench.dispatch(Left())
    qtbot.waitUntil(lambda: not members.isVisible())
    bench.window.dialogs.members()
    assert "members" not in bench.window.dialogs._shown


def test_who_is_no_member_is_told_what_to_do(bench: Bench, qtbot: QtBot) -> None:
    barred = Access(closed=True, admitted=False, code=SECOND)
    bench.dispatch(*WATCHING, AccessChanged(access=barred), TrainingAwaited())
    explanation = bench.window.overview.headline.explanation
    qtbot.waitUntil(lambda: f"send your code {SECOND} to the organiser" in explanation.text())
