"""The machines page: a thousand rows, selection, export."""

import csv
import math
import time
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QItemSelectionModel, QRectF, Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.archive.storage import ArchivedMachine, rows_of, save
from app.p2p.machine_records import LEFT, Flaw, MachineRecord
from app.settings import file as settings_file
from app.swarm.fleet import DAY, METRICS
from tests.support.gui.windows import TRAINING, WATCHING, Bench
from tests.support.machine.machines import crowd, fill, new_key, record
from ui.pages.machines import columns as machine_columns
from ui.pages.machines.details import MOST
from ui.pages.machines.page import MachinesPage
from ui.widgets.cells import polylines
from ui.widgets.charts.zoom import Zoom

pytestmark = pytest.mark.gui

NAME, LAB, STATE, DEVICE, RATE = range(5)


@pytest.fixture
def page(bench: Bench) -> MachinesPage:
    bench.dispatch(*WATCHING)
    bench.open("Machines")
    return bench.window.machines.widget


def put(page: MachinesPage, *records: MachineRecord) -> None:
    told = {f"key{place}": one for place, one in enumerate(records)}
    page._machines.fleet.take(told, time.time())
    page.refresh()


def now(**changes: Any) -> MachineRecord:
    return record(**{"time": time.time()} | changes)


def column(page: MachinesPage, place: int) -> list[str]:
    model = page.model
    return [model.index(row, place).data() for row in range(model.rowCount())]


def test_page_is_built_when_it_is_first_opened(bench: Bench) -> None:
    assert bench.window.machines.built is None
    bench.open("Machines")
    assert bench.window.machines.built is not None


def test_empty_page_says_why(bench: Bench, page: MachinesPage) -> None:
    assert page.empty.isVisible()
    assert page.empty.title.text() == "No machine has shown itself yet"
    assert not page.table.isVisible()
    assert not page.export.isEnabled()
    put(page, now())
    assert page.table.isVisible()
    assert not page.empty.isVisible()


def test_outside_of_a_swarm_it_says_what_to_do(bench: Bench) -> None:
    bench.open("Machines")
    assert bench.window.machines.widget.empty.title.text() == "No swarm yet"


def test_machine_in_a_row(page: MachinesPage) -> None:
    put(page, now(alias="lab-01", temperature=91.0, power=None))
    row = [page.model.index(0, place).data() for place in range(page.model.columnCount())]
    assert row[:5] == ["lab-01", "vision-lab", "hot, training", "NVIDIA GeForce RTX 4090", "102"]
    assert row[6:] == ["2.400", "20\u00a0%, 97\u00a0%", "91 °C", "–", "7 d"]
    assert page.totals.concerns.value.text() == "1"


def test_the_machine_that_the_app_runs_on_is_marked(page: MachinesPage) -> None:
    key = new_key()
    page._machines.public_key = key.public_key
    told = {key.public_key: now(alias="mine"), "other": now(alias="other")}
    page._machines.fleet.take(told, time.time())
    page.refresh()
    assert column(page, NAME) == ["mine (this machine)", "other"]
    page.table.selectRow(0)
    assert page.details.name.full == "mine (this machine)"


@pytest.mark.parametrize(
    ("count", "words"), [(1, "machine, 1 training"), (2, "machines, 2 training")]
)
def test_machines_are_counted_in_good_english(page: MachinesPage, count: int, words: str) -> None:
    put(page, *(now(alias=str(number)) for number in range(count)))
    assert page.totals.machines.value.text() == str(count)
    assert page.totals.machines.what.text() == words


def test_crashes_and_failed_rounds_are_counted(page: MachinesPage) -> None:
    put(page, now(), now(crashes=2), now(crashes=1, failed_rounds=3))
    told = []
    for row in range(3):
        page.table.selectRow(row)
        told.append(page.details.value("mishaps"))
    assert told == ["none", "2", "1, and 3 failed rounds"]


def test_states_in_words(page: MachinesPage) -> None:
    put(
        page,
        now(alias="a", time=time.time() - 250),
        now(alias="b", state="failed", last_error="out of memory"),
        now(alias="c", state=LEFT),
        now(alias="d", state="of-tomorrow"),
    )
    assert column(page, STATE) == ["silent 4 min", "failed", "has left", "of-tomorrow"]
    tip = page.model.index(1, STATE).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "out of memory"
    assert column(page, RATE) == ["–", "–", "–", "–"]


def test_sorted_by_a_click_and_unknown_ones_last_either_way(page: MachinesPage) -> None:
    put(
        page,
        now(alias="a", samples_per_second=5.0),
        now(alias="b", state="watching", samples_per_second=None),
        now(alias="c", samples_per_second=50.0),
    )
    page.table.sortByColumn(RATE, Qt.SortOrder.AscendingOrder)
    assert column(page, NAME) == ["a", "c", "b"]
    page.table.sortByColumn(RATE, Qt.SortOrder.DescendingOrder)
    assert column(page, NAME) == ["c", "a", "b"]


def test_those_that_need_a_look_come_first_by_state(page: MachinesPage) -> None:
    put(page, now(alias="a"), now(alias="b", state="failed"), now(alias="c", temperature=95.0))
    page.table.sortByColumn(STATE, Qt.SortOrder.AscendingOrder)
    assert column(page, NAME) == ["b", "c", "a"]


def test_filter_by_text_and_lab(page: MachinesPage, qtbot: QtBot) -> None:
    put(page, now(alias="one"), now(alias="two", lab="speech"), now(alias="three", lab=""))
    assert [page.lab.itemText(place) for place in range(page.lab.count())] == [
        "All labs",
        "speech",
        "vision-lab",
    ]
    page.lab.setCurrentIndex(1)
    assert column(page, NAME) == ["two"]
    page.lab.setCurrentIndex(0)
    qtbot.keyClicks(page.text, "ONE")
    assert column(page, NAME) == ["one"]
    assert page.totals.machines.value.text() == "3"  # totals are of all


def test_chosen_machine_stays_chosen_when_rows_move_and_come(page: MachinesPage) -> None:
    put(page, now(alias="a", loss=2.5), now(alias="b", loss=2.2))
    page.table.sortByColumn(6, Qt.SortOrder.AscendingOrder)
    page.table.selectRow(1)
    assert page.details.name.full == "a"
    put(page, now(alias="a", loss=2.0, sequence=2), now(alias="b", loss=2.2, sequence=2))
    assert column(page, NAME) == ["a", "b"]
    assert page.table.currentIndex().row() == 0
    put(page, *[now(alias=name, sequence=3, loss=2.0 + n) for n, name in enumerate("abc")])
    assert page.details.name.full == "a"
    assert page.table.currentIndex().row() == 0


def test_details_of_the_chosen_machine(page: MachinesPage, qtbot: QtBot) -> None:
    assert not page.details.isVisible()
    told = now(last_error="CUDA out of memory")
    fill(page._machines.fleet, {"key0": told}, now=time.time())
    page.refresh()
    page.table.selectRow(0)
    assert page.details.isVisible()
    assert page.details.value("gpu") == "18 GiB of 24 GiB"
    assert page.details.value("given") == "121,872 samples in 240 rounds"
    assert page.details.value("error") == "CUDA out of memory"
    assert page.details._drawing.own.times.size > 300
    page.details.figure.setCurrentIndex(2)
    assert set(page.details._drawing.own.values) == {64.0}
    qtbot.mouseClick(page.details.close_button, Qt.MouseButton.LeftButton)
    assert not page.details.isVisible()


def test_a_week_is_drawn_from_the_archive(bench: Bench, page: MachinesPage, qtbot: QtBot) -> None:
    archive, moment = bench.session.archive, time.time() - 3 * DAY
    rows = rows_of([moment, moment + DAY], *([2.5, 2.0] for _ in METRICS))
    told = ArchivedMachine(
        public_key="key0",
        alias="a",
        lab="",
        device="",
        first_seen=moment,
        last_seen=moment,
        vouched=True,
        rows=rows,
    )

    async def fill_archive() -> None:
        await archive._file.open()
        await archive._file.run(save, page._machines.run_id, [told])
        filled.append(True)

    filled: list[bool] = []
    bench.model.run(fill_archive())
    qtbot.waitUntil(lambda: bool(filled))
    put(page, now(alias="a"))
    page.table.selectRow(0)
    page.details.span.setCurrentIndex(2)
    qtbot.waitUntil(lambda: page.details._drawing.own.times.size == 2)
    assert list(page.details._drawing.own.values) == [2.5, 2.0]

    async def close_archive() -> None:
        await archive.close()
        filled.clear()

    bench.model.run(close_archive())
    qtbot.waitUntil(lambda: not filled)


def test_the_chosen_machines_chart_is_zoomed_and_taken_out(page: MachinesPage) -> None:
    fill(page._machines.fleet, {"key0": now(), "key1": now(alias="b")}, now=time.time())
    page.refresh()
    page.table.selectRow(0)
    details = page.details
    details.menu.copy_csv()
    header, first, *_rest = QGuiApplication.clipboard().text().splitlines()
    assert header == "time,samples_per_second,chart,x_axis,y_axis"
    assert first.endswith(f",{details.name.full},Time,Samples/s")
    details.plot._choose(Zoom(time.time() - 900, time.time() - 600))
    page.refresh()
    assert details.plot.zoom is not None
    details.span.setCurrentIndex(1)
    assert details.plot.zoom is None
    details.plot._choose(Zoom(time.time() - 900, time.time() - 600))
    page.table.selectRow(1)
    assert details.plot.zoom is None  # it was of another machine


def test_dropped_records_are_told(page: MachinesPage) -> None:
    assert page.note.full == "Each machine signs its own record."
    page._machines.fleet.dropped.update({Flaw.WRONG_KEY: 2, Flaw.REPLAYED: 1})
    page.refresh()
    assert page.note.full == (
        "Each machine signs its own record. 3 records were dropped:"
        " 2 with a bad signature, 1 replayed."
    )


def test_an_export_that_cannot_be_written_is_said_on_this_page(
    page: MachinesPage, bench: Bench, tmp_path: Path, qtbot: QtBot
) -> None:
    put(page, now())
    page.export_to(tmp_path / "missing" / "machines.csv")
    qtbot.waitUntil(bench.window.banner.isVisible)
    assert "can't be written" in bench.window.banner.message.text()
    assert page.isVisible()
    bench.window.banner.dismiss.click()
    assert not bench.window.banner.isVisible()


def test_export_writes_what_is_shown_in_its_order(
    page: MachinesPage, tmp_path: Path, qtbot: QtBot
) -> None:
    put(page, now(alias="b"), now(alias="a"), now(alias="other"))
    page.text.setText("a")  # the lab's name holds one as well
    file = tmp_path / "machines.csv"
    page.export_to(file)
    qtbot.waitUntil(file.exists)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["machine"] for row in rows] == column(page, NAME) == ["a", "b", "other"]


def test_export_that_fails_is_a_problem(
    bench: Bench, page: MachinesPage, tmp_path: Path, qtbot: QtBot
) -> None:
    put(page, now())
    page.export_to(tmp_path / "nowhere" / "machines.csv")
    qtbot.waitUntil(lambda: bench.session.store.state.problem is not None)
    assert bench.session.store.state.problem is not None
    assert bench.session.store.state.problem.remedy == "Choose another folder."


def test_one_switch_hides_this_machine(bench: Bench, page: MachinesPage, qtbot: QtBot) -> None:
    assert page.publish.isChecked()
    qtbot.mouseClick(page.publish, Qt.MouseButton.LeftButton, pos=page.publish.rect().center())
    qtbot.waitUntil(lambda: not bench.session.machines.publishing)
    qtbot.waitUntil(bench.session.folders.settings_file.exists)
    saved = settings_file.read(bench.session.folders.settings_file)
    assert saved == {"publish_machine": False}


def test_machines_are_read_while_someone_looks(bench: Bench, page: MachinesPage) -> None:
    machines = bench.session.machines
    assert machines._watchers == 1
    bench.open("Overview")
    assert machines._watchers == 0
    assert not page._timer.isActive()


def test_aliases_are_never_html(page: MachinesPage) -> None:
    put(page, now(alias="<b>bold</b>"))
    page.table.selectRow(0)
    assert page.details.name.text() == "<b>bold</b>"
    assert page.details.name.textFormat() is Qt.TextFormat.PlainText


def test_thousand_machines_without_a_stall(bench: Bench, page: MachinesPage, qtbot: QtBot) -> None:
    """The limit is generous: `make bench` measures this exactly."""
    records = crowd(1000, now=time.time())
    begun = time.thread_time()
    page._machines.fleet.take(records, time.time())
    page.refresh()
    bench.window.repaint()
    first = time.thread_time() - begun
    assert page.model.rowCount() == 1000
    for place in range(page.model.columnCount()):
        page.table.sortByColumn(place, Qt.SortOrder.DescendingOrder)
    begun = time.thread_time()
    page.refresh()
    bench.window.repaint()
    assert time.thread_time() - begun < 5.0
    assert first < 20.0


def test_sparkline_is_the_last_hour_up_to_now(page: MachinesPage) -> None:
    moment = time.time()
    fleet = page._machines.fleet
    for age, rate in ((1800, 50.0), (1210, 80.0), (1200, 100.0)):
        told = record(sequence=moment_of(age), time=moment - age, samples_per_second=rate)
        fleet.take({"key": told}, moment - age)
    shown = machine_columns.sparkline(fleet, "key")
    assert len(shown) == machine_columns.MINUTES
    known = {place: value for place, value in enumerate(shown) if not math.isnan(value)}
    assert set(known.values()) <= {50.0, 80.0, 90.0, 100.0}
    assert min(known) in (28, 29, 30)
    assert max(known) in (38, 39, 40)


def moment_of(age: int) -> int:
    return 10_000 - age


def test_sparkline_has_gaps_and_stays_inside() -> None:
    rect = QRectF(0, 0, 100, 20)
    nan = float("nan")
    drawn = polylines([1.0, 2.0, nan, 3.0, 1.0, nan, 5.0], rect)
    assert [line.size() for line in drawn] == [2, 2]
    for line in drawn:
        assert all(rect.contains(line.at(place)) for place in range(line.size()))
    assert polylines([nan, 1.0], rect) == []
    assert polylines([], rect) == []


def test_tooltip_of_training_machine_has_full_device(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    bench.open("Machines")
    page = bench.window.machines.widget
    put(page, now())
    tip = page.model.index(0, DEVICE).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "NVIDIA GeForce RTX 4090"


# --- several together


def select(page: MachinesPage, *rows: int) -> None:
    flags = QItemSelectionModel.SelectionFlag
    for row in rows:
        index = page.model.index(row, 0)
        page.table.selectionModel().select(index, flags.Select | flags.Rows)


def test_several_machines_are_drawn_together(page: MachinesPage, qtbot: QtBot) -> None:
    put(page, *(now(alias=name, temperature=60.0 + n) for n, name in enumerate("abc")))
    select(page, 0, 2)
    details = page.details
    assert details.name.full == "2 machines"
    assert details.legend.isVisible()
    assert not details._record.isVisible()
    details.figure.setCurrentIndex(2)
    assert [each.full for each in details.legend.names if each.isVisible()] == ["a", "c"]
    assert [each.text() for each in details.legend.values[:2]] == ["60", "62"]
    assert details._drawing.own.values[-1] == 60.0
    assert [each.values[-1] for each in details._drawing.beside] == [62.0]
    select(page, 1)  # the others keep their colours
    assert [each.full for each in details.legend.names if each.isVisible()] == ["a", "c", "b"]
    assert details._table().columns[1:] == ("a", "c", "b")
    qtbot.mouseClick(details.close_button, Qt.MouseButton.LeftButton)
    assert not details.isVisible()
    select(page, 1)
    assert details.name.full == "b"
    assert details._record.isVisible()


def test_those_that_are_drawn_together_stay_when_others_come_and_go(page: MachinesPage) -> None:
    put(page, *(now(alias=name) for name in ("a", "b", "quince")))
    select(page, 0, 2)
    put(page, *(now(alias=name, sequence=2) for name in ("a", "b", "quince", "z")))
    chosen = [index.row() for index in page.table.selectionModel().selectedRows()]
    assert sorted(chosen) == [0, 2]
    assert page.details.name.full == "2 machines"
    page.text.setText("quince")
    assert page.details.name.full == "quince"
    page.text.setText("")
    assert page.details.name.full == "2 machines"


def test_more_machines_than_colours_are_said(page: MachinesPage) -> None:
    put(page, *(now(alias=f"m{number:02}") for number in range(MOST + 3)))
    page.table.selectAll()
    assert page.details.name.full == f"The first {MOST} of {MOST + 3} machines"
    assert len(page.details._drawing.beside) == MOST - 1


def test_machines_of_the_same_name_are_told_apart_in_a_file(page: MachinesPage) -> None:
    put(page, now(alias="=same()"), now(alias="=same()"))
    select(page, 0, 1)
    first, second = page.details._table().columns[1:]
    assert first != second
    assert first.startswith("=same() ")
    assert "'=same() " in page.details._table().as_csv()  # no formula of a stranger's
