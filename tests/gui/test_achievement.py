"""What this machine achieved: in sentences from real figures, and as a picture to be shared."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QGuiApplication, QImage
from pytestqt.qtbot import QtBot

from app.contributions.ledger import Ledger
from app.curves.keeper import CurveKeeper
from app.curves.loss_change import LossChange
from app.spec.schema import parse
from app.state.events import JoinBegan, Left
from tests.support.gui.windows import SWARM, WATCHING, Bench, clipped
from tests.support.training.specs import SMALLEST
from tests.support.training.works import contribution
from ui.dialogs.achievement import picture
from ui.dialogs.achievement.dialog import AchievementDialog
from ui.dialogs.achievement.picture import HEIGHT, WIDTH, picture_of
from ui.models.achievement import Achievement, achievement_of
from ui.style.theme import DARK, LIGHT
from ui.texts.given import contributions as texts

pytestmark = pytest.mark.gui

Until = Callable[..., Any]
CHANGE = LossChange(
    before=4.125, after=3.211, unseen=True, points=((0.0, 4.125), (60.0, 3.5), (90.0, 3.211))
)


def given(number: int, **changes: Any) -> Any:
    ended = time.time()
    return contribution(number, started_at=ended - 3600, ended_at=ended, **changes)


async def settled(curves: CurveKeeper) -> None:
    """What the curves' file was asked for has been done."""
    await curves._restoring
    if curves._writing is not None:
        await curves._writing


@pytest.fixture
def trained(bench: Bench, until_done: Until) -> Bench:
    """In a swarm to which this machine has given 4,096 of 12 epochs' samples, and evaluated."""
    session = bench.session
    until_done(session.curves.open())
    until_done(session.contributions.open())
    bench.dispatch(*WATCHING)
    until_done(settled(session.curves))
    now = time.time()
    for ago, loss in ((3000, 4.125), (2000, 3.5), (1000, 3.211)):
        session.history.held_out_loss.add(now - ago, loss)
    ledger = session.contributions.ledger
    until_done(ledger.run(Ledger.add, given(1, samples=4096, swarm_samples=8192, epochs=2)))
    return bench


# --- sentences


def test_the_part_of_the_run_and_the_loss_are_real_figures(
    trained: Bench, until_done: Until
) -> None:
    session = trained.session
    summary = until_done(session.contributions.summary())
    found = until_done(achievement_of(session, summary, "docs"))
    assert found.title == "Python's documentation"
    assert found.run_share == pytest.approx(4096 / (12 * 4096 + 2928))
    assert (found.loss.before, found.loss.after, found.loss.unseen) == (4.125, 3.211, True)
    assert until_done(achievement_of(session, summary, "another run")) is None


def test_pages_say_it_where_there_is_something_to_say(trained: Bench, qtbot: QtBot) -> None:
    overview = trained.window.overview
    told = (
        "You did 7.9\u00a0% of this run. The loss on unseen text while you were there: 4.12 → 3.21."
    )
    qtbot.waitUntil(lambda: overview.achieved.text() == told)
    assert overview.achieved.isVisibleTo(overview)
    other = replace(SWARM, run_id="other", title="Another one")
    trained.dispatch(Left(), JoinBegan(swarm=other))
    qtbot.waitUntil(lambda: overview.achieved.text() == "")  # not what was given elsewhere
    trained.dispatch(Left(), *WATCHING)
    trained.open("Contributions")
    page = trained.window.contributions.widget
    qtbot.waitUntil(lambda: page.achieved.text() == f"Python's documentation: {told}")


def test_where_nothing_was_given_nothing_is_said(
    bench: Bench, until_done: Until, qtbot: QtBot
) -> None:
    until_done(bench.session.contributions.open())
    bench.dispatch(*WATCHING)
    bench.open("Contributions")
    page = bench.window.contributions.widget
    qtbot.waitUntil(lambda: page.achieved._working is not None and page.achieved._working.done())
    assert page.achieved.text() == ""
    assert not page.achieved.isVisible()
    assert not page.share.isEnabled()


def test_a_run_that_was_left_is_known_by_its_file(trained: Bench, until_done: Until) -> None:
    session = trained.session
    spec = parse({**SMALLEST, "run_id": "docs", "title": "Earlier"})
    until_done(session.recents.remember(spec))
    trained.dispatch(Left())
    until_done(settled(session.curves))
    summary = until_done(session.contributions.summary())
    found = until_done(achievement_of(session, summary, "docs"))
    assert found.title == "Earlier"
    assert spec.training.target_batch_size < 4096  # rounds took in more than the batch
    assert found.run_share == pytest.approx(4096 / (12 * 4096 + 2928))
    assert found.loss.after == pytest.approx(3.211)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "100\u00a0%"),
        (0.104, "10\u00a0%"),
        (0.0731, "7.3\u00a0%"),
        (0.00042, "0.042\u00a0%"),
        (1e-9, "less than 0.01\u00a0%"),
    ],
)
def test_small_parts_are_said_with_two_digits(share: float, words: str) -> None:
    assert texts.part_of_run(share) == words


def test_nothing_known_is_no_sentence() -> None:
    assert texts.achieved(None, None, title="Poems") == ""
    assert "training" in texts.achieved(
        None, LossChange(before=2.0, after=1.0, unseen=False, points=())
    )


# --- the picture


def achieved(trained: Bench, until_done: Until, **changes: Any) -> Achievement:
    summary = until_done(trained.session.contributions.summary())
    values: dict[str, Any] = {
        "run_id": "docs",
        "title": "Poems",
        "totals": summary.swarms["docs"],
        "run_share": 0.073,
        "loss": CHANGE,
    }
    return Achievement(**values | changes)


def test_the_picture_shows_what_it_is_about_in_both_themes(
    trained: Bench, until_done: Until
) -> None:
    base = achieved(trained, until_done)
    seen = [picture_of(base, LIGHT, alias="otter"), picture_of(base, DARK, alias="otter")]
    for changes in ({"title": "Prose"}, {"run_share": 0.2}, {"run_share": None}, {"loss": None}):
        other = achieved(trained, until_done, **changes)
        seen.append(picture_of(other, LIGHT, alias="otter"))
    seen.append(picture_of(base, LIGHT, alias=""))
    assert all((one.width(), one.height()) == (WIDTH, HEIGHT) for one in seen)
    for place, one in enumerate(seen):
        assert all(one != other for other in seen[place + 1 :])
    assert seen[0].pixelColor(2, 2).name() == LIGHT.window
    assert seen[1].pixelColor(2, 2).name() == DARK.window


def test_nothing_private_is_written_on_it(
    trained: Bench, until_done: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = picture._Pen.write

    def note(pen: Any, text: str, *args: Any, **options: Any) -> None:
        written.append(text)
        write(pen, text, *args, **options)

    monkeypatch.setattr(picture._Pen, "write", note)
    picture_of(achieved(trained, until_done), LIGHT, alias="otter")
    text = " ".join(written)
    assert "7.3\u00a0%" in text
    assert "4.12 → 3.21" in text
    assert "4,096" in text
    state = trained.session.store.state
    for private in (state.peer_id, *state.addresses, SWARM.run_id, "10.0.0.7"):
        assert private not in text


@pytest.mark.parametrize("title", ["x" * 4000, "词" * 400, "\u202e=cmd"])
def test_a_title_of_others_stays_in_its_place(
    trained: Bench, until_done: Until, title: str
) -> None:
    seen = picture_of(achieved(trained, until_done, title=title), LIGHT, alias="")
    below, beside = [(x, 275) for x in range(40, 1160)], [(1112, y) for y in range(130, 280)]
    assert {seen.pixelColor(*place).name() for place in below + beside} == {LIGHT.card}


# --- the dialog


@pytest.fixture
def dialog(trained: Bench, qtbot: QtBot) -> AchievementDialog:
    trained.session.machines._made_up_name = "amber-otter"
    trained.actions.achievement_wanted.emit()
    made = trained.window.dialogs._shown["achievement"]
    assert isinstance(made, AchievementDialog)
    qtbot.waitUntil(made.save.isEnabled)
    return made


def test_the_picture_is_shown_copied_and_saved(dialog: AchievementDialog, tmp_path: Path) -> None:
    assert not dialog.preview.pixmap().isNull()
    assert not clipped(dialog)
    assert "You did 7.9\u00a0% of this run" in dialog.preview.accessibleName()
    dialog.copy.click()
    assert QGuiApplication.clipboard().image().size() == dialog.image.size()
    dialog.save_as(tmp_path / "card.png")
    assert QImage(str(tmp_path / "card.png")).width() == WIDTH
    dialog.save_as(tmp_path / "missing" / "card.png")
    assert "can't be written" in dialog.error.text()


def test_the_alias_can_be_left_out(dialog: AchievementDialog) -> None:
    assert "amber-otter" in dialog.named.text()
    named = dialog.image.copy()
    dialog.named.setChecked(False)
    assert dialog.image != named


def test_the_theme_is_followed(trained: Bench, dialog: AchievementDialog) -> None:
    trained.theme.choose("light")
    assert dialog.image.pixelColor(2, 2).name() == LIGHT.window
    trained.theme.choose("dark")
    assert dialog.image.pixelColor(2, 2).name() == DARK.window


def test_another_run_can_be_chosen(trained: Bench, until_done: Until, qtbot: QtBot) -> None:
    ledger = trained.session.contributions.ledger
    until_done(ledger.run(Ledger.add, given(2, run_id="poems", session_id=None)))
    trained.actions.achievement_wanted.emit()
    dialog = trained.window.dialogs._shown["achievement"]
    qtbot.waitUntil(dialog.save.isEnabled)
    assert dialog.runs.isVisible()
    titles = [dialog.runs.itemText(place) for place in range(dialog.runs.count())]
    assert set(titles) == {"poems", "Python's documentation"}
    dialog.runs.setCurrentIndex(titles.index("poems"))
    qtbot.waitUntil(
        lambda: dialog._achievement is not None and dialog._achievement.title == "poems"
    )
    assert dialog._achievement.loss is None
