"""The terms: in words, and in the settings."""

import json
import time
from datetime import datetime
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from app.settings import file as settings_file
from app.state.events import TermsJudged
from app.terms.schedule import Schedule
from app.terms.terms import Reason, Terms, Verdict
from tests.support.gui.windows import TRAINING, Bench, clipped, in_tab_order, name_of
from ui.pages.settings.terms import TermsSection
from ui.pages.settings.week_grid import WeekGrid
from ui.texts import terms as terms_texts
from ui.widgets.forms.fields import Field

pytestmark = pytest.mark.gui

NIGHTS = "mon-fri 18:00-08:00, sat-sun 00:00-24:00"
ALL = Terms.model_validate(
    {
        "schedule": NIGHTS,
        "idle_minutes": 10,
        "mains_only": True,
        "unmetered_only": True,
        "programs": "blender, quake",
        "max_others_use": 20,
        "max_temperature": 80,
        "compute_share": 60,
        "max_power": 200,
        "max_upload": 8,
        "max_download": 16,
        "max_monthly": 100,
        "max_disk": 20,
        "max_memory": 6,
    }
)
NOON = datetime(2026, 11, 24, 12).astimezone().timestamp()
HOUR = 3600.0


# --- in words


def test_every_term_has_its_words() -> None:
    words = list(terms_texts.clauses(ALL))
    assert len(words) == len(Terms.model_fields)
    assert words[0] == "Mon–Fri 18:00–08:00, Sat–Sun 00:00–24:00"
    assert list(terms_texts.clauses(Terms())) == []


@pytest.mark.parametrize(
    ("hours", "said"),
    [(3, "15:00"), (20, "Wed 08:00"), (24 * 5, "Sun 12:00"), (24 * 8, "2026-12-02 12:00")],
)
def test_a_time_is_said_as_one_does(hours: float, said: str) -> None:
    assert terms_texts.upcoming_time(NOON + hours * HOUR, NOON) == said


@pytest.mark.parametrize(
    ("terms", "verdict", "said"),
    [
        (Terms(), Verdict(), "Nothing restricts training: it runs whenever you start it."),
        (Terms(mains_only=True), Verdict(), "Runs by your terms: on mains power."),
        (
            Terms.model_validate({"schedule": "tue 08:00-18:00"}),
            Verdict(until=NOON + 6 * HOUR),
            "Runs by your terms: Tue 08:00–18:00. Rests from 18:00 on.",
        ),
        (
            Terms.model_validate({"schedule": "tue 18:00-20:00"}),
            Verdict(
                reasons=(Reason(term="schedule", text="It is outside of your hours."),),
                until=NOON + 6 * HOUR,
            ),
            (
                "Your terms pause training now: It is outside of your hours."
                " Training goes on by itself, 18:00 at the earliest."
            ),
        ),
    ],
)
def test_what_is_in_force_is_a_sentence(terms: Terms, verdict: Verdict, said: str) -> None:
    assert terms_texts.status(terms, verdict, NOON) == said


# --- as one sets them


def section(bench: Bench) -> TermsSection:
    bench.open("Settings")
    found: TermsSection = bench.window.settings.widget.terms
    return found


def kept(bench: Bench) -> dict[str, Any]:
    file = bench.session.folders.settings_file
    return dict(settings_file.read(file)["terms"]) if file.exists() else {}


def line(bench: Bench, name: str) -> QLineEdit:
    shown = section(bench)
    rows = (*shown.when.rows, *shown.amounts.rows)
    control = next(row for row in rows if row.name == f"terms.{name}").field.control
    assert isinstance(control, QLineEdit)
    return control


def write(qtbot: QtBot, control: QLineEdit, text: str) -> None:
    control.selectAll()
    qtbot.keyClicks(control, text)
    qtbot.keyClick(control, Qt.Key.Key_Return)


def test_a_term_is_in_force_and_kept_at_once(bench: Bench, qtbot: QtBot) -> None:
    write(qtbot, line(bench, "max_temperature"), "80")
    qtbot.waitUntil(lambda: kept(bench) == {"max_temperature": 80})
    assert bench.session.store.settings.terms == Terms(max_temperature=80)
    qtbot.waitUntil(lambda: bench.session.store.state.terms == Terms(max_temperature=80))


def test_an_empty_limit_is_none(bench: Bench, qtbot: QtBot) -> None:
    share = line(bench, "compute_share")
    assert (share.text(), share.placeholderText()) == ("", "no limit")
    write(qtbot, share, "50")
    qtbot.waitUntil(lambda: bench.session.store.settings.terms.compute_share == 50)
    share.clear()
    qtbot.keyClick(share, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: kept(bench) == {"compute_share": 100})


def test_what_is_wrong_is_said_at_its_field(bench: Bench, qtbot: QtBot) -> None:
    control = line(bench, "max_temperature")
    write(qtbot, control, "8")
    field = control.parentWidget()
    qtbot.waitUntil(lambda: "at least 40" in field.error.text())  # type: ignore[union-attr]
    assert bench.session.store.settings.terms == Terms()


def test_days_are_ticked_and_their_times_written(bench: Bench, qtbot: QtBot) -> None:
    editor = section(bench).schedule
    assert not editor.begins[1].isEnabled()
    editor.days[1].click()
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "tue 18:00-08:00"})
    assert editor._notes[1].text() == "on the next day"
    write(qtbot, editor.begins[1], "9:30")
    write(qtbot, editor.ends[1], "24:00")
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "tue 09:30-24:00"})
    qtbot.waitUntil(lambda: editor.begins[1].text() == "09:30")
    assert editor._notes[1].text() == ""
    editor.days[1].click()
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": ""})


def drag(qtbot: QtBot, grid: WeekGrid, begin: tuple[int, float], end: tuple[int, float]) -> None:
    """Over the grid of the week: from a day and an hour to a day and an hour."""
    first, last = (
        QPoint(int(grid._x(int(hour * 60))), grid._top + day * grid._row_height + 5)
        for day, hour in (begin, end)
    )
    qtbot.mousePress(grid, Qt.MouseButton.LeftButton, pos=first)
    qtbot.mouseMove(grid, last)
    qtbot.mouseRelease(grid, Qt.MouseButton.LeftButton, pos=last)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ((0, 22.2), (4, 30.7), "mon-fri 22:00-07:00"),
        ((4, 30.7), (0, 22.2), "mon-fri 22:00-07:00"),
        ((5, 0.2), (6, 23.7), "sat-sun 00:00-24:00"),
        ((1, 2.2), (1, 35.7), "tue 02:00-02:00"),  # a day at most
        ((6, 25.2), (6, 26.7), "mon 01:00-03:00"),  # the morning after Sunday
    ],
)
def test_times_are_dragged_over_the_week(
    bench: Bench,
    qtbot: QtBot,
    begin: tuple[int, float],
    end: tuple[int, float],
    expected: str,
) -> None:
    editor = section(bench).schedule
    drag(qtbot, editor.grid, begin, end)
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": expected})
    assert str(editor.schedule) == expected


def test_a_click_on_a_day_s_time_clears_the_day(bench: Bench, qtbot: QtBot) -> None:
    editor = section(bench).schedule
    drag(qtbot, editor.grid, (0, 22.2), (2, 30.7))
    drag(qtbot, editor.grid, (1, 25.2), (1, 25.2))
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "mon 22:00-07:00, wed 22:00-07:00"})


def test_what_many_want_is_one_click(bench: Bench, qtbot: QtBot) -> None:
    shown = section(bench)
    assert shown.hours.text() == "No day is ticked: at any time."
    expected = {
        "Every night": {"schedule": "mon-sun 22:00-07:00"},
        "Weekday nights": {"schedule": "mon-fri 22:00-07:00"},
        "Only when I'm away": {"idle_minutes": 10},
        "Quiet: half of the time": {"compute_share": 50},
    }
    for preset in shown.presets:
        qtbot.mouseClick(preset, Qt.MouseButton.LeftButton)
        now = expected[preset.text()]
        qtbot.waitUntil(lambda now=now: now.items() <= kept(bench).items())
    qtbot.waitUntil(lambda: line(bench, "compute_share").text() == "50")
    assert shown.hours.text() == "Only Mon–Fri 22:00–07:00."
    assert line(bench, "idle_minutes").text() == "10"
    assert [each.isChecked() for each in shown.schedule.days] == [True] * 5 + [False] * 2


def test_a_time_that_is_none_is_marked_and_not_kept(bench: Bench, qtbot: QtBot) -> None:
    editor = section(bench).schedule
    editor.days[0].click()
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "mon 18:00-08:00"})
    write(qtbot, editor.begins[0], "2")
    assert editor.begins[0].property("wrong") == "true"
    assert not editor.error.isVisible()
    editor.days[1].click()
    assert editor.schedule is None
    assert "Not saved" in editor.error.text()
    assert editor.begins[1].isEnabled()
    assert kept(bench) == {"schedule": "mon 18:00-08:00"}


def test_a_day_with_a_wrong_time_can_be_taken_out(bench: Bench, qtbot: QtBot) -> None:
    editor = section(bench).schedule
    for day in (0, 1):
        editor.days[day].click()
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "mon-tue 18:00-08:00"})
    editor.begins[0].clear()
    editor.days[0].click()
    qtbot.waitUntil(lambda: kept(bench) == {"schedule": "tue 18:00-08:00"})
    assert editor.begins[0].text() == "18:00"
    assert editor.error.isHidden()


def test_hours_that_cannot_be_kept_are_said_there(bench: Bench, qtbot: QtBot) -> None:
    editor = section(bench).schedule
    later = {"version": len(settings_file.MIGRATIONS) + 1}
    bench.session.folders.settings_file.write_text(json.dumps(later), encoding="utf-8")
    editor.days[1].click()
    qtbot.waitUntil(editor.error.isVisible)


def test_it_shows_what_is_in_force(bench: Bench, qtbot: QtBot) -> None:
    change = bench.session.change_settings({"terms": {"schedule": NIGHTS}})
    bench.model.run(change)
    qtbot.waitUntil(lambda: bench.session.store.state.terms.schedule == Schedule.parse(NIGHTS))
    assert section(bench).schedule.schedule == Schedule.parse(NIGHTS)


def test_the_sentence_follows_the_verdict(bench: Bench) -> None:
    shown = section(bench)
    held = Verdict(reasons=(Reason(term="idle_minutes", text="The computer is in use."),))
    bench.dispatch(*TRAINING, TermsJudged(terms=Terms(idle_minutes=5), verdict=held))
    assert shown.status.text() == (
        "Your terms pause training now: The computer is in use. Training goes on by itself."
    )


def test_a_term_that_cannot_be_measured_says_so_at_its_field(bench: Bench, qtbot: QtBot) -> None:
    write(qtbot, control := line(bench, "max_power"), "200")
    qtbot.waitUntil(lambda: kept(bench) == {"max_power": 200})
    text = "The power that the device draws can't be read."
    blind = Verdict(reasons=(Reason(term="max_power", text=text, unmeasured=True),))
    bench.dispatch(*TRAINING, TermsJudged(terms=Terms(max_power=200), verdict=blind))
    field = control.parentWidget()
    assert isinstance(field, Field)
    said = f"{text} As long as that is so, this term keeps the machine from training at all."
    assert field.error.text() == said
    assert "by itself" not in section(bench).status.text()
    write(qtbot, control, "-1")
    qtbot.waitUntil(lambda: said != field.error.text() != "")
    bench.dispatch(TermsJudged(terms=Terms(max_power=200), verdict=blind))
    assert field.error.text() != said  # what the user typed is wrong, and stays said
    write(qtbot, control, "200")
    assert field.error.text() == said
    bench.dispatch(TermsJudged(terms=Terms(), verdict=Verdict()))
    assert field.error.text() == ""


def test_all_is_reached_named_and_whole(bench: Bench, qtbot: QtBot) -> None:
    shown = section(bench)
    bench.dispatch(TermsJudged(terms=ALL, verdict=Verdict(until=time.time() + HOUR)))
    reached = [widget for widget in in_tab_order(bench.window) if shown.isAncestorOf(widget)]
    controls: list[QWidget] = [*shown.schedule.days, line(bench, "max_disk")]
    assert set(controls) <= set(reached)
    assert all(name_of(widget) for widget in reached)
    qtbot.waitUntil(lambda: clipped(bench.window) == [])
