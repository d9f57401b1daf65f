"""The settings page: changes are in force and saved at once, mistakes are shown at the field."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPushButton, QScrollArea, QSystemTrayIcon
from pytestqt.qtbot import QtBot

from app.common import i18n
from app.common.paths import RESOURCES
from app.desktop import autostart
from app.settings import file as settings_file
from tests.support.gui.windows import Bench, clipped
from ui.style.theme import LIGHT
from ui.widgets.forms.settings_rows import SettingRow

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def tray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)


def row(bench: Bench, name: str, caption: str = "") -> SettingRow:
    """Open the settings page, and return the row of a setting."""
    bench.open("Settings")
    bench.window.settings.widget.advanced.setChecked(True)
    forms = bench.window.settings.widget.forms.values()
    found = [row for form in forms for row in form.rows if row.name == name]
    return next(row for row in found if caption in row.field.caption.text())


def enter(bench: Bench, qtbot: QtBot, name: str, text: str) -> SettingRow:
    """Type into the row of a setting, and press Return."""
    found = row(bench, name)
    assert isinstance(found.field.control, QLineEdit)
    found.field.control.selectAll()
    qtbot.keyClicks(found.field.control, text)
    qtbot.keyClick(found.field.control, Qt.Key.Key_Return)
    return found


def saved(bench: Bench) -> dict[str, object]:
    file = bench.session.folders.settings_file
    return dict(settings_file.read(file)) if file.exists() else {}


def test_what_is_typed_meanwhile_is_not_overwritten(bench: Bench, qtbot: QtBot) -> None:
    control = row(bench, "alias").field.control
    assert isinstance(control, QLineEdit)
    control.setFocus()
    qtbot.waitUntil(control.hasFocus)
    with qtbot.waitSignal(bench.preferences.changed):
        enter(bench, qtbot, "alias", "lab-01")
        control.selectAll()
        qtbot.keyClicks(control, "lab-02")  # before the change is saved
    assert control.text() == "lab-02"
    qtbot.keyClick(control, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bench.session.store.settings.alias == "lab-02")


@pytest.mark.parametrize(
    ("name", "typed", "value", "kept"),
    [
        ("alias", "lab-01", "lab-01", "lab-01"),
        ("dht_port", "0", 0, 0),
        ("initial_peers", "/a/b, /c/d", ("/a/b", "/c/d"), ["/a/b", "/c/d"]),
        ("backend_url", "https://b.example/api/v1", "https://b.example", "https://b.example"),
    ],
)
def test_a_line_is_in_force_and_kept_as_it_was_understood(
    bench: Bench, qtbot: QtBot, name: str, typed: str, value: object, kept: object
) -> None:
    found = enter(bench, qtbot, name, typed)
    qtbot.waitUntil(lambda: saved(bench) == {name: kept})
    assert getattr(bench.session.store.settings, name) == value
    qtbot.waitUntil(lambda: found.field.value == found.to_text(value))


def test_a_line_left_as_it_was_is_not_saved(bench: Bench, qtbot: QtBot) -> None:
    found = row(bench, "alias")
    with qtbot.assertNotEmitted(bench.preferences.changed):
        qtbot.keyClick(found.field.control, Qt.Key.Key_Return)


@pytest.mark.parametrize(("name", "typed"), [("dht_port", "70000"), ("backend_url", "nonsense")])
def test_what_is_wrong_is_said_at_its_field(
    bench: Bench, qtbot: QtBot, name: str, typed: str
) -> None:
    before = bench.session.store.settings
    found = enter(bench, qtbot, name, typed)
    qtbot.waitUntil(found.field.error.isVisible)
    assert typed in found.field.error.text()
    assert found.field.value == typed  # to be mended
    assert bench.session.store.settings is before
    assert bench.session.store.state.problem is None
    assert saved(bench) == {}
    bench.open("Log")
    bench.open("Settings")  # anew: what is in force
    assert found.field.value == str(getattr(before, name))
    assert not found.field.error.isVisible()


def test_what_was_wrong_can_be_taken_back(bench: Bench, qtbot: QtBot) -> None:
    found = enter(bench, qtbot, "dht_port", "none")
    qtbot.waitUntil(found.field.error.isVisible)
    enter(bench, qtbot, "dht_port", "8080")
    assert not found.field.error.isVisible()


def test_a_notification_is_switched(bench: Bench, qtbot: QtBot) -> None:
    found = row(bench, "notifications", "Milestones")
    assert isinstance(found.field.control, QCheckBox)
    found.field.control.click()
    others = ["training", "paused", "attention"]
    qtbot.waitUntil(lambda: saved(bench) == {"notifications": others})
    assert bench.session.store.settings.notifications == tuple(others)
    found.field.control.click()
    qtbot.waitUntil(lambda: saved(bench) == {"notifications": [*others, "milestones"]})


def test_theme_changes_at_once_and_the_menu_knows(bench: Bench, qtbot: QtBot) -> None:
    found = row(bench, "theme")
    found.field.set_value("light")
    qtbot.waitUntil(lambda: bench.theme.colors == LIGHT)
    assert saved(bench) == {"theme": "light"}


def test_publishing_is_one_switch_in_two_places(bench: Bench, qtbot: QtBot) -> None:
    found = row(bench, "publish_machine")
    assert isinstance(found.field.control, QCheckBox)
    found.field.control.click()
    qtbot.waitUntil(lambda: not bench.session.machines.publishing)
    bench.open("Machines")
    bench.window.machines.widget.publish.click()
    qtbot.waitUntil(lambda: bench.session.machines.publishing)
    bench.open("Settings")
    assert found.field.control.isChecked()


def test_start_at_login_is_where_the_desktop_looks(bench: Bench, qtbot: QtBot) -> None:
    found = row(bench, "start_at_login")
    assert isinstance(found.field.control, QCheckBox)
    assert not found.field.control.isChecked()
    found.field.control.click()
    qtbot.waitUntil(lambda: autostart.of_this_system().is_on)
    assert saved(bench) == {}
    found.field.control.click()
    qtbot.waitUntil(lambda: not autostart.of_this_system().is_on)


def test_start_at_login_that_cannot_be_is_said(bench: Bench, qtbot: QtBot, home: Path) -> None:
    (home / ".config").write_text("no folder")
    found = row(bench, "start_at_login")
    assert isinstance(found.field.control, QCheckBox)
    found.field.control.click()
    qtbot.waitUntil(found.field.error.isVisible)


def test_what_the_environment_says_is_shown(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(origins={"dht_port": "HIVEMIND_DHT_PORT"})
    assert "HIVEMIND_DHT_PORT sets it" in row(bench, "dht_port").field.hint.text()
    assert "sets it" not in row(bench, "server_port").field.hint.text()


def test_without_a_tray_close_to_tray_is_not_offered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: False)
    bench.open("Settings")
    forms = bench.window.settings.widget.forms.values()
    names = {row.name for form in forms for row in form.rows}
    assert "close_to_tray" not in names
    assert "start_at_login" in names


def test_folders_and_the_local_api_are_a_click_away(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    bench.open("Settings")
    page = bench.window.settings.widget
    for each in page.findChildren(QPushButton):
        if each.text() == "Open":
            each.click()
    folders = bench.session.folders
    assert opened == [str(folders.data), str(folders.logs), str(folders.cache)]
    with qtbot.waitSignal(bench.window.local_api_wanted):
        page.local_api.click()


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_nothing_is_clipped_in_a_small_window(
    make_bench: Callable[..., Bench], qtbot: QtBot, language: str
) -> None:
    i18n.install(language, RESOURCES / "translations")
    bench = make_bench(origins=dict.fromkeys(("dht_port", "debug"), "HIVEMIND_DHT_PORT"))
    bench.window.resize(960, 600)
    bench.window.open_page(len(bench.window.pages) - 1)
    page = bench.window.settings.widget
    assert isinstance(page, QScrollArea)
    qtbot.waitUntil(page.isVisible)
    for form in page.forms.values():
        for each in form.rows:
            each.field.show_problem(None)
    qtbot.waitUntil(lambda: clipped(bench.window) == [])
    assert page.horizontalScrollBar().maximum() == 0


def shown_captions(bench: Bench) -> list[str]:
    page = bench.window.settings.widget
    forms = (page.terms.when, page.terms.amounts, *page.forms.values())
    rows = [row for form in forms for row in form.rows]
    return [row.field.caption.text() for row in rows if row.field.isVisible()]


def test_what_hardly_anybody_needs_is_put_away(bench: Bench) -> None:
    bench.open("Settings")
    page = bench.window.settings.widget
    simple = shown_captions(bench)
    assert "Theme" in simple
    assert "Highest temperature of the device (°C)" in simple
    assert not any(caption.startswith("Port of") for caption in simple)
    page.advanced.setChecked(True)
    assert len(shown_captions(bench)) >= len(simple) + 10
    page.advanced.setChecked(False)
    assert shown_captions(bench) == simple


def test_settings_are_found_by_their_words(bench: Bench, qtbot: QtBot) -> None:
    bench.open("Settings")
    page = bench.window.settings.widget
    before = shown_captions(bench)
    qtbot.keyClicks(page.search, "highest temp")
    assert shown_captions(bench) == ["Highest temperature of the device (°C)"]
    assert not page.terms.schedule.isVisible()
    page.search.setText("NIGHT")
    assert page.terms.schedule.isVisible()
    page.search.setText("port of this app")  # an advanced one is found as well
    assert shown_captions(bench) == ["Port of this app"]
    page.search.setText("nonsense")
    assert (shown_captions(bench), page.nothing.isVisible()) == ([], True)
    page.search.clear()
    assert (shown_captions(bench), page.nothing.isVisible()) == (before, False)
