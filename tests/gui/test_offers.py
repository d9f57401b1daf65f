"""The join dialog's tab with the backend's swarms, over real HTTP."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.backend.offers import PAGE
from tests.support.backend.server import Fault, SmallBackend
from tests.support.gui.windows import DEVICES, Bench
from tests.support.training.specs import SMALLEST
from ui.dialogs.join.dialog import OFFERED, JoinDialog
from ui.dialogs.join.offers import OfferedSwarms

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton


def session(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{number:08}",
        "title": f"Run {number}",
        "status": "running",
        "requirements": {"minGPU": "8 GB"},
        "configuration": {**SMALLEST, "run_id": f"run{number}", "session_id": number},
    } | changes


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallBackend]:
    """A backend that runs before the window is made, since the settings hold its address."""
    with SmallBackend() as made:
        monkeypatch.setenv("BACKEND_URL", made.url)
        made.sessions = [session(number) for number in range(PAGE + 2)]
        yield made


@pytest.fixture
def dialog(backend: SmallBackend, bench: Bench, until_done: Callable[..., Any]) -> JoinDialog:
    until_done(bench.session.contributions.open())
    until_done(bench.session.account.open())
    bench.dispatch(*DEVICES)
    bench.window.dialogs.join()
    made = bench.window.dialogs._shown["join"]
    assert isinstance(made, JoinDialog)
    return made


def opened(dialog: JoinDialog, qtbot: QtBot, count: int = PAGE) -> OfferedSwarms:
    qtbot.mouseClick(dialog.tabs.button(OFFERED), LEFT)
    qtbot.waitUntil(lambda: dialog.offered.list.count() == count)
    return dialog.offered


def titles(offered: OfferedSwarms) -> list[str]:
    return [offered.list.item(i).text().split("\n")[0] for i in range(offered.list.count())]


def test_backend_is_asked_only_when_it_is_looked_at(
    backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot
) -> None:
    assert backend.requests == []
    offered = opened(dialog, qtbot)
    text = offered.list.item(0).text()
    for told in ("Run 0", "Running", "GPT-2", "parameters", "GPU: 8 GB"):
        assert told in text
    assert "12 swarms · page 1 of 2" in offered.words.text()


def test_a_session_without_a_number_says_that_nothing_is_reported(
    backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot
) -> None:
    backend.sessions[1]["configuration"]["session_id"] = None
    offered = opened(dialog, qtbot)
    texts = [offered.list.item(place).text() for place in range(2)]
    assert ["not reported" in text for text in texts] == [False, True]


def test_pages_are_turned(dialog: JoinDialog, qtbot: QtBot) -> None:
    offered = opened(dialog, qtbot)
    assert not offered.previous.isEnabled()
    qtbot.mouseClick(offered.next, LEFT)
    qtbot.waitUntil(lambda: titles(offered) == ["Run 10", "Run 11"])
    assert not offered.next.isEnabled()
    qtbot.mouseClick(offered.previous, LEFT)
    qtbot.waitUntil(lambda: offered.list.count() == PAGE)


def test_search_asks_once_for_what_was_typed(
    backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot
) -> None:
    offered = opened(dialog, qtbot)
    qtbot.keyClicks(offered.search, "run 11")
    qtbot.waitUntil(lambda: titles(offered) == ["Run 11"])
    assert len(backend.requests) == 2


def test_search_without_a_result_says_so(dialog: JoinDialog, qtbot: QtBot) -> None:
    offered = opened(dialog, qtbot)
    offered.search.setText("poems")
    qtbot.keyClick(offered.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: offered.words.text() == "Nothing is offered.")
    assert not offered.view.isEnabled()


def test_chosen_swarm_is_previewed_and_not_joined(
    bench: Bench, dialog: JoinDialog, qtbot: QtBot
) -> None:
    offered = opened(dialog, qtbot)
    offered.list.setCurrentRow(1)
    qtbot.keyClick(offered.list, Qt.Key.Key_Return)
    qtbot.waitUntil(dialog.preview.isVisible)
    assert dialog.preview.title.full == "Run 1"
    assert bench.session.calls == []
    qtbot.mouseClick(dialog.watch, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["join run1"])


def test_what_cannot_be_joined_says_why(
    backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot
) -> None:
    backend.sessions = [session(1, configuration={"run_id": ""})]
    offered = opened(dialog, qtbot, count=1)
    assert "Can't be joined: " in offered.list.item(0).text()
    assert not offered.view.isEnabled()
    qtbot.keyClick(offered.list, Qt.Key.Key_Return)
    assert not dialog.preview.isVisible()


@pytest.mark.parametrize("status", [429, 500])
def test_failure_is_said_in_place(
    bench: Bench, backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot, status: int
) -> None:
    backend.faults = [Fault(route="trainings", status=status, headers={"Retry-After": "60"})]
    offered = opened(dialog, qtbot, count=0)
    qtbot.waitUntil(offered.error.isVisible)
    assert offered.again.isVisible()
    assert bench.session.store.state.problem is None
    if status == 500:
        qtbot.mouseClick(offered.again, LEFT)
        qtbot.waitUntil(lambda: offered.list.count() == PAGE)
        assert not offered.error.isVisible()


def test_answer_that_comes_too_late_is_not_shown(
    backend: SmallBackend, dialog: JoinDialog, qtbot: QtBot
) -> None:
    backend.faults = [Fault(route="trainings", delay=0.3)]
    qtbot.mouseClick(dialog.tabs.button(OFFERED), LEFT)
    dialog.offered.search.setText("run 11")
    qtbot.keyClick(dialog.offered.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: titles(dialog.offered) == ["Run 11"])
    qtbot.waitUntil(lambda: not dialog.offered._model._tasks)
    assert titles(dialog.offered) == ["Run 11"]
